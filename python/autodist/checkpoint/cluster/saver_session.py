"""Stands in for a session while TensorFlow's `Saver.save` runs: its one run is done in our way."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from autodist import _log, errors
from autodist.checkpoint.cluster import lacking as lacking_tasks
from autodist.checkpoint.cluster import save, sessions, sources, tasks
from autodist.tf_internals import SessionInterface

_LOGGER = _log.get_logger()


class SaverSession(SessionInterface):
    """Saves through a `ClusterSave` where `Saver.save` of the base class would run a node."""

    def __init__(
        self, session: Any, attempts: Callable[[], Iterator[save.ClusterSave]], plain: list[Any]
    ) -> None:
        """Wraps a session.

        Args:
            session: The session.
            attempts: Yields what to save with; then, where its servers have forgotten that one, another.
            plain: The sources that are no variables.
        """
        self._session = session
        self._attempts = attempts
        self._plain = plain

    @property
    def graph(self) -> Any:
        """As of the session."""
        return self._session.graph

    @property
    def sess_str(self) -> Any:
        """As of the session."""
        return self._session.sess_str

    def run(
        self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Saves; `feed_dict` has one value, the prefix."""
        del fetches, options, run_metadata
        (prefix,) = feed_dict.values()
        values = sessions.values(self._session, self._plain)
        forgotten = None
        for cluster_save in self._attempts():
            forgotten = _save(cluster_save, prefix, values)
            if forgotten is None:
                return prefix
        raise errors.GraphStateError(
            f"nothing was saved to {prefix}: the servers that saved before do no longer"
        ) from forgotten


def _save(cluster_save: save.ClusterSave, prefix: str, values: list[Any]) -> Exception | None:
    """Saves; returns the error where servers have forgotten the session that they are asked in."""
    try:
        cluster_save.save(prefix, values)
    except tf.errors.OpError as error:
        if not cluster_save.was_forgotten:
            raise
        forgotten: Exception = error
        return forgotten
    return None


class ClusterSaves:
    """The `ClusterSave` of each session that a saver was given."""

    def __init__(self, transport: save.Transport) -> None:
        """Has none yet.

        Args:
            transport: How the bytes travel.
        """
        self._transport = transport
        self._saves: weakref.WeakKeyDictionary[Any, tuple[Any, save.ClusterSave | None]] = (
            weakref.WeakKeyDictionary()
        )
        self._told: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def wrap(self, session: Any, save_op: Any) -> Any:
        """Returns what to hand to TensorFlow's `Saver.save`: a stand-in if several tasks take part, else `session`.

        Args:
            session: The session.
            save_op: The saver's `SaveV2` in its graph.
        """
        target = sessions.target_of(session)
        if not target:
            return session
        node = sessions.read(session, save_op)
        if node is None:
            return session
        if self._find(session, target, node) is None:
            return session
        plain = [source.tensor for source in node.sources if source.variable is None]
        return SaverSession(session, lambda: self._attempts(session, target, node), plain)

    def _attempts(
        self, session: Any, target: str, node: sources.SaveNode
    ) -> Iterator[save.ClusterSave]:
        """Yields what was opened for the session before, then, once, a new one.

        A server that was started again since knows nothing of a session that was opened before.
        """
        for _ in range(2):
            cluster_save = self._find(session, target, node)
            if cluster_save is not None:
                yield cluster_save

    def _find(self, session: Any, target: str, node: sources.SaveNode) -> save.ClusterSave | None:
        known, cluster_save = self._saves.get(session, (None, None))
        if known != node or (cluster_save is not None and not cluster_save.is_usable):
            if cluster_save is not None:
                cluster_save.close()
            cluster_save = self._open(session, target, node)
            self._saves[session] = node, cluster_save
        return cluster_save

    def _open(self, session: Any, target: str, node: sources.SaveNode) -> save.ClusterSave | None:
        timeout = self._transport.timeout_seconds
        master = tasks.master_of(target, timeout)
        chief = tasks.task_of(node.device, master)
        places = [
            chief if source.variable is None else tasks.task_of(source.variable.device, master)
            for source in node.sources
        ]
        involved = sorted({chief, *places})
        if involved == [chief]:
            return None
        lacking = lacking_tasks.find(target, master, involved, timeout)
        if lacking:
            self._tell_lacking(session, lacking, master, chief)
        if not {master, chief}.isdisjoint(lacking):
            return None
        if any(source.variable is None and source.dtype == tf.variant for source in node.sources):
            return None
        return save.ClusterSave(
            target, master, node, places, lacking=lacking, transport=self._transport
        )

    def _tell_lacking(self, session: Any, lacking: list[str], master: str, chief: str) -> None:
        """Says once for each session which tasks have not loaded our ops, and what that means.

        Raises:
            tf.errors.FailedPreconditionError: Every task was to write.
        """
        who = lacking_tasks.describe(lacking, master, chief)
        if self._transport.way == "shared":
            raise tf.errors.FailedPreconditionError(
                None,
                None,
                f"transport='shared', but autodist's ops are not loaded in {who}. {lacking_tasks.ADVICE} each task "
                "saves what it holds; or leave transport out: then what they hold is sent",
            )
        if {master, chief}.isdisjoint(lacking):
            how = "what they hold comes as plain tensors, in parts"
        else:
            how = f"TensorFlow sends whole variables to {chief}, within its limit of 2 GiB each"
        message = f"autodist's ops are not loaded in {who}: {how}. {lacking_tasks.ADVICE} each task saves what it holds"
        if self._told.get(session) != message:
            self._told[session] = message
            _LOGGER.warning("%s", message)
