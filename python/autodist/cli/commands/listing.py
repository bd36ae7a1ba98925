"""`autodist ls`."""

from __future__ import annotations

from typing import Any

import click

from autodist import _log
from autodist.cli import output
from autodist.workbench.commands import listing
from autodist.workbench.reading import finding
from autodist.workbench.reading.checkpoint import Variable


@click.command("ls")
@click.argument("path")
@output.patterns_argument
@click.option("--sort", type=click.Choice(listing.SORTS), default="name", show_default=True)
@click.option("--reverse", "-r", is_flag=True, help="Reverse the order.")
@click.option("--tree", is_flag=True, help="Show levels of names, with the size of each.")
@click.option("--slices", is_flag=True, help="Show each slice, with its file and place.")
@output.json_option
def command(
    path: str,
    patterns: tuple[str, ...],
    sort: str,
    reverse: bool,
    tree: bool,
    slices: bool,
    as_json: bool,
) -> int:
    """List names, dtypes, shapes and sizes of the variables of a checkpoint.

    PATH is a checkpoint's prefix or one of its files, a directory with a state file, a SavedModel
    or a .meta file. NAME is a variable's name or a pattern such as 'encoder/*'.
    """
    if finding.find(path).kind == "meta":
        return _write_graph(path, as_json=as_json)
    found = listing.list_checkpoint(path, patterns, sort, reverse=reverse)
    if as_json:
        output.write_json(_json(found))
        return 0
    if tree:
        _write_tree(found.variables)
    elif slices:
        _write_slices(found)
    else:
        _write_variables(found)
    _write_totals(found)
    return 0


def _write_graph(path: str, *, as_json: bool) -> int:
    rows = listing.list_graph(path)
    if as_json:
        output.write_json({"kind": "meta", "graph": path, "names": [_graph_json(r) for r in rows]})
        return 0
    cells = (
        [
            row.name, row.dtype, "?" if row.shape is None else output.shape_text(row.shape),
            row.slice.rpartition(" ")[2], "yes" if row.is_variable else "",
            "yes" if row.is_restored else "",
        ]
        for row in rows
    )  # fmt: skip
    output.write_table(["NAME", "DTYPE", "SHAPE", "SLICE", "VARIABLE", "RESTORED"], cells)
    return 0


def _write_variables(found: listing.Listing) -> None:
    is_sliced = any(variable.is_sliced for variable in found.variables)
    headings = ["NAME", "DTYPE", "SHAPE", "SIZE"] + ["SLICES"] * is_sliced
    rows = (
        [v.name, v.dtype, output.shape_text(v.shape), _log.size(v.size)]
        + [str(len(v.pieces)) if v.is_sliced else ""] * is_sliced
        for v in found.variables
    )
    output.write_table(headings, rows, right=(3, 4))


def _write_slices(found: listing.Listing) -> None:
    files = [file.path.rsplit("/", 1)[-1] for file in found.files if not _is_index(found, file)]
    rows = (
        [
            v.name, piece.slice or "whole", output.shape_text(piece.shape), _log.size(piece.size),
            files[piece.file] if 0 <= piece.file < len(files) else str(piece.file),
            str(piece.offset) if piece.offset >= 0 else "",
        ]
        for v in found.variables
        for piece in v.pieces
    )  # fmt: skip
    output.write_table(["NAME", "SLICE", "SHAPE", "SIZE", "FILE", "OFFSET"], rows, right=(3, 5))


def _is_index(found: listing.Listing, file: listing.File) -> bool:
    return found.format == "V2" and file.path == found.prefix + ".index"


def _write_tree(variables: list[Variable]) -> None:
    rows: list[list[str]] = []

    def add(node: listing.Node, depth: int, parent: str) -> None:
        name = node.name[len(parent) :].lstrip("/") if parent else node.name
        about = [
            f"{node.variable.dtype} {output.shape_text(node.variable.shape)}"
            if node.variable
            else ""
        ]
        rows.append(["  " * depth + name, str(node.variable_count), _log.size(node.size), *about])
        for child in node.children:
            add(child, depth + 1, node.name)

    for child in listing.tree(variables).children:
        add(child, 0, "")
    output.write_table(["NAME", "VARIABLES", "SIZE", ""], rows, right=(1, 2))


def _write_totals(found: listing.Listing) -> None:
    total = sum(variable.size for variable in found.variables)
    of_all = "" if len(found.variables) == found.variable_count else f" of {found.variable_count}"
    files = [file for file in found.files if not _is_index(found, file)]
    output.write()
    output.write(
        f"{len(found.variables)}{of_all} {'variable' if found.variable_count == 1 else 'variables'}, "
        f"{_log.size(total)}; {_log.printable(found.prefix)}: {found.format}, "
        f"{_log.count(len(files), 'data file' if found.format == 'V2' else 'file')}"
    )
    for file in found.files:
        if file.size < 0:
            output.write(f"missing: {_log.printable(file.path)}")


def _graph_json(row: listing.GraphRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "dtype": row.dtype,
        "shape": None if row.shape is None else list(row.shape),
        "slice": row.slice or None,
        "variable": row.is_variable,
        "restored": row.is_restored,
    }


def _json(found: listing.Listing) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "prefix": found.prefix,
        "format": found.format,
        "graph": found.graph or None,
        "kept": list(found.kept),
        "files": [{"path": f.path, "size": f.size if f.size >= 0 else None} for f in found.files],
        "variable_count": found.variable_count,
        "variables": [_variable_json(variable) for variable in found.variables],
    }


def _variable_json(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "dtype": variable.dtype,
        "shape": list(variable.shape),
        "size": variable.size,
        "pieces": [
            {
                "slice": piece.slice or None,
                "shape": list(piece.shape),
                "file": piece.file,
                "offset": piece.offset if piece.offset >= 0 else None,
                "size": piece.size,
                "crc32c": f"{piece.crc:08x}" if piece.crc >= 0 else None,
            }
            for piece in variable.pieces
        ],
    }
