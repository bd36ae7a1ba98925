"""What all tests share, and how they are divided among the processes of pytest-xdist (`-n 3`, as `make test` does).

The tests of one file stay together, in their order, for their fixtures (servers, clusters, sessions) are made once per
process. Files stay together too where a directory shares what is made once per process; see `TOGETHER`. The files that
take longest come early, the longest first, so that no process is left with one of them at the end. Most of them wait
for other processes, for timeouts and for slow disks, so quick files, which compute, come between them.
"""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.python_programs import Start, starting

TESTS = Path(__file__).parent

# A process is the chief of one cluster, which starts with its first session.
TOGETHER = {
    f"clusters/test_{name}.py": "cluster"
    for name in ("cluster_specs", "one_state", "training", "trouble")
}
# The checkpoints of stock are made once per process.
TOGETHER |= {
    f"workbench/test_{name}.py": "workbench"
    for name in ("commands", "command_line", "documented_commands", "reading", "remote", "verify")
}
# In seconds on two cores, roughly; what is not here is quick.
SECONDS = {
    "cluster": 150,
    "workbench": 60,
    "graph/test_row_updates.py": 50,
    "checkpoint/test_background_saves.py": 110,
    "checkpoint/test_progress.py": 100,
    "clusters/test_joint_instants.py": 90,
    "documents/test_examples.py": 80,
    "clusters/test_saves.py": 60,
    "benchmarks/test_speed_benchmarks.py": 45,
    "clusters/test_busy_servers.py": 50,
    "clusters/test_cluster_progress.py": 50,
    "demo/test_demo.py": 45,
    "checkpoint/test_file_systems.py": 45,
    "graph/test_split_control_flow.py": 45,
    "hooks/test_end_of_program.py": 45,
    "benchmarks/test_save_restore.py": 35,
    "steps/test_gate.py": 35,
    "clusters/test_data_connections.py": 35,
    "checkpoint/test_instant_fallbacks.py": 35,
    "clusters/test_session_of_the_user.py": 35,
    "steps/test_worker_processes.py": 35,
    "clusters/test_ssh.py": 30,
    "clusters/test_data_files.py": 25,
    "clusters/test_one_script_jobs.py": 20,
}


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python programs whose output can be read line by line, and kills those that are left."""
    with starting() as start:
        yield start


def pytest_collection_finish() -> None:
    """Spares the garbage collector what is imported by now: each look at it takes half a second."""
    gc.freeze()


def _group_of(node_id: str) -> str:
    """Returns the name of what runs in one process: a file, or files that stay together."""
    file = node_id.partition("::")[0].removeprefix(f"{TESTS.name}/")
    return TOGETHER.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group_of(nodeid)

    # As they are collected, see below, not by their number of tests.
    config.option.loadscopereorder = False
    return ByGroup(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders the files for several processes that run them."""
    if hasattr(config, "workerinput"):
        places = {group: place for place, group in enumerate(_in_turn(items))}
        items.sort(key=lambda item: places[_group_of(item.nodeid)])


def _in_turn(items: list[pytest.Item]) -> list[str]:
    """Returns all groups: those that take long, the longest first, and between them the quick ones."""
    groups = list(dict.fromkeys(_group_of(item.nodeid) for item in items))
    long = sorted((g for g in groups if g in SECONDS), key=lambda g: -SECONDS[g])
    quick = [g for g in groups if g not in SECONDS]
    share = len(quick) / max(1, len(long))
    order = []
    for number, group in enumerate(long):
        order += [group, *quick[round(number * share) : round((number + 1) * share)]]
    return order or quick
