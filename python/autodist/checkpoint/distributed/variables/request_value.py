"""A value of a save or restore request, in the form that the ops of a cluster's save take."""

from __future__ import annotations

import dataclasses
from typing import Any

from autodist.layout import RequestEntry


@dataclasses.dataclass(frozen=True)
class RequestValue:
    """A value that is saved or restored.

    Attributes:
        entry: The entry of the request.
    """

    entry: RequestEntry

    @property
    def name(self) -> bytes:
        """The name in the checkpoint."""
        return self.entry.tensor_name.encode()

    @property
    def slice_spec(self) -> bytes:
        """TensorFlow's text form of a slice; empty for a whole tensor."""
        return self.entry.slice.encode()

    @property
    def dtype(self) -> Any:
        """The dtype of the value."""
        return self.entry.dtype.base_dtype
