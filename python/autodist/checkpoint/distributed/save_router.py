"""Chooses how a saver saves in a session: through the tasks of a cluster or not."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from autodist import _log, _native, errors
from autodist.checkpoint import snapshots
from autodist.checkpoint.distributed import session_proxy
from autodist.checkpoint.distributed.router import Router
from autodist.checkpoint.distributed.sharded_save import sharded_steps
from autodist.checkpoint.distributed.shared_save import save_steps
from autodist.checkpoint.distributed.tasks import op_support, sessions, task_names
from autodist.checkpoint.distributed.tasks import transport as transports
from autodist.checkpoint.distributed.variables import located, placement, sources
from autodist.checkpoint.files import paths
from autodist.checkpoint.reports import report, transfer
from autodist.private_apis import tf_sessions
from autodist.tf_nodes import save_nodes

_LOGGER = _log.get_logger()

_Save = save_steps.SharedSave | sharded_steps.ShardedSave


# In the text of an error of our ops (posix_io.cc).
_IN_ORDER_ONLY = "its file system may take bytes in order only"


class InOrderOnlyError(Exception):
    """A file system takes bytes in order only, so several tasks cannot write one file.

    Nothing was saved.
    """


class SaveSessionProxy(session_proxy.SessionProxy):
    """A session for TensorFlow's `Saver.save`, whose `run` is a save by several tasks.

    Attributes:
        stages_bundle: Whether the bundle must be written beside its prefix first: it is not
            committed as one.
    """

    def __init__(
        self,
        session: Any,
        attempts: Callable[[], Iterator[_Save]],
        fed: list[Any],
        *,
        prefix: str,
        stages_bundle: bool,
        warn_of_fallback: Callable[[str], None],
        running: transfer.Transfer,
        instant: _native.Instant | None,
    ) -> None:
        """Wraps a session.

        Args:
            session: The session.
            attempts: Yields the save to run; then a new one, if servers restarted since the first
                was opened.
            fed: The sources that are no variables.
            prefix: The checkpoint's, as the log calls it.
            stages_bundle: As the attribute.
            warn_of_fallback: Called with the reason before TensorFlow saves in the session; raises
                if it may not.
            running: Is told how far the save is.
            instant: How all variables are taken at one instant; `None`: they are not.
        """
        super().__init__(session)
        self._running = running
        self._instant = instant
        self._attempts = attempts
        self._fed = fed
        self._prefix = prefix
        self._warn_of_fallback = warn_of_fallback
        self.stages_bundle = stages_bundle

    def run(
        self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Saves; `feed_dict` has one value, the prefix."""
        (prefix,) = feed_dict.values()
        values = sessions.values(self._session, self._fed)
        forgotten = None
        try:
            for attempt in self._attempts():
                forgotten = self._save(attempt, prefix, values)
                if forgotten is None:
                    return prefix
        except tf.errors.UnimplementedError as error:
            if _IN_ORDER_ONLY not in error.message:
                raise
            raise InOrderOnlyError(error.message) from error
        except sharded_steps.UnreachedError as error:
            if self._instant is not None:
                snapshots.refuse(str(error))
            self._warn_of_fallback(str(error))
            saved = self._session.run(fetches, feed_dict, options, run_metadata)
            report.SaveReport(self._prefix, self._running.report()).log()
            return saved
        raise errors.GraphStateError(
            f"cannot save {prefix}: servers restarted during the save, twice; nothing was written. "
            "Initialize or restore the variables that they lost, and save again"
        ) from forgotten

    def _save(self, attempt: _Save, prefix: str, values: list[Any]) -> Exception | None:
        """Saves; returns the error if servers restarted since our session was opened."""
        try:
            if isinstance(attempt, sharded_steps.ShardedSave):
                attempt.save(prefix, values, self._prefix, self._running, self._instant)
            else:
                attempt.save(prefix, values, self._running, self._instant)
        except tf.errors.OpError as error:
            if not attempt.was_forgotten:
                raise
            forgotten: Exception = error
            return forgotten
        return None


@dataclasses.dataclass(frozen=True)
class _SaveKey:
    """Tells one save of a session from others: two equal ones may use one opened save.

    Attributes:
        placed: What is saved.
        is_sharded: Whether every task writes a data file of its own.
        is_instant: Whether all variables are taken at one instant.
        has_figures: Whether figures of what is written are computed.
    """

    placed: sources.PlacedSave
    is_sharded: bool
    is_instant: bool
    has_figures: bool


