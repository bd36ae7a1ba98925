"""Writes the bundle of one save: by our op, by the tasks of a cluster, or by TensorFlow beside its prefix."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from autodist import _native
from autodist.checkpoint import save_arguments
from autodist.checkpoint.distributed import save_router
from autodist.checkpoint.files import bundle, report
from autodist.tf_nodes import marks, save_nodes


@dataclasses.dataclass(frozen=True)
class BundleSave:
    """One bundle that is to be written.

    Attributes:
        session: The session.
        prefix: The checkpoint's prefix.
        saver_def: The saver's `SaverDef`; `None` for a format without an index.
        durable: Whether all is synced.
        router: What saves where several tasks have variables.
    """

    session: Any
    prefix: str
    saver_def: Any
    durable: bool
    router: save_router.SaveRouter

    def run(self, save: Callable[..., Any], save_path: str, global_step: int | None) -> str | None:
        """Runs the nodes that write the bundle.

        Args:
            save: `Saver.save` of the base class, but for the files beside the bundle; takes a session, a path and a
                step.
            save_path: The path that the saver was given.
            global_step: The step that was read.

        Returns:
            The prefix; `None` if there was nothing to save.
        """
        session, prefix = self.session, self.prefix
        found: list[Any] = []
        if self.saver_def is not None:
            found = save_nodes.find(getattr(session, "graph", None), self.saver_def)
        is_ours = any(map(marks.is_marked, found))
        if (
            not is_ours
            and self.saver_def is not None
            and save_arguments.can_stage_bundle(session, prefix)
        ):
            return self._run_staged(save, session)
        # Where several tasks have variables another saves in the session's place.
        node = found[0] if is_ours and len(found) == 1 else None
        try:
            return self._run_in(self._route(node), save, save_path, global_step, is_ours=is_ours)
        except save_router.InOrderOnlyError as error:
            self.router.write_in_order(prefix, error)
        return self._run_in(self._route(node), save, save_path, global_step, is_ours=is_ours)

    def _route(self, node: Any) -> Any:
        return self.session if node is None else self.router.route(self.session, node, self.prefix)

    def _run_in(
        self,
        proxy: Any,
        save: Callable[..., Any],
        save_path: str,
        global_step: int | None,
        *,
        is_ours: bool,
    ) -> str | None:
        session, prefix = self.session, self.prefix
        if proxy is not session and proxy.stages_bundle:
            return self._run_staged(save, proxy)
        path: str | None = save(proxy, save_path, global_step)
        if path is not None:
            if self.durable and not is_ours:
                bundle.sync(prefix)
            if proxy is session:
                report.log_save(prefix, prefix)
        return path

    def _run_staged(self, save: Callable[..., Any], session: Any) -> str:
        """Saves beside the prefix first: TensorFlow's own nodes would replace a checkpoint in use file by file."""
        staged = _native.StagedBundle()
        try:
            staged.stage(self.prefix, durable=self.durable)
            save(session, staged.staged_prefix, None)
            staged.commit()
        finally:
            staged.discard()
        report.log_save(self.prefix, staged.staged_prefix)
        return self.prefix
