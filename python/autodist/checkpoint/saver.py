"""`Saver`: TensorFlow's `Saver`, which writes the variables of the original graph through our op.

The base class builds its stock nodes; ours only marks the `SaveV2` among them (`tagging`). A save
commits its files in another order, so a `checkpoint` file never names an incomplete checkpoint. It
commits data and index, then `.meta`, then `checkpoint`. Then it deletes old checkpoints
(`transaction`, docs/design/durability.md). Stock TensorFlow writes `.meta` last and syncs nothing.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from autodist import _native, errors
from autodist.checkpoint import options as save_options
from autodist.checkpoint import tagging
from autodist.checkpoint.distributed import restore_router, save_router
from autodist.checkpoint.distributed.tasks import sessions
from autodist.checkpoint.distributed.tasks.transport import Transport
from autodist.checkpoint.errors import final_errors, restore_errors
from autodist.checkpoint.evidence import trial
from autodist.checkpoint.files import paths
from autodist.checkpoint.flexible import flexible_restore
from autodist.checkpoint.flexible.restore_report import RestoreReport
from autodist.checkpoint.graph import meta_graph, object_checkpoint, variable_list
from autodist.checkpoint.keeping import best_checkpoints
from autodist.checkpoint.options import Growth, Proof, Refuse, RestoreOptions, SaveOptions
from autodist.checkpoint.reports import report, transfer
from autodist.checkpoint.saving import planned_saves, save_arguments
from autodist.checkpoint.saving.asynchronous import BackgroundSaves, SaveHandle
from autodist.private_apis import tf_graphs
from autodist.steps import gate, service

# A parameter server imports this module and builds no `Saver`. But saves need the ops there, and
# another process of the cluster may ask for its step gate.
_native.load_ops_if_possible()
service.serve()

__all__ = [
    "Growth",
    "Proof",
    "Refuse",
    "RestoreOptions",
    "RestoreReport",
    "SaveHandle",
    "SaveOptions",
    "Saver",
    "is_durable",
]

_SaverDef = tf.compat.v1.train.SaverDef


class Saver(planned_saves.PlanningSaver):
    """Saves and restores the variables of the original graph, like TensorFlow's `Saver`.

    A drop-in replacement: constructor, methods, return values, errors and files are TensorFlow's.
    It may be built before or after `AutoDist.create_distributed_session()`, and in a graph of one's
    own that was never under `AutoDist`. One that is built while executing eagerly is TensorFlow's
    own.
    """

    # Of the base class.
    _var_list: Any
    _reshape: bool

    def __init__(  # noqa: PLR0917 TensorFlow's signature
        self,
        var_list: Any = None,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        saver_def: Any = None,
        builder: Any = None,
        defer_build: bool = False,
        allow_empty: bool = False,
        write_version: int = _SaverDef.V2,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        filename: str | None = None,
        *,
        options: SaveOptions | None = None,
        restore_options: RestoreOptions | None = None,
        aggregation: Any = save_options.NOT_GIVEN,
        threads: int = save_options.NOT_GIVEN,
        lock: str = save_options.NOT_GIVEN,
        layout: str | None = save_options.NOT_GIVEN,
        durable: bool = save_options.NOT_GIVEN,
        verify: str = save_options.NOT_GIVEN,
        transport: str | None = save_options.NOT_GIVEN,
        memory_bytes: int = save_options.NOT_GIVEN,
        timeout_seconds: float = save_options.NOT_GIVEN,
    ) -> None:
        """Creates a `Saver`; the arguments up to `filename` are TensorFlow's.

        Args:
            var_list: Variables and saveable objects, as a list or a dict by name; `None` for all of
                the graph.
            reshape: Restore from tensors of another shape with as many elements.
            sharded: One data file per device, written by stock TensorFlow.
            max_to_keep: How many recent checkpoints to keep; `None` or 0 keeps all.
            keep_checkpoint_every_n_hours: Keep one more for every so many hours of training.
            name: Prefix for the names of the nodes that are added.
            restore_sequentially: Restore one variable after the other.
            saver_def: Use the nodes of this `SaverDef` instead of adding new ones.
            builder: The `SaverBuilder` to add nodes with.
            defer_build: Add the nodes in `build()`.
            allow_empty: Save and restore nothing if there are no variables.
            write_version: Format of the checkpoint; V1 is written by stock TensorFlow.
            pad_step_number: Pad the step in file names to eight digits.
            save_relative_paths: Write relative paths into the `checkpoint` file.
            filename: The file name, if it is known when the graph is built.
            options: How checkpoints are written.
            restore_options: How checkpoints are read.
            aggregation: As in `SaveOptions`; likewise `lock`, `layout` and `durable`.
            threads: As in `SaveOptions` and `RestoreOptions`; likewise `transport`, `memory_bytes`
                and `timeout_seconds`.
            lock: As in `SaveOptions`.
            layout: As in `SaveOptions`.
            durable: As in `SaveOptions`.
            verify: As in `RestoreOptions`.
            transport: As `threads`.
            memory_bytes: As `threads`.
            timeout_seconds: As `threads`.

        Raises:
            ImportError: The op library is missing or was built for another TensorFlow.
            TypeError: An argument is of the wrong type.
            ValueError: An argument has a value that cannot be used, or there are no variables to
                save.
            RuntimeError: The graph is finalized, or executing eagerly without `var_list`.
        """
        self._options = save_options.SaverOptions.of(
            options,
            restore_options,
            aggregation=aggregation,
            threads=threads,
            lock=lock,
            layout=layout,
            durable=durable,
            verify=verify,
            transport=transport,
            memory_bytes=memory_bytes,
            timeout_seconds=timeout_seconds,
        )
        self._background = BackgroundSaves()
        self._checked = trial.Memory()
        self._save_router = save_router.SaveRouter(_transport(self._options.save))
        self._restore_router = restore_router.RestoreRouter(_transport(self._options.restore))
        self._object_restores = object_checkpoint.ObjectRestores(
            lambda variables: Saver(
                variables, reshape=self._reshape, restore_options=self._options.restore
            )
        )
        keep_best = self._options.save.keep_best
        super().__init__(
            keep_best=None if keep_best is None else best_checkpoints.KeepBest.of(keep_best),
            var_list=var_list,
            reshape=reshape,
            sharded=sharded,
            max_to_keep=max_to_keep,
            keep_checkpoint_every_n_hours=keep_checkpoint_every_n_hours,
            name=name,
            restore_sequentially=restore_sequentially,
            saver_def=saver_def,
            builder=builder,
            defer_build=defer_build,
            allow_empty=allow_empty,
            write_version=write_version,
            pad_step_number=pad_step_number,
            save_relative_paths=save_relative_paths,
            filename=None if filename is None else paths.text(filename),
        )

    def _build(self, checkpoint_path: Any, build_save: bool, build_restore: bool) -> None:
        """Builds the stock nodes and marks them; every way to make a saver comes through here."""
        if tf.executing_eagerly():
            self._build_stock(checkpoint_path, build_save, build_restore)
            return
        graph = tf.compat.v1.get_default_graph()
        if graph.finalized and self.saver_def is None and not self._is_built:
            raise errors.GraphStateError(
                "Graph is finalized and cannot be modified. Build the Saver before the graph is "
                "finalized, that is before MonitoredTrainingSession, Supervisor or "
                "graph.finalize(), and hand it on"
            )
        # Loading it registers the pass that replaces the marked nodes.
        _native.ops()
        # A session that took up a node before its marks, in another thread, would not see them.
        with tf_graphs.changing(graph):
            self._build_stock(checkpoint_path, build_save, build_restore)
            if self.saver_def:
                tagging.tag_all(graph, self.saver_def, self._options)

    def _build_stock(self, checkpoint_path: Any, build_save: bool, build_restore: bool) -> None:
        """Builds the stock nodes, of all parts of the variables given."""
        given = self._var_list
        self._var_list = variable_list.expand(given)
        try:
            super()._build(checkpoint_path, build_save, build_restore)
        except tf.errors.NotFoundError:
            # Executing eagerly, building the nodes runs them.
            is_restored = build_restore and not build_save and checkpoint_path
            keys = object_checkpoint.keys_by_name(checkpoint_path) if is_restored else None
            if keys is None:
                raise
            self._object_restores.restore(None, self._var_list, checkpoint_path, keys)
        finally:
            if given is not None:
                self._var_list = given

    @staticmethod
    def from_proto(saver_def: Any, import_scope: str | None = None) -> "Saver":
        """Returns a `Saver` made from a `SaverDef`.

        Args:
            saver_def: The `SaverDef`.
            import_scope: Name scope that its nodes were imported into.
        """
        return Saver(saver_def=saver_def, name=import_scope)

    def save(  # noqa: PLR0917 TensorFlow's signature
        self,
        sess: Any,
        save_path: Any,
        global_step: Any = None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = "meta",
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
        *,
        consistency: str | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Saves variables, then the graph, then names the checkpoint in the `checkpoint` file.

        Args:
            sess: The session.
            save_path: Prefix of the files.
            global_step: The step, appended to the prefix: an integer, a tensor or its name.
            latest_filename: Name of the state file; `'checkpoint'` by default.
            meta_graph_suffix: Suffix of the graph's file.
            write_meta_graph: Whether to write the graph.
            write_state: Whether to write the state file and delete old checkpoints.
            strip_default_attrs: Leave attributes with default values out of the graph.
            save_debug_info: Also write a `.debug` file that says where in the program each node was
                made.
            consistency: As in `SaveOptions`, for this save; `None`: the saver's own.
            metrics: Numbers by name, which are written beside the checkpoint; `keep_best` of
                `SaveOptions` compares one of them.

        Returns:
            The prefix of the checkpoint, or `None` if the saver is empty.

        Raises:
            TypeError: `sess` is not a session.
            ValueError: `latest_filename` holds a path or collides with `save_path`, or the parent
                directory of `save_path` is missing.
            ArgumentError: `consistency` is not possible for these variables in this session; or
                `refuse` or `proof` for this prefix, which is in use.
            RefusedCheckpointError: The checkpoint breaks a rule of `refuse`, or `proof` failed. It
                is kept under its prefix, and the state file stays as it is.
            tf.errors.DeadlineExceededError: With `consistency='step'`, a training step did not end
                within `timeout_seconds`; it is named.
            GraphStateError: With `consistency='step'`, a process that may train has no step gate.
            RuntimeError: The nodes were not built, or the state file collides with the checkpoint.
            tf.errors.AlreadyExistsError: Another process is saving to the same prefix, or another
                thread of this one for longer than `timeout_seconds`; it is named, and nothing was
                written.
            tf.errors.OpError: Files cannot be written; of a type that no monitored session takes
                for the end of the data or a lost task. The text says so where the variables are
                saved and only the graph or the state file is not.
        """
        save_path = paths.text(save_path)
        latest_filename = None if latest_filename is None else paths.text(latest_filename)
        self._background.await_last()
        if not self._is_built:
            if tf.executing_eagerly() and self._options.save.terms is not None:
                raise errors.ArgumentError(
                    "check, refuse and proof are not possible executing eagerly. Nothing was saved"
                )
            # Executing eagerly, or a mistake that the base class tells.
            with final_errors.of_save(save_path):
                eager_path: str | None = super().save(
                    sess,
                    save_path,
                    global_step,
                    latest_filename,
                    meta_graph_suffix,
                    write_meta_graph,
                    write_state,
                    strip_default_attrs,
                    save_debug_info,
                )
            return eager_path
        arguments = planned_saves.SaveArguments(
            save_path,
            latest_filename,
            meta_graph_suffix,
            write_meta_graph,
            write_state,
            {"strip_default_attrs": strip_default_attrs, "save_debug_info": save_debug_info},
            self._options.save.of_call(consistency=consistency),
            best_checkpoints.checked(metrics),
        )
        with (
            planned_saves.saving(sess, save_path),
            self._planned_save(sess, global_step, arguments) as planned,
        ):
            return planned.run().prefix

    def save_async(  # noqa: PLR0917 as `save`
        self,
        sess: Any,
        save_path: Any,
        global_step: Any = None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = "meta",
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
        *,
        consistency: str | None = "instant",
        method: str | None = None,
        snapshot_memory_bytes: int | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> SaveHandle:
        """Saves in the background: returns once the save has all values, and a thread writes them.

        The files are those of `save`. If a save of this saver still goes on in the background, this
        waits for it first. The interpreter does not end before the save is done. It logs the error
        if nobody has asked for it. A session on a server must stay open until the save is done.

        Args:
            sess: As in `save`; likewise the arguments up to `save_debug_info`.
            save_path: Prefix of the files.
            global_step: The step, appended to the prefix; it is read before this returns.
            latest_filename: Name of the state file; `'checkpoint'` by default.
            meta_graph_suffix: Suffix of the graph's file.
            write_meta_graph: Whether to write the graph.
            write_state: Whether to write the state file and delete old checkpoints, once the
                checkpoint is committed.
            strip_default_attrs: As in `save`.
            save_debug_info: As in `save`.
            consistency: As in `save`. With `'shard'`, a variable that is updated by rows is saved
                as it is when it is written, which may be after this has returned.
            method: As `snapshot_method` of `SaveOptions`, for this save; `None`: the saver's own.
            snapshot_memory_bytes: As in `SaveOptions`, for this save; `None`: the saver's own.
            metrics: As in `save`.

        Returns:
            A handle: `result()` waits for the commit, and returns the prefix or raises the error.

        Raises:
            Exception: An error of `save`, if this save fails before it has all values, or if an
                argument cannot be used. Or the error of the former save in the background, if
                nobody has asked its handle.
        """
        save_path = paths.text(save_path)
        latest_filename = None if latest_filename is None else paths.text(latest_filename)
        if not self._is_built:
            raise errors.GraphStateError(
                "save_async is not possible executing eagerly. Call save()"
                if tf.executing_eagerly()
                else "`build()` should be called before save if defer_build==True"
            )
        self._background.await_last()
        arguments = planned_saves.SaveArguments(
            save_path,
            latest_filename,
            meta_graph_suffix,
            write_meta_graph,
            write_state,
            {"strip_default_attrs": strip_default_attrs, "save_debug_info": save_debug_info},
            self._options.save.of_call(
                consistency=consistency,
                snapshot_method=method,
                snapshot_memory_bytes=snapshot_memory_bytes,
            ),
            best_checkpoints.checked(metrics),
        )
        # The thread is in the graph that this one is in.
        graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        with (
            planned_saves.saving(sess, save_path),
            self._planned_save(sess, global_step, arguments) as planned,
        ):

            def save(begin: Callable[[transfer.Transfer], None]) -> report.SaveReport:
                entered = contextlib.nullcontext() if graph is None else graph.as_default()
                with entered, planned_saves.saving(sess, save_path):
                    return planned.run(begin)

            handle = self._background.start(planned.prefix, planned.global_step, save)
            planned.wait_until_trained_on()
            return handle

    def restore(
        self, sess: Any, save_path: Any, *, options: RestoreOptions | None = None
    ) -> RestoreReport | None:
        """Restores variables.

        Args:
            sess: The session; `None` executing eagerly.
            save_path: Prefix of a checkpoint.
            options: What to do in this restore where the checkpoint does not fit; `None`: as the
                saver's options say. All else in it must be as in the saver's.

        Returns:
            With `missing`, `unexpected`, `name_map`, `grow`, `cast` or `dry_run` what was done, or
            would be; else `None`.

        Raises:
            ValueError: There is no checkpoint under the prefix.
            tf.errors.NotFoundError: Variables are missing from it. The text lists all of them, the
                nearest names, and the renaming that would find them if there is one.
            tf.errors.InvalidArgumentError: Variables have another shape or dtype in it; all are
                listed.
            tf.errors.DataLossError: It is damaged; names the tensor, the file and the bytes. The
                variables keep their values, unless `verify='during'` was chosen.
            tf.errors.OpError: A file cannot be read; of a type as in `save`.
        """
        if save_path is not None:
            save_path = paths.text(save_path)
        chosen = self._options.restore.of_call(options)
        if chosen.is_flexible and not self._is_empty:
            return self._restore_flexibly(sess, save_path, chosen)
        if not self._is_built:
            if not tf.executing_eagerly() and self.saver_def is None:
                raise errors.GraphStateError(
                    "`build()` should be called before restore if defer_build==True"
                )
            # Executing eagerly, or a mistake that the base class tells.
            with final_errors.of_restore(save_path):
                if save_path is not None:
                    restore_errors.check_prefix(save_path)
                super().restore(sess, save_path)
            return None
        with (
            final_errors.of_restore(save_path, functools.partial(sessions.has_tasks, sess)),
            save_arguments.inside_graph(sess),
            restore_errors.in_errors(getattr(sess, "graph", None), self.saver_def, save_path),
        ):
            if save_path is None or self._is_empty:
                super().restore(sess, save_path)
                return None
            restore_errors.check_prefix(save_path)
            with (
                gate.step_if_observed(sess),
                transfer.watched(save_path, is_save=False) as running,
            ):
                proxy = self._restore_router.route(sess, self.saver_def, save_path, running)
                by_object = object_checkpoint.ObjectCheckpointSession(
                    proxy, functools.partial(self._object_restores.restore, sess, self._var_list)
                )
                super().restore(by_object, save_path)
                if by_object.error is not None:
                    raise by_object.error
        if proxy is sess:
            report.log_restore(save_path, running.report())
        return None

    def _restore_flexibly(
        self, sess: Any, save_path: str | None, options: RestoreOptions
    ) -> RestoreReport:
        """Restores from a checkpoint that does not fit the graph."""
        if not self._is_built:
            raise errors.GraphStateError(
                "missing, unexpected, name_map, grow, cast and dry_run need a graph: not possible "
                "executing eagerly, or before `build()`"
            )
        if save_path is None:
            raise errors.ArgumentError("Can't load save_path when it is None.")
        with (
            final_errors.of_restore(save_path, functools.partial(sessions.has_tasks, sess)),
            save_arguments.inside_graph(sess),
            restore_errors.in_errors(None, self.saver_def, save_path),
        ):
            restore_errors.check_prefix(save_path)
            return flexible_restore.restore(
                sess, self.saver_def, save_path, options, self._restore_router
            )

    def export_meta_graph(  # noqa: PLR0917 TensorFlow's signature
        self,
        filename: str | None = None,
        collection_list: Any = None,
        as_text: bool = False,
        export_scope: str | None = None,
        clear_devices: bool = False,
        clear_extraneous_savers: bool = False,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> Any:
        """Returns the default graph as a `MetaGraphDef` with nothing of ours; can write a file.

        Args:
            filename: Where to write it.
            collection_list: Keys of the collections to export; all by default.
            as_text: Write it as text.
            export_scope: Export only this name scope, and strip it from the names.
            clear_devices: Leave devices out.
            clear_extraneous_savers: Leave the nodes of other savers out.
            strip_default_attrs: Leave attributes with default values out.
            save_debug_info: Also write a `.debug` file.

        Raises:
            RuntimeError: Executing eagerly.
            ValueError: The graph is larger than 2 GB.
        """
        return meta_graph.export(
            self.saver_def,
            None if filename is None else paths.text(filename),
            durable=self._options.save.durable,
            collection_list=collection_list,
            as_text=as_text,
            export_scope=export_scope,
            clear_devices=clear_devices,
            clear_extraneous_savers=clear_extraneous_savers,
            strip_default_attrs=strip_default_attrs,
            save_debug_info=save_debug_info,
        )


def is_durable(saver: Any) -> bool:
    """Tells whether what a saver, ours or stock, writes is synced."""
    return isinstance(saver, Saver) and saver._options.save.durable  # noqa: SLF001 our own class


def _transport(options: SaveOptions | RestoreOptions) -> Transport:
    return Transport(options.transport, options.memory_bytes, float(options.timeout_seconds))