class SaveRouter(Router):
    """Chooses how a saver saves in a session, and keeps what it opened for the next save."""

    def __init__(self, transport: transports.Transport) -> None:
        """Has opened nothing yet.

        Args:
            transport: How the bytes travel.
        """
        super().__init__(transport)
        # By session, and whether all variables are taken at one instant.
        self._saves: weakref.WeakKeyDictionary[Any, dict[bool, tuple[Any, _Save | None]]] = (
            weakref.WeakKeyDictionary()
        )
        # Held while one is looked for, and opened: threads may share a saver.
        self._finding = threading.Lock()
        # Directories whose file systems take bytes in order only.
        self._in_order: set[str] = set()

    def write_in_order(self, prefix: str, error: InOrderOnlyError) -> None:
        """Lets every task write a data file of its own from now on, in the directory of a prefix.

        Args:
            prefix: The checkpoint's.
            error: What said so.

        Raises:
            tf.errors.FailedPreconditionError: Another way was asked for.
        """
        if self._transport.way in ("shared", "stream"):
            raise _refused(
                f"transport='{self._transport.way}' writes one file out of order: {error}. Leave "
                "transport out, or transport='files': every task writes a data file of its own, in "
                "order"
            )
        _LOGGER.info("%s: %s; every task writes a data file of its own", prefix, error)
        self._in_order.add(paths.parent(paths.absolute(prefix)))

    def route(
        self,
        session: Any,
        save_op: Any,
        prefix: str,
        running: transfer.Transfer,
        instant: _native.Instant | None = None,
    ) -> Any:
        """Returns a proxy if several tasks hold variables, else `session`.

        Where all variables of a cluster are taken at one instant, or figures are computed, it returns
        a proxy for one task, too: it may be another process.

        Args:
            session: The session.
            save_op: The saver's `SaveV2` in its graph.
            prefix: The checkpoint's.
            running: Is told how far the save is.
            instant: How all variables are taken at one instant; `None`: they are not.

        Raises:
            ArgumentError: That is not possible.
            tf.errors.FailedPreconditionError: It cannot be saved there in the way that was asked
                for.
        """
        target = sessions.target_of(session)
        if target is None:
            return session
        # Before anything of the graph is run to learn more.
        awaited = save_nodes.awaited_operation(save_op)
        if awaited is not None:
            if instant is not None:
                snapshots.refuse(
                    f"{save_op.name}, or an op that it reads, waits for {awaited.name}, which only "
                    "your own session runs"
                )
            self._warn_of_awaited(session, save_op, awaited)
            return session
        placed = sources.read_in(session, save_op)
        if placed is None:
            if instant is not None:
                snapshots.refuse("the graph computes the names of what is saved")
            return session
        is_local = paths.is_local(prefix)
        is_in_order = paths.parent(paths.absolute(prefix)) in self._in_order
        is_sharded = self._transport.way == "files" or not is_local or is_in_order
        key = _SaveKey(
            placed,
            is_sharded=is_sharded,
            is_instant=instant is not None,
            has_figures=running.wants_figures,
        )
        if self._find(session, target, key) is None:
            return session
        if not is_local and self._transport.way in ("shared", "stream"):
            raise _refused(
                f"transport='{self._transport.way}' writes one file out of order, which the file "
                f"system of {prefix} does not do. Leave transport out, or transport='files': every "
                "task writes a data file of its own"
            )
        return SaveSessionProxy(
            session,
            lambda: self._attempts(session, target, key),
            [source.tensor for source in placed.sources if source.variable is None],
            prefix=prefix,
            stages_bundle=key.is_sharded and is_local,
            warn_of_fallback=lambda why: self._warn_of_fallback(session, prefix, why),
            running=running,
            instant=instant,
        )

    def _attempts(
        self, session: Any, target: task_names.SessionTarget, key: _SaveKey
    ) -> Iterator[_Save]:
        """Yields the save that was opened for the session before, then, once, a new one.

        A server that was started again since knows nothing of a session that was opened before.
        """
        for _ in range(2):
            found = self._find(session, target, key)
            if found is not None:
                yield found

    def _find(self, session: Any, target: task_names.SessionTarget, key: _SaveKey) -> _Save | None:
        with self._finding:
            saves = self._saves.setdefault(session, {})
            known, found = saves.get(key.is_instant, (None, None))
            if known == key and (found is None or found.is_usable):
                return found
            if known == key and found is not None:
                found.close()
            # One that is for something else may be in use by another thread. It ends with its last
            # user.
            opened = self._open(session, target, key)
            if opened is not None:
                opened.end_with(tf_sessions.innermost(session))
            saves[key.is_instant] = key, opened
            return opened

    def _open(self, session: Any, target: task_names.SessionTarget, key: _SaveKey) -> _Save | None:
        try:
            found = self._locate(
                session,
                target,
                lambda timeout: placement.of_save(session, key.placed, timeout),
                for_instant=key.is_instant,
                even_one=key.has_figures,
            )
        except task_names.UnreachableStateError as error:
            snapshots.refuse(str(error))
        if found is None:
            return None
        if key.is_instant:
            _check_instant(found)
        without_ops = found.without_ops
        is_left = not {found.master, found.chief}.isdisjoint(without_ops) or bool(
            key.is_sharded and without_ops
        )
        if without_ops:
            self._warn_of_missing_ops(
                session, without_ops, found.master, found.chief, is_left=is_left
            )
        if is_left:
            return None
        sources_of_all = found.placed.sources
        if any(source.variable is None and source.dtype == tf.variant for source in sources_of_all):
            return None
        save = sharded_steps.ShardedSave if key.is_sharded else save_steps.SharedSave
        return save(found, self._transport, is_instant=key.is_instant, has_figures=key.has_figures)

    def _warn_of_fallback(self, session: Any, prefix: str, why: str) -> None:
        """Warns, once for each session, that TensorFlow saves in it: tasks cannot write.

        Raises:
            tf.errors.FailedPreconditionError: Every task was to write a data file.
        """
        if self._transport.way == "files":
            raise _refused(
                f"transport='files', but {why}. Save {prefix} where all tasks can write, or leave "
                "transport out: then tasks send their variables"
            )
        self._warn(
            session,
            f"{why}. So TensorFlow saves: it sends whole variables to one task, at most 2 GiB "
            "each. Save to a file system that all tasks can write to, and each writes a data file "
            "of its own",
        )

    def _warn_of_unreachable(self, session: Any, why: str) -> None:
        """Warns, once for each session, why TensorFlow's own nodes save in it.

        Raises:
            tf.errors.FailedPreconditionError: Another way was asked for.
        """
        if self._transport.way is not None:
            raise _refused(
                f"transport='{self._transport.way}', but {why}: only that session itself can save "
                "them. Leave transport out: then TensorFlow sends whole variables to the task of "
                "the saver's node"
            )
        self._warn(
            session,
            f"{why}. TensorFlow saves in that session: it sends whole variables to the task of the "
            "saver's node, at most 2 GiB each",
        )

    def _warn_of_awaited(self, session: Any, save_op: Any, awaited: Any) -> None:
        """Warns, once for each session, that TensorFlow saves in it: a save waits for another op.

        Raises:
            tf.errors.FailedPreconditionError: A way of saving was asked for.
        """
        why = (
            f"{save_op.name}, or an op that it reads, waits for {awaited.name} ({awaited.type}), which "
            "each save has to run"
        )
        if self._transport.way is not None:
            raise _refused(
                f"transport='{self._transport.way}', but {why}. Make the Saver outside of "
                "tf.control_dependencies() and run the op before, or leave transport out"
            )
        self._warn(
            session,
            f"{why}. So TensorFlow saves in that session: it sends whole variables to one task, at "
            "most 2 GiB each. Make the Saver outside of tf.control_dependencies() and run the op "
            "before Saver.save",
        )

    def _warn_of_missing_ops(
        self, session: Any, without_ops: list[str], master: str, chief: str, *, is_left: bool
    ) -> None:
        """Warns, once for each session, which tasks have not loaded our ops, and what follows.

        Raises:
            tf.errors.FailedPreconditionError: Every task was to write.
        """
        who = op_support.describe(without_ops, master, chief)
        if self._transport.way in ("shared", "files"):
            raise _refused(
                f"transport='{self._transport.way}', but autodist's ops are not loaded in {who}. "
                f"{op_support.ADVICE} each task saves what it holds; or leave transport out: then "
                "they send their variables"
            )
        if not is_left:
            how = "they send their variables as plain tensors, in parts"
        else:
            how = f"TensorFlow sends whole variables to {chief}, at most 2 GiB each"
        message = (
            f"autodist's ops are not loaded in {who}: {how}. {op_support.ADVICE} each task saves "
            "what it holds"
        )
        self._warn(session, message)


def _check_instant(found: located.Located[sources.PlacedSave]) -> None:
    """Refuses a save of one instant that tasks cannot take part in."""
    if found.without_ops:
        who = op_support.describe(found.without_ops, found.master, found.chief)
        snapshots.refuse(
            f"the ops of this version of autodist are not loaded in {who}. {op_support.ADVICE} it "
            "takes part"
        )
    for source in found.placed.sources:
        if source.variable is None and source.dtype == tf.variant:
            snapshots.refuse(f"{source.name.decode()} is a variant that the graph computes")


def _refused(message: str) -> Exception:
    error: Exception = tf.errors.FailedPreconditionError(None, None, message)
    return error
