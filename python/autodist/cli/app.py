"""The commands by name. A module of a command is imported when it runs, or when its help is asked."""

from __future__ import annotations

import importlib

import click

from autodist import __version__
from autodist.errors import AutoDistError

# Where each command is, and its line of the overview.
_COMMANDS = {
    "ls": ("listing", "list the variables of a checkpoint"),
    "show": ("showing", "print values"),
    "stat": ("statistics", "minimum, maximum, mean, NaNs, zeros of each variable"),
    "verify": ("verification", "check every byte of checkpoints against their checksums"),
    "diff": ("differences", "compare two checkpoints"),
    "explain": ("explanation", "tell why a checkpoint would not restore"),
    "pin": ("pinning", "keep checkpoints that savers would remove"),
    "convert": ("conversion", "copy a checkpoint with another layout, format, names or dtypes"),
    "average": ("averaging", "write the mean of checkpoints"),
    "export": ("exporting", "write variables to a .safetensors or .npz file"),
    "import": ("importing", "make a checkpoint of a .safetensors or .npz file"),
    "repair": ("repair", "rebuild an index or a state file from what is sound"),
    "doctor": ("diagnosis", "show versions, and what is safe in a directory"),
    "spec": ("spec", "check a resource spec"),
    "demo": (
        "demo",
        "train, save, export, restore and fine-tune on real data, and check every step",
    ),
    "serve": ("serve", "run the TensorFlow server of one node of a cluster"),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"autodist.cli.commands.{_COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def make() -> click.Group:
    """Returns the command line."""
    group = _Commands(
        "autodist",
        help="Lists, shows, verifies, compares, explains, converts, averages, exports and repairs TensorFlow "
        "checkpoints. Also runs servers for distributed training.",
        invoke_without_command=True,
        no_args_is_help=False,
        callback=_show_help_without_command,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    return click.version_option(__version__, message="%(prog)s %(version)s")(group)


def exit_code(error: AutoDistError) -> int:
    """Returns the exit code of a command that failed: 1 if the answer is a damaged checkpoint."""
    from autodist.workbench.errors import DamagedError

    return 1 if isinstance(error, DamagedError) else 2


@click.pass_context
def _show_help_without_command(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
