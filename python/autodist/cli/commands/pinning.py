"""`autodist pin`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from autodist import _log, errors
from autodist.cli import output


@click.command("pin")
@click.argument("paths", nargs=-1, required=True, metavar="PREFIX...|DIRECTORY...")
@click.option("--reason", default="", help="Why; shown in the list.")
@click.option("--remove", is_flag=True, help="Take the pins away.")
@output.json_option
def command(paths: tuple[str, ...], reason: str, remove: bool, as_json: bool) -> int:
    """Pin checkpoints, so that no saver of autodist removes them. List the pins of directories.

    The exit code is 1 if --remove finds a checkpoint that is not pinned.
    """
    directories = [path for path in paths if Path(path).is_dir()]
    if directories and (len(directories) < len(paths) or remove or reason):
        raise errors.ArgumentError(
            f"{_log.printable(directories[0])!r} is a directory, whose pins can only be listed. "
            "Give prefixes of checkpoints"
        )
    try:
        if directories:
            return _list(directories, as_json=as_json)
        return _pin(paths, reason, remove=remove, as_json=as_json)
    except errors.AutoDistError:
        raise
    except Exception as error:
        from autodist.checkpoint.keeping import side_files

        # Also those of TensorFlow, which knows other file systems.
        if not isinstance(error, side_files.errors()):
            raise
        raise click.ClickException(str(error)) from error


def _pin(paths: tuple[str, ...], reason: str, *, remove: bool, as_json: bool) -> int:
    from autodist.checkpoint.keeping import pins

    found = []
    for path in paths:
        if remove:
            found.append(pins.unpin(path))
        else:
            pins.pin(path, reason)
            found.append(True)
    if as_json:
        rows = [
            {"prefix": path, "pinned": not remove, "was_pinned": was if remove else None}
            for path, was in zip(paths, found, strict=True)
        ]
        output.write_json({"checkpoints": rows})
    else:
        for path, was in zip(paths, found, strict=True):
            text = ("no longer pinned" if was else "was not pinned") if remove else "pinned"
            output.write(f"{_log.printable(path)}: {text}")
    return 0 if all(found) else 1


def _list(directories: list[str], *, as_json: bool) -> int:
    from autodist.checkpoint.keeping import pins

    found = {
        prefix: pin for directory in directories for prefix, pin in pins.pins(directory).items()
    }
    if as_json:
        rows = [
            {"prefix": prefix, "reason": pin.reason, "host": pin.host, "time": pin.time}
            for prefix, pin in found.items()
        ]
        output.write_json({"pins": rows})
        return 0
    output.write_table(
        ["CHECKPOINT", "PINNED", "ON", "REASON"],
        [[prefix, _date(pin.time), pin.host, pin.reason] for prefix, pin in found.items()],
    )
    return 0


def _date(time: float) -> str:
    """Returns a time as a date of this machine's time zone; empty if it is not known."""
    if not time:
        return ""
    return (
        dt.datetime.fromtimestamp(time, tz=dt.timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")
    )
