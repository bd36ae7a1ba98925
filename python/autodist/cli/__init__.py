"""The command `autodist`."""

from __future__ import annotations

import os
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
    try:
        code = app.make().main(arguments, prog_name="autodist", standalone_mode=False)
        output.flush()
    except click.exceptions.Exit as request:
        return request.exit_code
    except click.ClickException as error:
        output.write_error(error.format_message(), error)
        return 2
    except AutoDistError as error:
        output.write_error(str(error))
        return app.exit_code(error)
    except output.ClosedPipeError:
        # The interpreter would flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    return code if isinstance(code, int) else 0
