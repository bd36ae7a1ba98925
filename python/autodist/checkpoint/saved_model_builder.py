"""`SavedModelBuilder` exports the original graph of a session, without marks or ops of AutoDist."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from autodist import errors
from autodist.checkpoint import saver as autodist_saver
from autodist.checkpoint.distributed.tasks import sessions
from autodist.checkpoint.errors import final_errors
from autodist.checkpoint.files import bundle, paths, staged_files
from autodist.checkpoint.saving import transaction
from autodist.tf_nodes import marks

_StockBuilder: Any = tf.compat.v1.saved_model.builder.SavedModelBuilder


class SavedModelBuilder(_StockBuilder):
    """Builds a SavedModel as `tf.compat.v1.saved_model.builder.SavedModelBuilder` does.

    It exports the session's graph, which under `AutoDist` is the original one. This need not be the
    default graph. The graph's collections are exported with it, those with training ops included.

    It uses our `Saver` where none is given. A stock saver works too, but has none of our options
    and logs no line. In a graph without `AutoDist` it writes a partitioned variable as slices.
    """

    def __init__(self, export_dir: Any, *, durable: bool = True) -> None:
        """Creates a builder.

        Args:
            export_dir: Directory to export to, which must be empty or missing.
            durable: Whether the whole export is synced when `save` returns. Without syncs only the
                order is kept: `saved_model.pb` appears last, at one instant.

        Raises:
            AssertionError: The directory is not empty.
        """
        export_dir = paths.text(export_dir)
        self._durable = durable
        # The parents of the directory that must be synced when `save` has made it.
        self._new_parents = _parents_of_new(export_dir) if durable else []
        # Not the stock class's own, which looks itself up by a name that a program may have
        # replaced by this class (TF 2.21).
        super(_StockBuilder, self).__init__(export_dir)
        self._graph: Any = None
        self._train_op: Any = None
        self._are_variables_synced = False

    def add_meta_graph_and_variables(  # noqa: PLR0917 TensorFlow's signature
        self,
        sess: Any,
        tags: Any,
        signature_def_map: Any = None,
        assets_collection: Any = None,
        legacy_init_op: Any = None,
        clear_devices: bool = False,
        main_op: Any = None,
        strip_default_attrs: bool = False,
        saver: Any = None,
        *,
        init_op: Any = None,
        train_op: Any = None,
    ) -> None:
        """Saves the variables of a session and adds its graph.

        Args:
            sess: The session.
            tags: Tags of the graph.
            signature_def_map: Signatures by name.
            assets_collection: Constant string tensors that hold the paths of asset files.
            legacy_init_op: TensorFlow's old name of `main_op`.
            clear_devices: Leave devices out of the graph.
            main_op: Operation to run when the graph is loaded, after the variables are restored.
            strip_default_attrs: Leave attributes with default values out of the graph.
            saver: The `Saver` to save with; by default, one of ours over all variables and saveable
                objects.
            init_op: Another name of `main_op`.
            train_op: Operation or tensor that trains, kept in the collection
                `saved_model_train_op`.

        Raises:
            AssertionError: Variables were saved already, or a signature is incomplete.
            RuntimeError: The graph is finalized and something must be added to it.
            TypeError: `main_op` or `train_op` is not an operation.
            ValueError: The graph has a main op already.
        """
        # The base class refuses an object that is not a session.
        self._graph = getattr(sess, "graph", None) or tf.compat.v1.get_default_graph()
        self._train_op = train_op
        with (
            self._graph.as_default(),
            final_errors.of_save(self._directory, functools.partial(sessions.has_tasks, sess)),
            self._taken_back_on_failure(),
        ):
            super().add_meta_graph_and_variables(
                sess,
                tags,
                signature_def_map=signature_def_map,
                assets_collection=assets_collection,
                clear_devices=clear_devices,
                main_op=_first_given(main_op, init_op, legacy_init_op),
                strip_default_attrs=strip_default_attrs,
                saver=saver,
            )

    def add_meta_graph(  # noqa: PLR0917 TensorFlow's signature
        self,
        tags: Any,
        signature_def_map: Any = None,
        assets_collection: Any = None,
        legacy_init_op: Any = None,
        clear_devices: bool = False,
        main_op: Any = None,
        strip_default_attrs: bool = False,
        saver: Any = None,
        *,
        init_op: Any = None,
        train_op: Any = None,
    ) -> None:
        """Adds another graph that shares the variables saved before.

        It adds the default graph. If no graph was entered, it adds the graph that the variables
        were saved from.

        Args:
            tags: Tags of the graph.
            signature_def_map: Signatures by name.
            assets_collection: Constant string tensors that hold the paths of asset files.
            legacy_init_op: TensorFlow's old name of `main_op`.
            clear_devices: Leave devices out of the graph.
            main_op: Operation to run when the graph is loaded, after the variables are restored.
            strip_default_attrs: Leave attributes with default values out of the graph.
            saver: The `Saver` whose nodes restore the variables; by default, one of ours over all
                variables.
            init_op: Another name of `main_op`.
            train_op: Operation or tensor that trains, kept in the collection
                `saved_model_train_op`.

        Raises:
            AssertionError: No variables were saved yet, or a signature is incomplete.
            RuntimeError: The graph is finalized and something must be added to it.
            TypeError: `main_op` or `train_op` is not an operation.
            ValueError: The graph has a main op already.
        """
        self._train_op = train_op
        is_inside_graph = not tf.executing_eagerly() or self._graph is None
        graph = tf.compat.v1.get_default_graph() if is_inside_graph else self._graph
        with graph.as_default():
            super().add_meta_graph(
                tags,
                signature_def_map=signature_def_map,
                assets_collection=assets_collection,
                clear_devices=clear_devices,
                main_op=_first_given(main_op, init_op, legacy_init_op),
                strip_default_attrs=strip_default_attrs,
                saver=saver,
            )

    def save(
        self,
        as_text: bool = False,
        experimental_image_format: bool = False,
        experimental_image_writer_options: Any = None,
    ) -> Any:
        """Writes `saved_model.pb`, which makes the directory a SavedModel.

        Args:
            as_text: Write it as text, `saved_model.pbtxt`.
            experimental_image_format: As in TensorFlow, which refuses it where it was not built in.
            experimental_image_writer_options: As in TensorFlow.

        Returns:
            The path of the file, as bytes.

        Raises:
            tf.errors.OpError: It cannot be written, or a file of the export cannot be synced.
        """
        with final_errors.of_save(self._directory), _told_to_stay(self._variables_prefix()):
            if not experimental_image_format:
                return self._write(as_text=as_text)
            path = super().save(
                as_text,
                experimental_image_format=True,
                experimental_image_writer_options=experimental_image_writer_options,
            )
            self._sync_export()
        return path

    def _write(self, *, as_text: bool) -> bytes:
        """Writes `saved_model.pb`, the last file of the export, and returns its path."""
        directory = self._directory
        if not tf.io.gfile.exists(directory):
            tf.io.gfile.makedirs(directory)
        self._sync_export()
        if as_text:
            path = paths.join(
                directory, tf.compat.v1.saved_model.constants.SAVED_MODEL_FILENAME_PBTXT
            )
            contents = str(self._saved_model).encode()
        else:
            path = paths.join(directory, tf.compat.v1.saved_model.constants.SAVED_MODEL_FILENAME_PB)
            contents = self._saved_model.SerializeToString(deterministic=True)
        staged_files.write(path, contents, durable=self._durable)
        written: bytes = tf.compat.as_bytes(path)
        return written

    @property
    def _directory(self) -> str:
        return paths.text(self._export_dir)

    def _variables_prefix(self) -> str:
        constants = tf.compat.v1.saved_model.constants
        directory = paths.join(self._directory, constants.VARIABLES_DIRECTORY)
        return paths.join(directory, constants.VARIABLES_FILENAME)

    def _sync_export(self) -> None:
        """Syncs everything in the directory, and the directory itself."""
        if self._durable:
            variables = tf.compat.v1.saved_model.constants.VARIABLES_DIRECTORY
            paths.sync_tree(
                self._directory,
                but={variables} if self._are_variables_synced else set(),
            )
            for parent in self._new_parents:
                paths.sync(parent)

    @contextlib.contextmanager
    def _taken_back_on_failure(self) -> Iterator[None]:
        """Removes the directories that a failed export made, so that the next finds it empty.

        It never removes saved variables.
        """
        directory = self._directory
        names = {
            tf.compat.v1.saved_model.constants.VARIABLES_DIRECTORY,
            tf.compat.v1.saved_model.constants.ASSETS_DIRECTORY,
        }
        mine = [
            path
            for path in (paths.join(directory, name) for name in sorted(names))
            if not tf.io.gfile.exists(path)
        ]
        prefix = self._variables_prefix()
        if bundle.exists(prefix):
            yield
            return
        with _told_to_stay(prefix):
            try:
                yield
            except BaseException:
                for path in [] if bundle.exists(prefix) else mine:
                    with contextlib.suppress(tf.errors.OpError):
                        tf.io.gfile.rmtree(path)
                raise

    def _add_collections(self, assets_collection: Any, main_op: Any, train_op: Any) -> None:
        """Adds to the collections; the base class offers users no argument for a train op."""
        super()._add_collections(
            assets_collection, main_op, train_op if self._train_op is None else self._train_op
        )

    def _maybe_create_saver(self, saver: Any = None) -> Any:
        """Returns the saver given, or one of ours over all that can be saved."""
        if not saver:
            saver = self._create_saver()
        if not self._has_saved_variables:
            self._are_variables_synced = autodist_saver.is_durable(saver)
        return saver

    def _create_saver(self) -> autodist_saver.Saver:
        graph = tf.compat.v1.get_default_graph()
        if graph.finalized:
            raise errors.GraphStateError(
                "Graph is finalized and cannot be modified. Build a Saver before the graph is "
                "finalized and pass it as saver="
            )
        # Each task writes its own variables: a tensor above 2 GB cannot be sent to another (TF
        # 2.21).
        return autodist_saver.Saver(
            sharded=_is_on_several_tasks(graph), allow_empty=True, durable=self._durable
        )

    def _tag_and_add_meta_graph(
        self, meta_graph_def: Any, tags: Any, signature_def_map: Any
    ) -> None:
        """Adds a graph without our marks, which a stock saver would leave in."""
        marks.strip(meta_graph_def.graph_def)
        super()._tag_and_add_meta_graph(meta_graph_def, tags, signature_def_map)


@contextlib.contextmanager
def _told_to_stay(prefix: str) -> Iterator[None]:
    """Adds to an error that the variables are saved, if they are."""
    try:
        yield
    except Exception as error:
        if not bundle.exists(prefix):
            raise
        message = final_errors.text_of(error)
        text = f"{message}\n\n{transaction.describe_saved(prefix)}"
        raise final_errors.with_message(error, text) from error


def _parents_of_new(directory: str) -> list[str]:
    """Returns the parents of a missing directory, up to and including the first that exists."""
    parents: list[str] = []
    while directory and not tf.io.gfile.exists(directory):
        above = paths.parent(directory.rstrip("/"))
        if above == directory:
            break
        directory = above
        parents.append(directory)
    return parents


def _first_given(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _is_on_several_tasks(graph: Any) -> bool:
    """Tells whether a graph places its variables on more than one task of a cluster."""
    tasks = set()
    for variable in graph.get_collection(tf.compat.v1.GraphKeys.GLOBAL_VARIABLES):
        device = tf.DeviceSpec.from_string(variable.device or "")
        tasks.add((device.job, device.replica, device.task))
    return len(tasks) > 1
