"""`autodist demo`, small, from end to end; and that it sees what it says it checks."""

from pathlib import Path

import numpy as np
import pytest

from autodist import cli
from autodist.cluster.spec.resource_spec import ResourceSpec
from autodist.demo.interface.errors import DemoError
from autodist.demo.interface.output import Output
from autodist.demo.steps.measurement import check_same_files
from autodist.demo.steps.processes import run_plain
from autodist.demo.steps.scenario import check_against_single_node
from autodist.demo.tensorflow_only.handover import Handover, MismatchError, check_variables
from support.python_programs import run_python, users_environment

STEPS = 6


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a small demo wrote."""
    directory = tmp_path_factory.mktemp("demo") / "output"
    options = {"--output": directory, "--steps": STEPS, "--large-mib": 4, "--repeats": 1}
    arguments = [word for option in options.items() for word in option]
    done = run_python("-m", "autodist.cli", "demo", *arguments, env=users_environment())
    assert done.stderr == ""
    assert "What was proved" in done.stdout
    return directory


@pytest.mark.parametrize("strategy", ["partitioned_ps", "all_reduce"])
def test_every_step_leaves_its_files(output: Path, strategy: str) -> None:
    assert (output / "loss.png").read_bytes().startswith(b"\x89PNG")
    for name in ("checkpoint", "fine_tuned", "restored"):
        assert (output / strategy / name / "checkpoint").is_file()
    assert (output / strategy / "saved_model" / "saved_model.pb").is_file()


def test_slots_and_counters_are_among_the_variables_compared(output: Path) -> None:
    variables = Handover.read(str(output / "partitioned_ps" / "trained.npz")).variables
    assert variables["table/Adam_1"].shape == variables["table"].shape
    assert variables["global_step"] == STEPS


def test_a_process_without_autodist_sees_one_wrong_bit(output: Path, tmp_path: Path) -> None:
    directory = output / "all_reduce"
    trained = Handover.read(str(directory / "trained.npz"))
    flip_a_bit(trained.variables["table/Adam"])
    trained.write(str(tmp_path / "wrong.npz"))
    saved_model, result = directory / "saved_model", tmp_path / "result.npz"
    with pytest.raises(DemoError, match="1 of 52224 values of variable 'table/Adam'"):
        run_plain("load_saved_model.py", saved_model, tmp_path / "wrong.npz", result, 1)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({}, "expected the variables"),
        ({"v": np.zeros(2, np.float64)}, "should be float32 [2], it is float64 [2]"),
        ({"v": np.zeros(3, np.float32)}, "should be float32 [2], it is float32 [3]"),
        ({"v": np.array([0, 1e-45], np.float32)}, "1 of 2 values of variable 'v'"),
    ],
)
def test_variables_that_differ_are_told_apart(found: dict[str, object], message: str) -> None:
    with pytest.raises(MismatchError) as caught:
        check_variables({"v": np.zeros(2, np.float32)}, found, "here")
    assert message in str(caught.value)


def test_files_that_differ_are_told_apart(tmp_path: Path) -> None:
    for suffix in (".data-00000-of-00001", ".index"):
        (tmp_path / f"a{suffix}").write_bytes(b"same")
        (tmp_path / f"b{suffix}").write_bytes(b"same" if suffix != ".index" else b"some")
    with pytest.raises(DemoError, match=r"a\.index is not byte-identical"):
        check_same_files(str(tmp_path / "a"), str(tmp_path / "b"), "here")


def test_a_training_unlike_that_of_one_node_is_refused() -> None:
    with pytest.raises(DemoError, match=r"the loss of step 1 is 1\.100000"):
        check_against_single_node("AllReduce", [2.0, 1.1], [2.0, 1.0])


def test_a_directory_with_other_files_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("...")
    assert cli.main(["demo", "--output", str(tmp_path)]) == 1
    assert "holds files that no demo made" in capsys.readouterr().err
    assert precious.read_text() == "..."


def test_help_needs_no_tensorflow() -> None:
    program = (
        "import sys; from autodist import cli; assert cli.main([]) == 0; "
        "assert 'tensorflow' not in sys.modules"
    )
    done = run_python("-c", program, fresh=True)
    assert "demo" in done.stdout


@pytest.mark.parametrize("steps", ["0", "many"])
def test_options_are_checked(steps: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--steps", steps]) == 2
    assert "Invalid value for '--steps'" in capsys.readouterr().err


def flip_a_bit(array: np.ndarray) -> None:
    array.reshape(-1).view(np.uint32)[7] ^= 1


def test_a_cluster_of_the_demo_is_on_this_machine(tmp_path: Path) -> None:
    written = Output.create(tmp_path / "output", nodes=3).resource_spec
    spec = ResourceSpec.from_file(str(written))
    assert [node.is_loopback for node in spec.nodes] == [True, True, True]
    assert len(spec.replica_devices) == 3
