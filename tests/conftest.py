"""How the tests are divided among the processes of pytest-xdist (`-n 2 --dist loadgroup`, as `make test` does).

The tests of one file stay together, in their order, for their fixtures (servers, clusters, sessions) are made once per
process. Files stay together too where a directory shares what is made once per process; see `TOGETHER`. In files of
`APART` each test goes where there is room.
"""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
sys.path.append(str(TESTS / "support"))

# A process is the chief of one cluster, which starts with its first session.
TOGETHER = {
    f"clusters/test_{name}.py": "cluster"
    for name in ("cluster_specs", "one_state", "training", "trouble")
}
APART: frozenset[str] = frozenset()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives each test the group whose tests run in one process."""
    for item in items:
        file = item.path.relative_to(TESTS).as_posix()
        if file not in APART and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(TOGETHER.get(file, file)))
