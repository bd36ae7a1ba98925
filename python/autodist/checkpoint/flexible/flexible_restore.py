"""Restores from a checkpoint that does not fit the graph, as `RestoreOptions` say.

1. Plans, and refuses what does not fit. A dry run ends here.
2. Reads and computes the values that are grown or cast. Those that do not fit into `memory_bytes`
   together are only checked, a group at a time, and computed again in step 4.
3. Restores all other values by the ops that restore always.
4. Assigns the values of step 2, and initializes what is missing.

No variable changes before step 3, which takes effect whole or not at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from autodist.checkpoint.distributed.restore_router import RestoreRouter
from autodist.checkpoint.distributed.tasks import sessions
from autodist.checkpoint.distributed.variables.restore_targets import Selection
from autodist.checkpoint.flexible import made_values, restore_plan, stored, wanted
from autodist.checkpoint.flexible.restore_report import RestoreReport
from autodist.checkpoint.graph import object_checkpoint
from autodist.checkpoint.options import RestoreOptions
from autodist.checkpoint.reports import report, transfer
from autodist.errors import ArgumentError, GraphStateError
from autodist.steps import gate
from autodist.tf_nodes import restore_nodes

# What one message to a server can hold.
_MOST_FED_BYTES = (2 << 30) - (1 << 20)

# Names listed in an error.
_MOST_LISTED = 20


def restore(
    session: Any, saver_def: Any, prefix: str, options: RestoreOptions, router: RestoreRouter
) -> RestoreReport:
    """Restores.

    Args:
        session: The session.
        saver_def: The saver's `SaverDef`.
        prefix: The checkpoint's prefix.
        options: What to do where the checkpoint does not fit.
        router: Chooses how values are restored that do fit.

    Returns:
        What was done; after a dry run, what would be.

    Raises:
        ArgumentError: An option does not fit the variables or the checkpoint.
        tf.errors.NotFoundError: Variables are missing from the checkpoint.
        tf.errors.InvalidArgumentError: Shapes, dtypes or values do not fit.
        tf.errors.DataLossError: The checkpoint is damaged.
        tf.errors.OpError: As in any restore.
    """
    found = stored.read(prefix)
    keys = object_checkpoint.keys_by_name(prefix)
    graph = session.graph
    ops = wanted.read(graph, saver_def)
    plan = restore_plan.make(ops, found, keys, options, prefix)
    running = _FlexibleRestore(session, saver_def, plan, options, found)
    running.check(ops)
    warns = options.unexpected == "warn"
    if not options.dry_run:
        running.run(router)
    plan.report.log(warns_of_unexpected=warns)
    return plan.report


class _FlexibleRestore:
    """A plan on its way."""

    def __init__(
        self,
        session: Any,
        saver_def: Any,
        plan: restore_plan.RestorePlan,
        options: RestoreOptions,
        found: dict[str, stored.StoredTensor],
    ) -> None:
        self._session = session
        self._saver_def = saver_def
        self._plan = plan
        self._options = options
        self._found = found
        self._initializers = wanted.Initializers(session.graph)
        self._all_ops: set[Any] = set()
        self._is_remote = sessions.target_of(session) is not None

    def check(self, ops: Sequence[wanted.RestoringOp]) -> None:
        """Refuses what the graph or the session cannot do."""
        restore_plan.check_initializers(self._plan, self._without_initializer())
        self._check_order(ops)
        self._check_sizes(self._plan.made)

    def _check_sizes(self, made: Iterable[restore_plan.MadeOp]) -> None:
        """Refuses values that cannot be sent to a server."""
        for each in made if self._is_remote else ():
            if each.value.size_bytes > _MOST_FED_BYTES:
                raise ArgumentError(
                    f"{each.value.name!r} lies on a server and is to be sent there: its "
                    f"{each.value.size_bytes} bytes are more than the {_MOST_FED_BYTES} that one "
                    "message can hold. Cut it by a partitioner"
                )

    def _without_initializer(self) -> dict[str, str]:
        """Returns why variables cannot be initialized, by name."""
        without = {}
        for op in self._plan.initialized:
            initializer = self._initializers.initializer(op)
            why = _why_not(initializer, "it has no initializer")
            if why is not None:
                without[op.values[0].name] = why
        for made in self._based():
            assert made.growth is not None
            name = made.value.name
            if made.growth.rest == "initialize":
                value = self._initializers.initial_value(made.wanted)
                why = _why_not(
                    None if value is None else value.op, "its initial value is not in the graph"
                )
            elif made.growth.rest == "keep" and self._initializers.variable(made.wanted) is None:
                why = "it is in no collection of the graph, so its present value is not known"
            else:
                why = None
            if why is not None:
                without[name] = why
        return without

    def _check_order(self, ops: Sequence[wanted.RestoringOp]) -> None:
        """Refuses a saver whose ops wait for others that must not run."""
        straight = {op.op for op in self._plan.straight}
        others = {op.op for op in ops} - straight
        if others and others & wanted.ops_before(straight):
            raise _waits()
        self._all_ops = {op.op for op in ops}
        self._check_alone(self._plan.made)

    def _check_alone(self, made: Iterable[restore_plan.MadeOp]) -> None:
        """Refuses ops that assign made values and that would run others of the saver again."""
        for op in {each.wanted.op for each in made}:
            if self._all_ops & (wanted.ops_before([op]) - {op}):
                raise _waits()

    def _based(self) -> list[restore_plan.MadeOp]:
        return [made for made in self._plan.made if made_values.needs_base(made)]

    def run(self, router: RestoreRouter) -> None:
        """Restores.

        Args:
            router: Chooses how straight values are restored.
        """
        prefix = self._plan.report.prefix
        with (
            gate.step_if_observed(self._session),
            transfer.watched(prefix, is_save=False) as running,
        ):
            selection = Selection(frozenset(op.op for op in self._plan.straight), self._plan.names)
            proxy = router.route(self._session, self._saver_def, prefix, running, selection)
            made, straight = self._plan.made, self._plan.straight
            if proxy is self._session and self._is_remote and self._plan_leaves_out():
                # TensorFlow's own nodes read all their names, or fail.
                made, straight = (*made, *self._made_of_straight()), ()
                self._check_sizes(made)
                self._check_alone(made)
            most = min(self._options.memory_bytes, _MOST_FED_BYTES)
            groups = _groups(made, most)
            arrays = self._checked(groups)
            if straight:
                self._restore_straight(proxy, straight)
            self._assign(groups, arrays)
        # The lines of the options tell of the others.
        if proxy is self._session and straight:
            report.log_restore(prefix, running.report())

    def _plan_leaves_out(self) -> bool:
        nodes = restore_nodes.find(self._session.graph, self._saver_def)
        taken = sum(len(op.values) for op in self._plan.straight)
        return taken < sum(len(node.outputs) for node in nodes)

    def _made_of_straight(self) -> list[restore_plan.MadeOp]:
        """Returns the straight values as values that are read here and fed."""
        found = []
        for op in self._plan.straight:
            for value in op.values:
                name = self._plan.names[value.name]
                one = wanted.RestoringOp(op.op, (value,), op.variable)
                found.append(restore_plan.MadeOp(one, name, self._found[name]))
        return found

    def _checked(self, groups: Sequence[Sequence[restore_plan.MadeOp]]) -> list[list[Any]]:
        """Computes all groups, one after the other; returns the arrays of the last one."""
        arrays: list[list[Any]] = []
        for group in groups:
            arrays = []  # Before the next ones are made.
            arrays = [self._compute(group)]
        return arrays

    def _compute(self, made: Sequence[restore_plan.MadeOp]) -> list[Any]:
        prefix, threads = self._plan.report.prefix, self._options.threads
        return made_values.compute(prefix, made, self._bases(made), threads)

    def _bases(self, made: Sequence[restore_plan.MadeOp]) -> list[Any]:
        """Returns what grown values hold where the checkpoint has no rows."""
        bases: list[Any] = [None] * len(made)
        fetches = {}
        for number, each in enumerate(made):
            if each.growth is None or not made_values.needs_base(each):
                continue
            if each.growth.rest == "initialize":
                fetches[number] = self._initializers.initial_value(each.wanted)
            elif each.growth.rest == "keep":
                fetches[number] = self._initializers.variable(each.wanted)
            elif each.growth.rest != "zeros":
                bases[number] = made_values.evaluate(each.growth.rest, each)
        if fetches:
            for number, base in self._session.run(fetches).items():
                bases[number] = base
        return bases

    def _restore_straight(self, proxy: Any, straight: Sequence[wanted.RestoringOp]) -> None:
        filename = self._saver_def.filename_tensor_name
        feeds = {filename: self._plan.report.prefix}
        ops = [op.op for op in straight]
        if proxy is not self._session:
            proxy.run(ops, feeds)
            return
        nodes = restore_nodes.find(self._session.graph, self._saver_def)
        sessions.run_restores(self._session, ops, feeds, nodes, self._plan.names)

    def _assign(
        self, groups: Sequence[Sequence[restore_plan.MadeOp]], arrays: list[list[Any]]
    ) -> None:
        """Assigns values, and initializes what is missing; `arrays` has those of the last group."""
        done: list[str] = []
        filename = self._session.graph.get_tensor_by_name(self._saver_def.filename_tensor_name)
        with _incomplete(done):
            for group in reversed(groups):
                values = arrays.pop() if arrays else self._compute(group)
                feeds = {
                    made.value.tensor: value for made, value in zip(group, values, strict=True)
                }
                # An op may wait for its `RestoreV2`, too.
                feeds[filename] = self._plan.report.prefix
                self._session.run(list(dict.fromkeys(made.wanted.op for made in group)), feeds)
                done += [made.value.name for made in group]
            initializers = [self._initializers.initializer(op) for op in self._plan.initialized]
            if initializers:
                self._session.run(initializers)


def _groups(
    made: Iterable[restore_plan.MadeOp], most_bytes: int
) -> list[list[restore_plan.MadeOp]]:
    """Returns values in groups of a bounded size; those of one op are in one group."""
    groups: list[list[restore_plan.MadeOp]] = []
    size = 0
    for each in made:
        is_same_op = bool(groups) and groups[-1][-1].wanted.op is each.wanted.op
        if not groups or (not is_same_op and size + each.size_bytes > most_bytes):
            groups.append([])
            size = 0
        groups[-1].append(each)
        size += each.size_bytes
    return groups


def _waits() -> GraphStateError:
    return GraphStateError(
        "this Saver restores some variables after others, so it cannot leave out the others, nor "
        "restore them in another way. Build it without restore_sequentially and without savers of "
        "one's own that wait"
    )


@contextlib.contextmanager
def _incomplete(done: list[str]) -> Iterator[None]:
    """Adds to an error which variables have their values."""
    try:
        yield
    except tf.errors.OpError as error:
        listed = ", ".join(map(repr, done[:_MOST_LISTED])) or "none"
        more = f" and {len(done) - _MOST_LISTED} more" if len(done) > _MOST_LISTED else ""
        message = (
            f"{error.message.replace(' All variables keep their values.', '')}\n"
            "The restore is incomplete: values that fit were restored, and of those that were grown "
            f"or cast {listed}{more}; the others were not. Restore again"
        )
        raise type(error)(error.node_def, error.op, message) from error


def _why_not(op: Any, without: str) -> str | None:
    """Returns why an initial value cannot be computed; `None` if it can."""
    if op is None:
        return without
    placeholder = wanted.placeholder_before(op)
    if placeholder is None:
        return None
    return f"its initial value depends on the placeholder {placeholder.name!r}"
