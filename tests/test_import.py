"""What `import autodist` promises, and each way in which a copy of autodist is refused."""

import contextlib
import importlib.metadata
import importlib.resources
import importlib.util
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from autodist import _build_info, _installation, _native
from support.python_programs import run_python


def test_import_needs_no_tensorflow():
    code = "import autodist, sys; print(autodist.__version__, 'tensorflow' in sys.modules)"
    result = run_python("-c", code, fresh=True)
    assert result.stdout.split() == [_build_info.VERSION, "False"]


@pytest.mark.parametrize(
    "statement",
    [
        "from autodist import Saver",
        "from autodist.checkpoint.saved_model_builder import SavedModelBuilder",
    ],
)
def test_importing_what_saves_loads_the_ops(statement):
    # A server that knows the ops runs them for whoever asks.
    code = f"""if True:
        {statement}
        from tensorflow.python.framework import op_def_registry
        print(op_def_registry.get("AutodistSave").name)
    """
    assert run_python("-c", code, fresh=True).stdout == "AutodistSave\n"


def test_a_library_that_cannot_be_loaded_stops_only_savers(tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no library")
    code = f"""if True:
        from autodist import _native
        _native._library_path = lambda: {str(broken)!r}
        from autodist.checkpoint.saver import Saver
        import tensorflow as tf
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            variable = tf.compat.v1.get_variable("v", initializer=1.0)
            session.run(variable.initializer)
            print(session.run(variable))
            try:
                Saver()
            except tf.errors.NotFoundError as error:
                print(error.message)
    """
    done = run_python("-c", code, fresh=True)
    value, error = done.stdout.splitlines()
    assert value == "1.0"
    assert str(broken) in error
    assert "autodist's ops cannot be loaded" in done.stderr
    assert str(broken) in done.stderr


def test_bundle_module_loads_without_tensorflow():
    code = "import autodist._bundle, sys; print('tensorflow' in sys.modules)"
    result = run_python("-c", code, fresh=True)
    assert result.stdout.strip() == "False"


def test_refuses_a_tensorflow_it_was_not_built_for(monkeypatch):
    monkeypatch.setattr(_build_info, "TENSORFLOW_VERSION", "2.9.1")
    distribution, installed = _installation.installed_tensorflow()
    with pytest.raises(ImportError) as refused:
        _installation.check_build()
    built = f"built against {_build_info.TENSORFLOW_DISTRIBUTION} 2.9.1"
    for part in (built, f"{distribution} {installed} is installed"):
        assert part in str(refused.value)
    assert f"pip install '{distribution}==2.9.*'" in str(refused.value)


def test_accepts_another_patch_version(monkeypatch):
    minor = _build_info.TENSORFLOW_VERSION.rpartition(".")[0]
    monkeypatch.setattr(_build_info, "TENSORFLOW_VERSION", f"{minor}.99")
    _installation.check_build()


def install(monkeypatch, **versions):
    """Has an environment where these distributions are installed, and no other TensorFlow."""
    real = importlib.metadata.version
    installed = {name.replace("_", "-"): version for name, version in versions.items()}

    def version_of(distribution):
        if distribution in installed:
            return installed[distribution]
        if distribution in _installation.DISTRIBUTIONS:
            raise importlib.metadata.PackageNotFoundError(distribution)
        return real(distribution)

    monkeypatch.setattr(importlib.metadata, "version", version_of)


def test_refuses_to_run_without_tensorflow(monkeypatch):
    install(monkeypatch)
    minor = _build_info.TENSORFLOW_VERSION.rpartition(".")[0]
    with pytest.raises(ImportError) as refused:
        _installation.check_build()
    fitting = f"{_build_info.TENSORFLOW_DISTRIBUTION}=={minor}.*"
    assert f"no TensorFlow is installed. Run: pip install '{fitting}'" in str(refused.value)


@pytest.mark.parametrize("distribution", ["tensorflow_cpu", "tensorflow_rocm"])
def test_accepts_another_distribution_of_the_same_version(monkeypatch, distribution):
    install(monkeypatch, **{distribution: _build_info.TENSORFLOW_VERSION})
    _installation.check_build()


@pytest.mark.parametrize(
    ("built", "installed", "advice"),
    [
        (
            ("tensorflow", "2.21.0"),
            {"tensorflow_cpu": "2.20.0"},
            "pip install 'tensorflow-cpu==2.21.*'",
        ),
        (
            ("tensorflow-rocm", "2.21.0"),
            {"tensorflow_rocm": "2.20.1"},
            "pip install 'tensorflow-rocm==2.21.*'",
        ),
        (
            ("tensorflow", "2.21.0"),
            {"tf_nightly": "2.22.0.dev20261101"},
            "pip uninstall tf-nightly; pip install 'tensorflow==2.21.*'",
        ),
        (
            ("tf-nightly", "2.22.0.dev20261101"),
            {"tf_nightly": "2.22.0.dev20261102"},
            "pip install 'tf-nightly==2.22.0.dev20261101'",
        ),
        (
            ("tensorflow-rocm", "2.21.0"),
            {"tf_nightly_rocm": "2.22.0.dev20261101"},
            "pip uninstall tf-nightly-rocm; pip install 'tensorflow-rocm==2.21.*'",
        ),
        (
            ("tf-nightly-rocm", "2.22.0.dev20261101"),
            {"tf_nightly_rocm": "2.22.0.dev20261102"},
            "pip install 'tf-nightly-rocm==2.22.0.dev20261101'",
        ),
        (
            ("tf-nightly-cpu", "2.22.0.dev20261101"),
            {"tensorflow": "2.21.0"},
            "pip uninstall tensorflow; pip install 'tf-nightly-cpu==2.22.0.dev20261101'",
        ),
    ],
)
def test_the_advice_fits_the_distribution(monkeypatch, built, installed, advice):
    monkeypatch.setattr(_build_info, "TENSORFLOW_DISTRIBUTION", built[0])
    monkeypatch.setattr(_build_info, "TENSORFLOW_VERSION", built[1])
    install(monkeypatch, **installed)
    with pytest.raises(ImportError) as refused:
        _installation.check_build()
    assert f"Run: {advice}, or build autodist against" in str(refused.value)


@pytest.mark.parametrize("distribution", _installation.DISTRIBUTIONS)
@pytest.mark.parametrize(
    ("version", "required"),
    [("2.21.3", "==2.21.*"), ("2.22.0.dev20261101", "==2.22.0.dev20261101")],
)
def test_a_build_requires_the_distribution_it_is_built_against(
    monkeypatch, distribution, version, required
):
    install(monkeypatch, **{distribution.replace("-", "_"): version})
    assert load_tensorflow_pin().run_requirement() == distribution + required


@pytest.mark.parametrize("version", ["2.9.3", "2.14.1"])
def test_a_build_refuses_a_tensorflow_that_was_not_tested(monkeypatch, version):
    install(monkeypatch, tensorflow_cpu=version)
    with pytest.raises(
        RuntimeError,
        match=rf"tensorflow-cpu {version} is installed; autodist .* TensorFlow 2\.15, .*2\.21\.",
    ):
        load_tensorflow_pin().run_requirement()


def load_tensorflow_pin():
    path = Path(__file__).parent.parent / "bazel-free-build" / "tensorflow_pin.py"
    spec = importlib.util.spec_from_file_location("tensorflow_pin", path)
    tensorflow_pin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tensorflow_pin)
    return tensorflow_pin


