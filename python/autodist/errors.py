"""The errors of autodist.

Each one is also the built-in type that a TensorFlow program already catches for the same mistake.
This module imports nothing, so that the parts that know no TensorFlow can use it.
"""


class AutoDistError(Exception):
    """Base class of all errors that autodist raises on purpose."""


class ArgumentError(AutoDistError, ValueError):
    """An argument has a value that cannot be used."""


class ArgumentTypeError(AutoDistError, TypeError):
    """An argument is of a type that cannot be used."""


class UnsupportedGraphError(AutoDistError, ValueError):
    """The original graph holds something that cannot be distributed."""


class GraphStateError(AutoDistError, RuntimeError):
    """A graph or a session is not in the state that the call needs."""


class MissingCheckpointError(AutoDistError, FileNotFoundError):
    """There is no checkpoint under a prefix."""


class RefusedCheckpointError(AutoDistError, ValueError):
    """A checkpoint breaks a rule of `SaveOptions(refuse=...)`, or was not proved to restore."""


class LeaseError(AutoDistError, OSError):
    """A checkpoint cannot be leased, so a saver may remove it while it is read."""
