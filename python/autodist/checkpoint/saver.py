"""`Saver`: TensorFlow's, which writes the variables of the original graph through our op.

The base class builds its stock nodes; ours only marks the `SaveV2` among them (`tagging`). What
differs when saving is the order of commits, so that a `checkpoint` file never names a checkpoint
that is not all there: data and index, `.meta`, `checkpoint`, then old checkpoints are deleted
(`transaction`, docs/design/durability.md). Stock TensorFlow writes `.meta` last and syncs nothing.
"""

import contextlib
import functools
from typing import Any

import tensorflow as tf

from autodist import _native, errors
from autodist.checkpoint import (
    bundle_saves,
    save_arguments,
    tagging,
    transaction,
)
from autodist.checkpoint import options as save_options
from autodist.checkpoint.distributed import restore_router, save_router
from autodist.checkpoint.distributed.tasks import sessions
from autodist.checkpoint.distributed.tasks.transport import Transport
from autodist.checkpoint.errors import final_errors, restore_errors
from autodist.checkpoint.files import (
    paths,
    prefix_lock,
    report,
    retention,
    staged_files,
    state_file,
)
from autodist.checkpoint.graph import meta_graph, object_checkpoint, variable_list
from autodist.private_apis import tf_internals

# A parameter server runs the program that imports this module, and builds no `Saver`: it needs the ops all the same.
_native.load_ops_if_possible()

_SaverDef = tf.compat.v1.train.SaverDef


