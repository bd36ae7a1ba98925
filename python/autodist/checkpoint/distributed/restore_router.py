"""Chooses how a saver restores in a session: through the tasks of a cluster or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed import session_proxy
from autodist.checkpoint.distributed.restoring import restore_steps
from autodist.checkpoint.distributed.router import Router
from autodist.checkpoint.distributed.tasks import op_support, sessions
from autodist.checkpoint.distributed.variables import placement, restore_targets, visible_values
from autodist.checkpoint.files import bundle
from autodist.checkpoint.reports import transfer
from autodist.tf_nodes import restore_nodes


class RestoreSessionProxy(session_proxy.SessionProxy):
    """A session for TensorFlow's `Saver.restore`, whose `run` is a `ClusterRestore`."""

    def __init__(
        self,
        session: Any,
        cluster_restore: restore_steps.ClusterRestore,
        placed: restore_targets.PlacedRestore,
        timeout_seconds: float,
        *,
        running: transfer.Transfer,
        run_others: Callable[[Any], None],
    ) -> None:
        """Wraps a session.

        Args:
            session: The session.
            cluster_restore: What restores.
            placed: What is restored.
            timeout_seconds: For how long a task may not answer.
            running: Is told how far the restore is.
            run_others: Restores what no variable of a task takes, given a `feed_dict`.
        """
        super().__init__(session)
        self._run_others = run_others
        self._running = running
        self._restore = cluster_restore
        self._placed = placed
        self._timeout = timeout_seconds

    def run(
        self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Restores; `feed_dict` has one value, the prefix."""
        del fetches, options, run_metadata
        (prefix,) = feed_dict.values()

        def run_others() -> None:
            if self._placed.others:
                self._run_others(feed_dict)

        self._restore.restore(tf.compat.as_str(prefix), run_others, self._running)
        visible_values.check(self._session, self._placed, self._timeout)


class RestoreRouter(Router):
    """Chooses how a saver restores in a session."""

    def route(
        self,
        session: Any,
        saver_def: Any,
        prefix: str,
        running: transfer.Transfer,
        selection: restore_targets.Selection | None = None,
    ) -> Any:
        """Returns a proxy if several tasks hold variables, else `session`.

        For a selection it returns a proxy for one task in another process, too.

        Args:
            session: The session.
            saver_def: The saver's `SaverDef`.
            prefix: The checkpoint's prefix.
            running: Is told how far the restore is.
            selection: What of the saver's values is restored; `None`: all.
        """
        target = sessions.target_of(session)
        # Checkpoints of the V1 format are TensorFlow's.
        if target is None or not bundle.exists(prefix):
            return session
        sessions.bring_back(session)
        placed = restore_targets.read(session, saver_def, selection)
        if placed is None or not placed.targets:
            return session
        found = self._locate(
            session,
            target,
            lambda timeout: placement.of_restore(session, placed, timeout),
            even_one=selection is not None,
        )
        if found is None:
            return session
        if found.without_ops:
            self._warn_of_missing_ops(session, found.without_ops, found.master, found.chief)
            return session
        cluster_restore = restore_steps.ClusterRestore(found, self._transport)

        def run_others(feed_dict: Any) -> None:
            nodes = restore_nodes.find(session.graph, saver_def)
            names = {} if selection is None else selection.names
            sessions.run_restores(session, found.placed.others, feed_dict, nodes, names)

        return RestoreSessionProxy(
            session,
            cluster_restore,
            found.placed,
            self._transport.timeout_seconds,
            running=running,
            run_others=run_others,
        )

    def _warn_of_unreachable(self, session: Any, why: str) -> None:
        """Warns, once for each session, why TensorFlow's own nodes restore in it.

        Raises:
            tf.errors.FailedPreconditionError: Another way was asked for.
        """
        if self._transport.way in ("shared", "stream"):
            raise tf.errors.FailedPreconditionError(
                None,
                None,
                f"transport='{self._transport.way}', but {why}: only that session itself can "
                "restore them. Leave transport out: then TensorFlow reads at the task of the "
                "saver's node and sends whole values",
            )
        self._warn(
            session,
            f"{why}. TensorFlow restores in that session: it sends whole values from the task of "
            "the saver's node, at most 2 GiB each",
        )

    def _warn_of_missing_ops(
        self, session: Any, without_ops: list[str], master: str, chief: str
    ) -> None:
        """Warns, once for each session, which tasks have not loaded our ops, and what follows.

        Raises:
            tf.errors.FailedPreconditionError: Every task was to read.
        """
        who = op_support.describe(without_ops, master, chief)
        if self._transport.way == "shared":
            raise tf.errors.FailedPreconditionError(
                None,
                None,
                f"transport='shared', but autodist's ops are not loaded in {who}. "
                f"{op_support.ADVICE} each task reads its variables; or leave transport out: then "
                "they are sent",
            )
        message = (
            f"autodist's ops are not loaded in {who}: {chief} reads the checkpoint, and TensorFlow "
            f"sends whole values, at most 2 GiB each. {op_support.ADVICE} each task reads its "
            "variables"
        )
        self._warn(session, message)
