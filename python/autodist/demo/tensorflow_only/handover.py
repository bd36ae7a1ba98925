"""The facts of a training that one process hands to the next, and their check."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

_VARIABLE = "variable:"


@dataclasses.dataclass(frozen=True)
class Handover:
    """The state of a training, as a session had it.

    Attributes:
        variables: the value of every variable, slots and counters included, by name.
        correct: how many of the test images were recognised with these values.
        losses: the losses that were seen on the way there, or on the way from there.
    """

    variables: Mapping[str, Any]
    correct: int
    losses: list[float]

    def write(self, path: str) -> None:
        """Writes an `.npz` file."""
        arrays = {_VARIABLE + name: value for name, value in self.variables.items()}
        np.savez(path, correct=self.correct, losses=np.asarray(self.losses), **arrays)

    @staticmethod
    def read(path: str) -> "Handover":
        """Reads what `write` wrote."""
        with np.load(path) as arrays:
            variables = {
                key.removeprefix(_VARIABLE): arrays[key]
                for key in arrays.files
                if key.startswith(_VARIABLE)
            }
            return Handover(variables, int(arrays["correct"]), arrays["losses"].tolist())


class MismatchError(Exception):
    """A value is not what it was before saving."""


def read_variables(session: Any) -> dict[str, Any]:
    """The values of all variables of a session's graph, slots and counters included, by name."""
    with session.graph.as_default():
        variables = tf.compat.v1.global_variables()
    values: dict[str, Any] = session.run({v.op.name: v for v in variables})
    return values


def check_variables(expected: Mapping[str, Any], found: Mapping[str, Any], where: str) -> None:
    """Checks that two sets of variables are equal: names, dtypes, shapes and every bit.

    Args:
        expected: values by name, as they were saved.
        found: values by name, as they are now.
        where: what holds the values that were found, for the message.

    Raises:
        MismatchError: they are not equal; names the first difference.
    """
    if set(expected) != set(found):
        raise MismatchError(
            f"{where}: expected the variables {sorted(expected)}, found {sorted(found)}"
        )
    for name, value in sorted(expected.items()):
        wanted, got = np.asarray(value), np.asarray(found[name])
        if (wanted.dtype, wanted.shape) != (got.dtype, got.shape):
            raise MismatchError(
                f"{where}: variable {name!r} should be {wanted.dtype} {list(wanted.shape)}, "
                f"it is {got.dtype} {list(got.shape)}"
            )
        if wanted.tobytes() != got.tobytes():
            count = np.count_nonzero(wanted != got)
            raise MismatchError(
                f"{where}: {count} of {wanted.size} values of variable {name!r} are not those that "
                "were saved"
            )


def check_correct(expected: int, found: int, where: str) -> None:
    """Checks that as many test images are recognised as before saving.

    Raises:
        MismatchError: there are more or fewer.
    """
    if expected != found:
        raise MismatchError(
            f"{where}: {found} test images are recognised; before saving it was {expected}"
        )


def check_without_autodist() -> None:
    """Checks that this process has TensorFlow and nothing of autodist.

    Raises:
        MismatchError: a module of autodist is imported.
    """
    found = sorted(name for name in sys.modules if name.partition(".")[0] == "autodist")
    if found:
        raise MismatchError(f"this process must not know autodist, but it has imported {found}")