def test_the_package_is_a_command_and_has_types():
    done = run_python("-m", "autodist", "--version", fresh=True)
    assert done.stdout == f"autodist {_build_info.VERSION}\n"
    assert importlib.resources.files("autodist").joinpath("py.typed").is_file()


def test_the_package_has_its_main_classes():
    code = "from autodist import AutoDist, SavedModelBuilder, Saver; print(Saver.__module__)"
    assert run_python("-c", code, fresh=True).stdout == "autodist.checkpoint.saver\n"


def test_refuses_a_copy_without_its_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(_build_info, "__file__", str(tmp_path / "_build_info.py"))
    with pytest.raises(
        ImportError,
        match=r"_autodist_ops.so and _bundle\S* and _planning\S* and _runtime\S* and _tables\S* is missing "
        "from .* Run: pip",
    ):
        _installation.check_build()


def make_builds(monkeypatch, directory, *versions, python=None):
    """Has a copy with a build for each version of TensorFlow, with modules for one Python; None: this one."""
    monkeypatch.setattr(_installation, "_builds_dir", lambda: directory / "for_tensorflow")
    suffix = EXTENSION_SUFFIXES[0] if python is None else f".cpython-{python}-x86_64-linux-gnu.so"
    lines = Path(_build_info.__file__).read_text().splitlines()
    for version in versions:
        place = directory / "for_tensorflow" / version.rpartition(".")[0]
        place.mkdir(parents=True)
        changed = [x for x in lines if "TENSORFLOW_" not in x]
        changed += ['TENSORFLOW_DISTRIBUTION = "tensorflow"', f'TENSORFLOW_VERSION = "{version}"']
        (place / "_build_info.py").write_text("\n".join(changed))
        for name in ("_autodist_ops.so", f"_bundle{suffix}", f"_runtime{suffix}"):
            (place / name).touch()
    for name in ("_planning", "_tables"):
        (directory / f"{name}{suffix}").touch()


def test_takes_the_build_for_the_installed_tensorflow(monkeypatch, tmp_path):
    make_builds(monkeypatch, tmp_path, "2.15.1", "2.18.1", "2.21.0")
    install(monkeypatch, tensorflow_cpu="2.18.0")
    assert _installation.check_build() == [str(tmp_path / "for_tensorflow" / "2.18")]


def test_refuses_a_tensorflow_that_no_build_is_for(monkeypatch, tmp_path):
    make_builds(monkeypatch, tmp_path, "2.9.1", "2.18.1", "2.21.0")
    install(monkeypatch, tensorflow_cpu="2.17.1")
    with pytest.raises(
        ImportError,
        match=r"built against TensorFlow 2\.9, 2\.18, 2\.21 .*, but tensorflow-cpu 2\.17\.1 is installed\. "
        r"Run: pip install 'tensorflow-cpu==2\.21\.\*'",
    ):
        _installation.check_build()


def test_names_the_pythons_that_a_copy_has_modules_for(monkeypatch, tmp_path):
    make_builds(monkeypatch, tmp_path, "2.21.0", "2.20.0", python="39")
    install(monkeypatch, tensorflow="2.21.0")
    with pytest.raises(
        ImportError, match=r"_bundle\S* .*is missing from .*It has them for Python 3\.9\. Use"
    ):
        _installation.check_build()


def test_refuses_a_copy_that_was_never_built(monkeypatch):
    monkeypatch.delattr("autodist._build_info")
    monkeypatch.setitem(sys.modules, "autodist._build_info", None)
    with pytest.raises(ImportError, match="has not been built"):
        _installation.check_build()


def test_ops_are_loaded_once():
    assert _native.ops() is _native.ops()


def test_a_prefix_never_saved_has_no_report(tmp_path):
    with contextlib.closing(_native.ReportSlot(tmp_path / "never", is_save=True)) as slot:
        assert slot.take_report() is None
        assert slot.bytes() == (0, 0)