class Saver(retention.RetainingSaver):
    """Saves and restores variables, as the original graph has them, like TensorFlow's `Saver`.

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
        aggregation: Any = None,
        threads: int = 0,
        lock: str = "block",
        layout: str | None = None,
        durable: bool = True,
        verify: str = "before",
        transport: str | None = None,
        memory_bytes: int = 256 << 20,
        timeout_seconds: float = 120.0,
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
            aggregation: How the replicas of a variable become the value that is saved: a
                `tf.VariableAggregation` for all, or a dict from name in the checkpoint, or
                variable, to its own. The rest is `MEAN`.
            threads: How many threads write or read a checkpoint; 0 lets the machine decide.
            lock: While a variable that is updated in place is read, its updates wait: `'block'`,
                until it is written, with no extra memory; `'copy'`, until it is copied, with memory
                for one variable.
            layout: `'original'` writes whole variables; `'slices'` what stock TensorFlow writes
                from this very graph. With `None`, variables are whole except partitioned ones of
                dtypes that stock TensorFlow cannot restore into slices from a whole: float16,
                uint16, uint32, uint64, string, float8, float4, qint16, quint16 and two-bit integers.
                A distributed session writes whole variables unless told otherwise.
            durable: Whether all files are synced, so that a checkpoint survives a power cut once
                `save` has returned and the former one survives until then. Without, the order of
                the steps is the same, which is enough for processes that are killed.
            verify: Restoring, a variable that has a value is written only after the whole
                checkpoint was read and found right, `'before'`, which reads it twice; or
                `'during'` the only reading: then a variable whose bytes turn out to be damaged is
                left uninitialized, and the restore raises.
            transport: How the bytes of variables on several tasks of a cluster travel: with
                `'shared'` every task writes its own into the one file and reads its own, with
                `'stream'` the task that the graph puts the saver on writes and reads, and the others
                send and are sent to; with `'files'` every task writes a data file of its own. `None`
                finds out which tasks may write to the file; on object stores and the like saves are as
                with `'files'`, if all do.
            memory_bytes: Peak memory for that on each task beside the variables, in bytes.
            timeout_seconds: For how long a task may not answer before the save or restore fails and
                names it; and how long a save waits for another thread that saves to its prefix.

        Raises:
            ImportError: The op library is missing or was built for another TensorFlow.
            TypeError: An argument is of the wrong type.
            ValueError: An argument has a value that cannot be used, or there are no variables to
                save.
            RuntimeError: The graph is finalized, or executing eagerly without `var_list`.
        """
        self._options = save_options.SaveOptions(
            aggregation,
            threads,
            lock,
            layout,
            durable,
            verify,
            transport,
            memory_bytes,
            timeout_seconds,
        )
        way = Transport(transport, memory_bytes, float(timeout_seconds))
        self._save_router = save_router.SaveRouter(way)
        self._restore_router = restore_router.RestoreRouter(way)
        # The keys of the last object-based checkpoint, and what restores from such keys.
        self._object_saver: tuple[object_checkpoint.KeysByName, Saver | None] = ({}, None)
        super().__init__(
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
            self._restore_objects(None, checkpoint_path, keys)
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

        Returns:
            The prefix of the checkpoint, or `None` if the saver is empty.

        Raises:
            TypeError: `sess` is not a session.
            ValueError: `latest_filename` holds a path or collides with `save_path`, or the parent
                directory of `save_path` is missing.
            RuntimeError: The nodes were not built, or the state file collides with the checkpoint.
            tf.errors.AlreadyExistsError: Another process is saving to the same prefix, or another
                thread of this one for longer than `timeout_seconds`; it is named, and nothing was
                written.
            tf.errors.OpError: Files cannot be written; of a type that no monitored session takes for
                the end of the data or a lost task. The text says so where the variables are saved
                and only the graph or the state file is not.
        """
        save_path = paths.text(save_path)
        latest_filename = None if latest_filename is None else paths.text(latest_filename)
        if not self._is_built:
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
        with (
            final_errors.of_save(save_path, functools.partial(sessions.has_tasks, sess)),
            save_arguments.inside_graph(sess),
            contextlib.ExitStack() as held,
        ):
            # Once, so that all files are of one step even if training goes on.
            if global_step is not None and not isinstance(global_step, tf.compat.integral_types):
                global_step = tf.compat.v1.train.global_step(sess, global_step)
            prefix = save_arguments.prefix_of(
                save_path, global_step, is_padded=self._pad_step_number
            )
            meta_path = (
                tf_internals.meta_graph_filename(prefix, meta_graph_suffix)
                if write_meta_graph
                else None
            )
            state_path = (
                state_file.path_of(paths.parent(save_path), latest_filename)
                if write_state
                else None
            )
            # Of two processes that save to one prefix at once, one gets an error here, before it writes anything.
            lock = held.enter_context(
                prefix_lock.held(
                    prefix,
                    durable=self._options.durable,
                    timeout_seconds=self._options.timeout_seconds,
                    # TensorFlow's own nodes make none.
                    makes_directory=self._writes_v2() and not self.saver_def.sharded,
                    is_needed=self._writes_v2(),
                )
            )
            records = contextlib.ExitStack()
            save = functools.partial(
                super().save,
                latest_filename=latest_filename,
                write_meta_graph=False,
                write_state=False,
            )

            def write_bundle() -> str | None:
                path = bundle_saves.BundleSave(
                    sess,
                    prefix,
                    self.saver_def if self._writes_v2() else None,
                    durable=self._options.durable,
                    router=self._save_router,
                ).run(save, save_path, global_step)
                lock.take_back_directory()
                if path is not None and write_state:
                    save_arguments.check_parent(save_path)
                return path

            path = transaction.Transaction(
                prefix,
                meta_path,
                state_path,
                stage=functools.partial(
                    self._stage,
                    sess,
                    records=records,
                    meta_path=meta_path,
                    state_path=state_path,
                    strip_default_attrs=strip_default_attrs,
                    save_debug_info=save_debug_info,
                ),
                unrecord=records.close,
                durable=self._options.durable,
                is_v2=self._writes_v2(),
                is_anothers=lambda: lock.has_saved_within,
                stages_early=save_arguments.can_stage_early(sess, save_path, latest_filename),
            ).run(write_bundle)
        if path is not None and write_state:
            self._MaybeDeleteOldCheckpoints(meta_graph_suffix=meta_graph_suffix)
        return path

    def restore(self, sess: Any, save_path: Any) -> None:
        """Restores variables.

        Args:
            sess: The session; `None` executing eagerly.
            save_path: Prefix of a checkpoint.

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
            return
        with (
            final_errors.of_restore(save_path, functools.partial(sessions.has_tasks, sess)),
            save_arguments.inside_graph(sess),
            restore_errors.in_errors(getattr(sess, "graph", None), self.saver_def, save_path),
        ):
            if save_path is None or self._is_empty:
                super().restore(sess, save_path)
                return
            restore_errors.check_prefix(save_path)
            proxy = self._restore_router.route(sess, self.saver_def, save_path)
            by_object = object_checkpoint.ObjectCheckpointSession(
                proxy, functools.partial(self._restore_objects, sess)
            )
            super().restore(by_object, save_path)
            if by_object.error is not None:
                raise by_object.error
        if proxy is sess:
            report.log_restore(save_path)

    def _restore_objects(self, sess: Any, prefix: str, keys: object_checkpoint.KeysByName) -> None:
        """Restores an object-based checkpoint, with nodes that are added to the graph once for the same keys."""
        known, saver = self._object_saver
        if saver is None or known != keys:
            if not tf.executing_eagerly() and tf.compat.v1.get_default_graph().finalized:
                raise errors.GraphStateError(
                    f"Graph is finalized and cannot be modified, but {prefix} is an object-based checkpoint: restoring "
                    "it adds nodes. Restore it before the graph is finalized, that is before "
                    "MonitoredTrainingSession, Supervisor or graph.finalize(), and save it with this Saver"
                )
            saver = Saver(
                object_checkpoint.var_list(self._var_list, prefix, keys),
                reshape=self._reshape,
                threads=self._options.threads,
                verify=self._options.verify,
                transport=self._options.transport,
                memory_bytes=self._options.memory_bytes,
                timeout_seconds=self._options.timeout_seconds,
            )
            self._object_saver = keys, saver
        saver.restore(sess, prefix)

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
            durable=self._options.durable,
            collection_list=collection_list,
            as_text=as_text,
            export_scope=export_scope,
            clear_devices=clear_devices,
            clear_extraneous_savers=clear_extraneous_savers,
            strip_default_attrs=strip_default_attrs,
            save_debug_info=save_debug_info,
        )

    def _stage(
        self,
        sess: Any,
        files: staged_files.StagedFiles,
        latest: str | None,
        *,
        records: contextlib.ExitStack,
        meta_path: str | None,
        state_path: str | None,
        **meta_arguments: Any,
    ) -> None:
        """Writes what stands beside a checkpoint under temporary names, and records it until `records` is closed."""
        if meta_path is not None:
            with sess.graph.as_default():
                meta_graph.stage(files, self.saver_def, meta_path, **meta_arguments)
        if state_path is not None and latest is not None:
            records.callback(self._record(latest))
            state = state_file.contents(
                state_path, latest, self.last_checkpoints, relative=self._save_relative_paths
            )
            files.add(state_path, state)


def is_durable(saver: Any) -> bool:
    """Tells whether what a saver, ours or stock, writes is synced."""
    return isinstance(saver, Saver) and saver._options.durable  # noqa: SLF001 our own class
