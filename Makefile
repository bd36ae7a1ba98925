# make demo    train, save, export, restore and fine-tune on real data
# make test    the C++ and the Python tests
# make lint    formatters, linters, type checks, layering
# make bench   speed and memory beside TensorFlow's own
# make asan    all C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
# make tsan    the same under ThreadSanitizer
# make torture every crash, power cut and error during a save, in full, and damaged files (an hour)
# make torture-table stock TensorFlow in the same harness: the table of docs/design/durability.md (half an hour)
# make census  every program of tests/support/programs under every strategy, with 1, 2 and 3 replicas (hours)
# make fuzz    what reads checkpoints, under libFuzzer (75 minutes, or five times FUZZ_SECONDS)
# make reproducible   the wheel, built twice in different directories: the same bytes (some minutes)
# make matrix  builds and tests with every supported TensorFlow, and writes the table of docs/versions.md (hours)
# make wheel   one wheel for several versions: make wheel TENSORFLOW="2.15 2.21"; in build/wheel/dist
# make docs    the pages of docs/ and the reference, as HTML in build/docs; a broken link is an error
# make build   quick in-place build for development: then `PYTHONPATH=python`
#
# Each makes the virtual environment it needs, $(VENV), and redoes only what has changed.

VENV ?= .venv
PYTHON ?= python3
# Processes that run Python tests: more than two cores, for many tests wait; see tests/conftest.py.
TEST_WORKERS ?= 3
# The C++ test program that `make test` builds and runs; empty: all.
CXX_TESTS ?=
# For each of the fuzzers.
FUZZ_SECONDS ?= 900

bin := $(VENV)/bin
pip := $(bin)/python -m pip --disable-pip-version-check
package_build := build/package
# The tools in the environment (cmake, ninja, clang-format) come before those of the system.
export PATH := $(abspath $(bin)):$(PATH)

cxx_sources := $(shell find cc -name '*.cc' -o -name '*.h')
build_files := CMakeLists.txt CMakePresets.json pyproject.toml \
  $(shell find cc -name CMakeLists.txt) $(wildcard bazel-free-build/*.*)
package_sources := $(cxx_sources) $(build_files) \
  $(shell find python -name '*.py' -not -name _build_info.py)

.PHONY: demo test lint docs bench asan tsan torture torture-table census fuzz reproducible matrix wheel build clean

demo: $(VENV)/.demo
	$(bin)/autodist demo

test: $(VENV)/.test
	cmake -S . -B $(package_build) -DAUTODIST_BUILD_TESTS=ON
	cmake --build $(package_build) --target $(or $(CXX_TESTS),all)
	ctest --test-dir $(package_build) --output-on-failure --parallel 3 --tests-regex '$(CXX_TESTS)'
	$(bin)/python -m pytest -n $(TEST_WORKERS) $(PYTEST_ARGS)

lint: $(VENV)/.lint
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	PYTHONPATH=python $(bin)/lint-imports
	$(bin)/python bazel-free-build/check_includes.py
	$(bin)/clang-format --dry-run -Werror $(cxx_sources)

docs: $(VENV)/.docs
	$(bin)/python -m mkdocs build

bench: $(VENV)/.test
	for benchmark in benchmarks/*_benchmark.py; do $(bin)/python $$benchmark || exit 1; done

asan tsan: $(VENV)/.tools
	cmake --preset $@ -DPython_EXECUTABLE=$(abspath $(bin))/python
	cmake --build --preset $@
	ctest --preset $@

torture: $(VENV)/.test
	AUTODIST_TORTURE=full $(bin)/python -m pytest tests/torture tests/restore/test_damage.py \
	  tests/restore/test_any_layout.py tests/steps/test_step_saves.py \
	  tests/clusters/test_joint_instants.py tests/graph/test_row_updates.py $(PYTEST_ARGS)

torture-table: $(VENV)/.test
	AUTODIST_TORTURE=full PYTHONPATH=tests $(bin)/python -m support.torture.compare_with_stock

census: $(VENV)/.test
	PYTHONPATH=tests $(bin)/python -m support.programs.census $(CENSUS_ARGS)

fuzz: $(VENV)/.tools
	cc/fuzz/run.sh $(abspath $(bin))/python $(FUZZ_SECONDS)

reproducible: $(VENV)/.tools
	$(bin)/python bazel-free-build/check_reproducible.py build/reproducible

matrix: $(VENV)/.tools
	$(bin)/python bazel-free-build/matrix.py build/matrix $(MATRIX_ARGS)

wheel: $(VENV)/.wheel
	$(bin)/python bazel-free-build/build_wheel.py build/wheel --tensorflow $(TENSORFLOW)

build: $(VENV)/.tools
	cmake --preset default -DPython_EXECUTABLE=$(abspath $(bin))/python
	cmake --build --preset default

clean:
	rm -rf build python/autodist/*.so python/autodist/_build_info.py

$(bin)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.tools: pyproject.toml bazel-free-build/tensorflow-versions.txt | $(bin)/python
	$(bin)/python bazel-free-build/print_requirements.py build > $(VENV)/build-requirements.txt
	$(pip) install -r $(VENV)/build-requirements.txt
	touch $@

$(VENV)/.lint: pyproject.toml | $(bin)/python
	$(bin)/python bazel-free-build/print_requirements.py lint > $(VENV)/lint-requirements.txt
	$(pip) install -r $(VENV)/lint-requirements.txt
	touch $@

$(VENV)/.wheel: pyproject.toml | $(bin)/python
	$(bin)/python bazel-free-build/print_requirements.py wheel > $(VENV)/wheel-requirements.txt
	$(pip) install -r $(VENV)/wheel-requirements.txt
	touch $@

$(VENV)/.docs: pyproject.toml | $(bin)/python
	$(bin)/python bazel-free-build/print_requirements.py docs > $(VENV)/docs-requirements.txt
	$(pip) install -r $(VENV)/docs-requirements.txt
	touch $@

$(VENV)/.demo: $(VENV)/.tools $(package_sources)
	$(pip) install --no-build-isolation --config-settings=build-dir=$(package_build) '.[demo]'
	touch $@

$(VENV)/.test: $(VENV)/.tools $(package_sources)
	$(pip) install --no-build-isolation --config-settings=build-dir=$(package_build) '.[test]'
	touch $@
