"""Chooses how a saver restores in a session: through the tasks of a cluster or not."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from autodist import _log
from autodist.checkpoint.distributed import session_proxy
from autodist.checkpoint.distributed.restoring import restore_steps
from autodist.checkpoint.distributed.tasks import masters, op_support, sessions, task_names
from autodist.checkpoint.distributed.variables import placement, restore_targets, visible_values
from autodist.checkpoint.files import bundle

if TYPE_CHECKING:
    from autodist.checkpoint.distributed.tasks.transport import Transport

_LOGGER = _log.get_logger()


class RestoreSessionProxy(session_proxy.SessionProxy):
    """A session for TensorFlow's `Saver.restore`, whose `run` is a `ClusterRestore`."""

    def __init__(
        self,
        session: Any,
        cluster_restore: restore_steps.ClusterRestore,
        placed: restore_targets.PlacedRestore,
        timeout_seconds: float,
    ) -> None:
        """Wraps a session.

        Args:
            session: The session.
            cluster_restore: What restores.
            placed: What is restored.
            timeout_seconds: For how long a task may not answer.
        """
        super().__init__(session)
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
                self._session.run(list(self._placed.others), feed_dict)

        self._restore.restore(tf.compat.as_str(prefix), run_others)
        visible_values.check(self._session, self._placed, self._timeout)


class RestoreRouter:
    """Chooses how a saver restores in a session."""

    def __init__(self, transport: Transport) -> None:
        """Has warned of nothing yet.

        Args:
            transport: How the bytes travel.
        """
        self._transport = transport
        self._warned: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def route(self, session: Any, saver_def: Any, prefix: str) -> Any:
        """Returns a proxy if several tasks hold variables, else `session`.

        Args:
            session: The session.
            saver_def: The saver's `SaverDef`.
            prefix: The checkpoint's prefix.
        """
        target = sessions.target_of(session)
        # Checkpoints of the V1 format are TensorFlow's.
        if target is None or not bundle.exists(prefix):
            return session
        sessions.bring_back(session)
        placed = restore_targets.read(session, saver_def)
        if placed is None or not placed.targets:
            return session
        reached = self._reach(session, target, placed)
        return session if reached is None else self._open(session, target, *reached)

    def _reach(
        self, session: Any, target: task_names.Target, placed: restore_targets.PlacedRestore
    ) -> tuple[restore_targets.PlacedRestore, str] | None:
        """Returns the restore with its devices, and the master's task.

        Returns `None` if all is on one task, or if only the user's session itself sees the
        variables.
        """
        timeout = self._transport.timeout_seconds
        try:
            placed = placement.of_restore(session, placed, timeout)
            held = [restore_target.variable.device for restore_target in placed.targets]
            if task_names.are_of_one([placed.device, *held]):
                return None
            return placed, masters.shared_task(target, timeout)
        except task_names.UnreachableStateError as error:
            self._warn_of_unreachable(session, str(error))
            return None

    def _open(
        self,
        session: Any,
        target: task_names.Target,
        placed: restore_targets.PlacedRestore,
        master: str,
    ) -> Any:
        """Returns a proxy that restores in the session's place.

        Returns the session itself where TensorFlow's own nodes must restore.
        """
        timeout = self._transport.timeout_seconds
        chief = task_names.task_of(placed.device, master)
        homes = [
            task_names.task_of(restore_target.variable.device, master)
            for restore_target in placed.targets
        ]
        involved = sorted({chief, *homes})
        if involved == [chief]:
            return session
        without_ops = op_support.find(target, master, involved, timeout)
        if without_ops:
            self._warn_of_missing_ops(session, without_ops, master, chief)
            return session
        cluster_restore = restore_steps.ClusterRestore(
            target, master, placed, homes, self._transport
        )
        return RestoreSessionProxy(session, cluster_restore, placed, timeout)

    def _warn_of_unreachable(self, session: Any, why: str) -> None:
        """Warns, once for each session, why TensorFlow's own nodes restore in it.

        Raises:
            tf.errors.FailedPreconditionError: Another way was asked for.
        """
        if self._transport.way in ("shared", "stream"):
            raise tf.errors.FailedPreconditionError(
                None,
                None,
                f"transport='{self._transport.way}', but {why}: only that session itself can restore them. Leave "
                "transport out: then TensorFlow reads at the task of the saver's node and sends whole values",
            )
        self._warn(
            session,
            f"{why}. TensorFlow restores in that session: it sends whole values from the task of the saver's node, "
            "at most 2 GiB each",
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
                f"transport='shared', but autodist's ops are not loaded in {who}. {op_support.ADVICE} each task "
                "reads its variables; or leave transport out: then they are sent",
            )
        message = (
            f"autodist's ops are not loaded in {who}: {chief} reads the checkpoint, and TensorFlow sends whole "
            f"values, at most 2 GiB each. {op_support.ADVICE} each task reads its variables"
        )
        self._warn(session, message)

    def _warn(self, session: Any, message: str) -> None:
        """Warns, once for each session."""
        if self._warned.get(session) != message:
            self._warned[session] = message
            _LOGGER.warning("%s", message)
