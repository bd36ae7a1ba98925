"""What a safetensors file says of the checkpoint that it was exported from, beside the values.

It stands as JSON under `autodist` in the file's metadata, so that an import writes the same bytes:

    format   1
    files    how many data files the checkpoint has
    pieces   [name, data file, slice as TensorFlow spells it or "", CRC32C as 8 hexadecimal digits],
             in the order of the data files
    dtypes   of each tensor whose dtype the format has no name for
    shapes   of each tensor whose values lie in the file in another shape
    slots    of each slot of an optimizer: its variable and the slot's name
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from autodist.workbench import errors
from autodist.workbench.writing.stored import Dims

KEY = "autodist"
_FORMAT = 1
_MOST_FILES = 99_999

# The slots of TensorFlow's optimizers: the ends of their names in a checkpoint of `Saver`.
_SLOTS = re.compile(
    r"(?P<variable>.+)/(?P<slot>(?:Adam|RMSProp|Ftrl|Adadelta|AdagradDA|Momentum|Adagrad|"
    r"ProximalAdagrad|CenteredRMSProp|ExponentialMovingAverage|LARSOptimizer|LAMB)(?:_\d+)?)"
)
# The key of a slot in a checkpoint of `tf.train.Checkpoint`.
_OBJECT_SLOTS = re.compile(
    r"(?P<variable>.+)/\.OPTIMIZER_SLOT/(?P<slot>.+)/\.ATTRIBUTES/VARIABLE_VALUE"
)


class RecordedPiece(NamedTuple):
    """A tensor or a slice of it, where it was in the checkpoint."""

    name: str
    file: int
    slice: str
    crc: int


@dataclass
class BundleRecord:
    """What the metadata say; see above."""

    file_count: int
    pieces: list[RecordedPiece] = field(default_factory=list)
    dtypes: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, Dims] = field(default_factory=dict)
    slots: dict[str, tuple[str, str]] = field(default_factory=dict)

    def encode(self) -> str:
        """Returns the text; its length does not depend on the CRCs."""
        return json.dumps(
            {
                "format": _FORMAT,
                "files": self.file_count,
                "pieces": [
                    [piece.name, piece.file, piece.slice, f"{piece.crc:08x}"]
                    for piece in self.pieces
                ],
                "dtypes": self.dtypes,
                "shapes": {name: list(shape) for name, shape in self.shapes.items()},
                "slots": self.slots,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )

    @classmethod
    def decode(cls, text: str) -> BundleRecord:
        """Reads the text.

        Raises:
            DamagedError: it is none of this kind.
        """
        try:
            fields = json.loads(text)
            _check(fields["format"] == _FORMAT, f"it has not the format {_FORMAT}")
            record = cls(
                fields["files"],
                [_piece(*piece) for piece in fields["pieces"]],
                {str(name): str(dtype) for name, dtype in fields["dtypes"].items()},
                {str(name): _shape(shape) for name, shape in fields["shapes"].items()},
            )
            files = sorted({piece.file for piece in record.pieces})
            are_numbered = files == list(range(len(files))) and record.file_count == len(files) > 0
            _check(are_numbered, "its data files are not numbered from 0 on")
            numbers = [piece.file for piece in record.pieces]
            _check(numbers == sorted(numbers), "its pieces are not in the order of the data files")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise errors.DamagedError(
                f"the metadata {KEY!r} are damaged: {error}. --plain ignores them"
            ) from error
        return record


def slots_of(names: list[str]) -> dict[str, tuple[str, str]]:
    """Finds the slots of optimizers among the names of a checkpoint, by TensorFlow's naming.

    Returns:
        The name of the variable, and that of the slot, of each slot whose variable is there.
    """
    known = set(names)
    slots = {}
    for name in names:
        by_objects = _OBJECT_SLOTS.fullmatch(name)
        if by_objects:
            variable = f"{by_objects['variable']}/.ATTRIBUTES/VARIABLE_VALUE"
            if variable in known:
                slots[name] = (variable, by_objects["slot"])
            continue
        by_saver = _SLOTS.fullmatch(name)
        if by_saver and by_saver["variable"] in known:
            slots[name] = (by_saver["variable"], by_saver["slot"])
    return slots


def _check(is_well: bool, problem: str) -> None:
    if not is_well:
        raise ValueError(problem)


def _piece(name: Any, file: Any, place: Any, crc: Any) -> RecordedPiece:
    if not (isinstance(name, str) and type(file) is int and isinstance(place, str)):
        raise ValueError("a piece is none")
    if place and not re.fullmatch(r"(-|\d{1,18},\d{1,18})(:(-|\d{1,18},\d{1,18})){0,253}", place):
        raise ValueError(f"{place!r} is no slice")
    if not 0 <= file < _MOST_FILES:
        raise ValueError(f"{file} is no data file")
    return RecordedPiece(name, file, place, int(crc, 16) & 0xFFFFFFFF)


def _shape(shape: Any) -> Dims:
    if not all(type(size) is int and 0 <= size < 1 << 63 for size in shape):
        raise ValueError(f"{shape!r} is no shape")
    return tuple(shape)
