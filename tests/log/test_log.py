"""Where the lines of the logger go, at which level, and how they write figures."""

import pytest

from autodist import _log
from support.python_programs import run_python

SAYS = """
from autodist import _log
logger = _log.get_logger()
logger.info("an info of %s", "mine")
logger.warning("a warning")
"""


def lines_of(program: str) -> list[str]:
    return run_python("-c", program, fresh=True).stderr.splitlines()


def test_without_a_configuration_lines_go_to_stderr() -> None:
    assert lines_of(SAYS) == ["autodist: an info of mine", "autodist: a warning"]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("logging.basicConfig()", ["WARNING:autodist:a warning"]),
        (
            "logging.basicConfig(level='INFO')",
            ["INFO:autodist:an info of mine", "WARNING:autodist:a warning"],
        ),
        (
            "logging.basicConfig(); logging.getLogger('autodist').setLevel('INFO')",
            ["INFO:autodist:an info of mine", "WARNING:autodist:a warning"],
        ),
        ("logging.basicConfig(level='ERROR')", []),
        ("logging.getLogger('autodist').setLevel('WARNING')", ["autodist: a warning"]),
        ("logging.getLogger('autodist').setLevel('ERROR')", []),
    ],
)
@pytest.mark.parametrize("is_set_first", [True, False])
def test_the_program_decides_the_level(
    setting: str, expected: list[str], is_set_first: bool
) -> None:
    first, second = (setting, "") if is_set_first else ("", setting)
    start = f"import logging\n{first}\nfrom autodist import _log; _log.get_logger()\n{second}\n"
    assert lines_of(start + SAYS) == expected


@pytest.mark.parametrize(("option", "count"), [("", 2), ("--verbosity=-1", 1), ("-v=-2", 0)])
def test_lines_under_absl_name_the_logger(option: str, count: int) -> None:
    program = f"""
import sys
from absl import app
def main(_):
    exec({SAYS!r})
app.run(main, argv=["program", *{option.split()!r}])
"""
    said = [line.partition("] ")[2] for line in lines_of(program)]
    assert said == ["autodist: an info of mine", "autodist: a warning"][2 - count :]


@pytest.mark.parametrize(
    ("byte_count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.00 KiB"), (3 << 29, "1.50 GiB")],
)
def test_sizes_have_the_units_of_the_documents(byte_count: int, text: str) -> None:
    assert _log.size(byte_count) == text


def test_counts_and_names() -> None:
    assert [_log.count(n, "replica") for n in (1, 2)] == ["1 replica", "2 replicas"]
    tasks = [f"/task:{number}" for number in range(1000)]
    assert _log.names(tasks, most=2) == "/task:0, /task:1 and 998 more"
    assert _log.speed(1 << 30, 0.5) == "2.00 GiB/s"
