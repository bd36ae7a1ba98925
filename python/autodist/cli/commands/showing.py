"""`autodist show`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from autodist import _log
from autodist.cli import leasing, output
from autodist.workbench.commands import showing


@click.command("show")
@click.argument("path")
@click.argument("targets", nargs=-1, required=True, metavar="NAME[ROWS]...")
@click.option("--all", "show_all", is_flag=True, help="Print every element, also of large values.")
@click.option(
    "--precision", type=click.IntRange(0, 17), default=6, show_default=True, help="Digits."
)
@output.json_option
def command(
    path: str,
    targets: tuple[str, ...],
    show_all: bool,
    precision: int,
    as_json: bool,
) -> int:
    """Print values of variables, or rows of them: 'emb[0:10]', 'w[3, :2]', 'dense*'.

    Slices are put together. The checksum of each variable is compared.
    """
    with leasing.found(path) as prefix:
        _show(showing.show(prefix, targets), precision, show_all=show_all, as_json=as_json)
    return 0


def _show(found: Iterable[showing.Shown], precision: int, *, show_all: bool, as_json: bool) -> None:
    if as_json:
        output.write_json([_json(shown) for shown in found])
        return
    for number, shown in enumerate(found):
        if number:
            output.write()
        variable = shown.variable
        rows = f"[{shown.selection}]" if shown.selection else ""
        output.write(
            f"{_log.printable(variable.name)}{rows}  {variable.dtype} "
            f"{output.shape_text(variable.shape)}"
        )
        output.write(_text(shown.values, precision, show_all=show_all))


def _text(values: Any, precision: int, *, show_all: bool) -> str:
    import numpy as np

    if values is None:
        return "(has no values that can be shown)"
    if values.dtype.kind == "V" and values.dtype.itemsize <= 2:
        values = values.astype(np.float32)  # NumPy knows no format for those of ml_dtypes.
    threshold = values.size + 1 if show_all else 1000
    with np.printoptions(linewidth=100, precision=precision, threshold=threshold):
        return str(values) if values.shape or values.dtype != object else repr(values.item())


def _json(shown: showing.Shown) -> dict[str, Any]:
    return {
        "name": shown.variable.name,
        "dtype": shown.variable.dtype,
        "shape": list(shown.variable.shape if shown.values is None else shown.values.shape),
        "values": None if shown.values is None else _plain(shown.values),
    }


def _plain(values: Any) -> Any:
    import numpy as np

    if values.dtype == object:
        return _decoded(values.tolist())
    if values.dtype.kind == "c":
        return np.stack([values.real, values.imag], axis=-1).tolist()
    if values.dtype.kind not in "biuf":
        return values.astype(np.float32).tolist()
    return values.tolist()


def _decoded(values: Any) -> Any:
    if isinstance(values, list):
        return [_decoded(value) for value in values]
    return values.decode("utf-8", "surrogateescape")
