"""The command `autodist`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from autodist.errors import AutoDistError

# What a shell reports of a program that SIGPIPE or SIGINT has ended.
_BROKEN_PIPE = 141
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: what follows the command's name; those of this process by default.

    Returns:
        The exit code. 0: done, and the answer is yes. 1: the answer is no, or a checkpoint is
        damaged. 2: not done. 130: interrupted. 141: who reads the output has closed it.
    """
    import click

    from autodist.cli import app, output

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    output.open_closed_streams()
    try:
        code = app.make().main(arguments, prog_name="autodist", standalone_mode=False)
        output.flush()
    except click.exceptions.Exit as request:
        return request.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except (
        click.ClickException,
        AutoDistError,
        output.ClosedPipeError,
        output.OutputError,
        OSError,
    ) as error:
        return _exit_code(error)
    return code if isinstance(code, int) else 0


def _exit_code(error: Exception) -> int:
    """Prints why a command failed."""
    import click

    from autodist.cli import app, output

    if isinstance(error, click.ClickException):
        output.write_error(error.format_message(), error)
        return 2
    if isinstance(error, AutoDistError):
        output.write_error(str(error))
        return app.exit_code(error)
    output.give_up()
    if isinstance(error, output.ClosedPipeError):
        return _BROKEN_PIPE
    # Files have errors of the workbench; an OSError is what click says of the output.
    reason = getattr(error, "strerror", None) or error
    output.write_error(f"the output cannot be written: {reason}")
    return 2
