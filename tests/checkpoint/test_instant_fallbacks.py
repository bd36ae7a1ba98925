"""Saves of one instant where a better method is taken away: by the next one, said in the log; or refused.

Each save is made while a thread trains. Of one that is refused nothing is left, and the former checkpoint stays.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.c_programs import compile_library
from support.python_programs import environment, read_until, run_python, starting, tell

Told = dict[str, dict[str, Any]]

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler to build what denies system calls"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
FULL_PAGES = Path("/proc/sys/vm/unprivileged_userfaultfd")
DENIED = "Operation not permitted"
ONLY_ONE = "the only method that was asked for: choose snapshot_method='auto'"
USER = "pages: this user cannot protect pages from the kernel's own writes"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("library") / "denied_calls.so"
    return compile_library("checkpoint/denied_calls.c", path, "-Wall", "-Wextra", "-Werror")


@pytest.fixture
def directory() -> Iterator[str]:
    # Not below pytest's, which only its own user may enter.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        yield place


def arguments(library: str, directory: str, kind: str) -> list[str]:
    return ["-m", "support.checkpoint.fallback_program", library, directory, kind]


def run(library: str, directory: str, kind: str, **settings: str) -> Told:
    done = run_python(*arguments(library, directory, kind), env=environment(**settings), fresh=True)
    told: Told = json.loads(done.stdout.splitlines()[-1])
    assert {name: save["left"] for name, save in told.items()} == {name: [] for name in told}
    return told


def expect_refused(save: dict[str, Any], *parts: str) -> None:
    assert save["error"] == "FailedPreconditionError"
    assert [part for part in parts if part not in save["message"]] == []


def test_a_container_that_allows_less_and_less(library: str, directory: str) -> None:
    told = run(library, directory, "seccomp")
    if told["all allowed"]["log"] != "pages":
        pytest.skip(f"this machine has no userfaultfd: {told['all allowed']['log']}")
    assert told["a file for pages"]["log"] == "pages"
    full = told["no file for pages"]
    assert full["error"] == "ResourceExhaustedError"
    assert "snapshot_memory_bytes is used up" in full["message"]
    no_pages = f"pages: userfaultfd: {DENIED}"
    no_fork = f"fork: process_vm_readv: {DENIED}"
    assert told["no pages"]["log"] == f"fork; not possible: {no_pages}"
    expect_refused(told["pages asked for"], no_pages, ONLY_ONE)
    assert told["no fork"]["log"] == f"copy; not possible: {no_pages}; {no_fork}"
    expect_refused(told["fork asked for"], no_fork, ONLY_ONE)
    expect_refused(
        told["no memory either"],
        f"{no_pages}; {no_fork}; copy: the copy takes 3840000 bytes, more than the 1048576 of",
        "give it more snapshot_memory_bytes, or save with consistency='shard'",
    )
    assert told["copy asked for"]["log"] == "copy"


def test_a_kernel_that_lacks_a_feature(library: str, directory: str) -> None:
    told = run(library, directory, "old_kernel")
    reasons = {
        "no protection": "UFFDIO_WRITEPROTECT: Cannot allocate memory",
        "no registration": "UFFDIO_REGISTER: Invalid argument",
        "no protocol": "userfaultfd without write protection: Invalid argument",
        "no pages": "userfaultfd: Function not implemented",
    }
    for name, reason in reasons.items():
        log = told[name]["log"]
        assert log.startswith("fork; not possible: pages: ")
        # One that comes later is not seen where the first is denied by the machine itself.
        assert reason in log or "userfaultfd: " in log
    assert told["no fork"]["log"].startswith("copy; not possible: pages: ")
    assert told["no fork"]["log"].endswith("; fork: fork: Function not implemented")
    assert told["no pipe"]["log"].endswith("no pipe for the child of a fork: Too many open files")


@needs_root
def test_an_ordinary_user(library: str, directory: str) -> None:
    told = run(library, directory, "nobody")
    has_pages = FULL_PAGES.exists() and FULL_PAGES.read_text(encoding="ascii").strip() == "1"
    reason = "" if has_pages else f"; not possible: {USER}"
    assert told["auto"]["log"].startswith(("pages" if has_pages else "fork") + reason)
    assert told["pages asked for"]["log"] == "pages"
    if not has_pages:
        assert told["out of reach"]["log"].startswith(f"copy{reason}")
        assert f"the child of a fork: {DENIED}" in told["out of reach"]["log"]
    assert told["no process"]["log"].startswith("copy; not possible: pages: ")
    assert "; fork: fork: Resource temporarily unavailable" in told["no process"]["log"]
    expect_refused(told["pages without threads"], "pages: no thread for protected pages", ONLY_ONE)


def test_limits_of_memory_and_files(library: str, directory: str) -> None:
    told = run(library, directory, "limits")
    assert told["little memory"]["log"].startswith("fork; not possible: pages: ")
    expect_refused(told["pages in little memory"], "pages: ", ONLY_ONE)
    if "userfaultfd" not in told["little memory"]["log"]:
        assert re.search(r"pages: no \d+ bytes of memory", told["little memory"]["log"])
    few = [save for name, save in told.items() if name.endswith(" files") and name[0].isdigit()]
    assert [save for save in few[:-1] if "Too many open files" not in save["message"]] == []
    assert "log" in few[-1]
    assert told["many files"]["log"].startswith(("pages", "fork"))


@pytest.mark.parametrize("writes", [0, 4], ids=["from the start", "later"])
def test_a_file_system_that_takes_bytes_in_order_only(
    writes: int, library: str, directory: str, tmp_path: Path
) -> None:
    preloaded = compile_library("checkpoint/file_systems.c", tmp_path / "file_systems.so")
    told = run(
        *(library, directory, "append_only"),
        LD_PRELOAD=preloaded,
        FS_DIR=directory,
        FS_APPEND_AFTER=str(writes),
    )
    if writes:
        late = told.pop("auto")
        assert late["error"] == "UnknownError"
        assert "in any order at first, and then in order only" in late["message"]
        assert "Save again" in late["message"]
    assert [name for name, save in told.items() if "log" not in save] == []


def _memory_group() -> Path:
    """Makes a memory cgroup below the one of this process; the test is skipped where it may not."""
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    paths = {kinds: path for _, kinds, path in (line.split(":", 2) for line in lines)}
    root = Path("/sys/fs/cgroup")
    for kinds, place in (("memory", root / "memory"), ("", root)):
        if kinds not in paths:
            continue
        group = Path(f"{place}{paths[kinds].rstrip('/')}/autodist_test_{os.getpid()}")
        try:
            group.mkdir()
        except OSError as error:
            pytest.skip(f"no memory cgroup can be made here: {error}")
        if any((group / name).exists() for name in ("memory.limit_in_bytes", "memory.max")):
            return group
        group.rmdir()
    pytest.skip("no memory cgroup can be made here: there is no controller")


@needs_root
def test_a_memory_cgroup_that_is_smaller_than_the_pool(library: str, directory: str) -> None:
    group = _memory_group()
    limits = [group / name for name in ("memory.limit_in_bytes", "memory.max")]
    with starting() as start:
        process = start(*arguments(library, directory, "group"), fresh=True)
        try:
            read_until(process, "ready")
            next(path for path in limits if path.exists()).write_text(str(48 << 20))
            (group / "cgroup.procs").write_text(str(process.pid))
            tell(process, "go on")
            output, _ = process.communicate(timeout=300)
        finally:
            # It has to be out of the group before that can go.
            process.kill()
            process.wait()
            group.rmdir()
    assert process.returncode == 0, "the system has killed it"
    told: Told = json.loads(output.splitlines()[-1])
    assert "log" in told["auto"]
    assert told["pages"].get("log", "pages") == "pages"
