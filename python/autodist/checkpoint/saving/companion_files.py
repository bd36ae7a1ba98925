"""The files beside a bundle: the graph (`.meta`), the metrics, and the state file (`checkpoint`)."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from autodist.checkpoint.files import paths, staged_files, state_file
from autodist.checkpoint.graph import meta_graph
from autodist.checkpoint.keeping import metrics_file


@dataclasses.dataclass
class CompanionFiles:
    """Stages the files beside a bundle, and records the checkpoint with its saver.

    Attributes:
        graph: The graph of the session.
        saver_def: The saver's `SaverDef`.
        meta_path: Path of the graph's file; `None` if it is not written.
        state_path: Path of the state file; `None` if it is not written.
        record: Records a prefix with the saver; returns a function that takes that back.
        kept_prefixes: Returns the prefixes that the saver keeps, oldest first.
        relative: Whether the state file has relative paths.
        meta_arguments: Arguments of `meta_graph.stage`.
        metrics_path: Path of the metrics' file.
        metrics: The metrics by name; without any no file is written.
    """

    graph: Any
    saver_def: Any
    meta_path: str | None
    state_path: str | None
    record: Callable[[str], Callable[[], None]]
    kept_prefixes: Callable[[], list[str]]
    relative: bool
    meta_arguments: dict[str, Any]
    metrics_path: str
    metrics: Mapping[str, float]
    _unrecord: Callable[[], None] | None = None

    def stage(self, files: staged_files.StagedFiles, prefix: str | None) -> None:
        """Writes the files under temporary names, and records the checkpoint.

        Args:
            files: What to add the files to.
            prefix: The checkpoint's prefix; `None` if nothing was saved: then the state file stays
                as it is.
        """
        self.stage_graph(files, prefix)
        self.stage_state(files, prefix)

    def stage_graph(self, files: staged_files.StagedFiles, prefix: str | None) -> None:
        """Writes the graph and the metrics under temporary names.

        Args:
            files: As in `stage`.
            prefix: As in `stage`.
        """
        if self.meta_path is not None:
            with self.graph.as_default():
                meta_graph.stage(files, self.saver_def, self.meta_path, **self.meta_arguments)
        if self.metrics and prefix is not None:
            files.add(self.metrics_path, metrics_file.contents(self.metrics))

    @contextlib.contextmanager
    def graph_file(self) -> Iterator[str]:
        """Makes a file of the graph, beside no checkpoint, for the block; yields its path."""
        with tempfile.TemporaryDirectory() as directory:
            path = paths.join(directory, "graph.meta")
            with self.graph.as_default():
                meta_graph.export(self.saver_def, path, durable=False, **self.meta_arguments)
            yield path

    def stage_state(self, files: staged_files.StagedFiles, prefix: str | None) -> None:
        """Records the checkpoint, and writes the state file under a temporary name.

        Args:
            files: As in `stage`.
            prefix: As in `stage`.
        """
        if self.state_path is not None and prefix is not None:
            self._unrecord = self.record(prefix)
            state = state_file.contents(
                self.state_path, prefix, self.kept_prefixes(), relative=self.relative
            )
            files.add(self.state_path, state)

    def unrecord(self) -> None:
        """Takes back that the checkpoint was recorded, if it was."""
        if self._unrecord is not None:
            self._unrecord()
            self._unrecord = None
