"""A program that restores a checkpoint with TensorFlow alone; `stock_proof` runs it.

It imports nothing of autodist. Arguments: the process that must live, the graph's file, the
prefix, and libraries of ops to load. It writes one line of JSON: `{"read": [names]}` or
`{"error": text}`. It ends with the process that started it.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time


def _end_with(parent: int) -> None:
    """Ends this process when its parent has ended, however that came."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def _restored_names(graph: object, saver_def: object) -> list[str]:
    """Returns the names that the saver's restore nodes read, of constants."""
    import tensorflow as tf

    end = graph.get_operation_by_name(saver_def.restore_op_name)  # type: ignore[attr-defined]
    names: set[str] = set()
    seen, waiting = {end}, [end]
    while waiting:
        op = waiting.pop()
        if op.type in ("RestoreV2", "Restore", "RestoreSlice"):
            value = tf.get_static_value(op.inputs[1])
            if value is not None:
                names.update(name.decode() for name in value.reshape(-1).tolist())
        for other in [*(tensor.op for tensor in op.inputs), *op.control_inputs]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return sorted(names)


def restore(graph_path: str, prefix: str, libraries: list[str]) -> list[str]:
    """Restores everything, and returns the names that were read.

    Args:
        graph_path: A `.meta` file.
        prefix: The checkpoint.
        libraries: Libraries of ops that the graph needs.
    """
    import tensorflow as tf

    for library in libraries:
        tf.load_op_library(library)
    with tf.Graph().as_default() as graph:
        saver = tf.compat.v1.train.import_meta_graph(graph_path, clear_devices=True)
        if saver is None:
            raise ValueError("the graph has no variables to restore")
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        with tf.compat.v1.Session(config=config) as session:
            saver.restore(session, prefix)
        names = _restored_names(graph, saver.saver_def)
    stored = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    unread = sorted(name for name in stored if name not in names)
    if unread:
        shown = ", ".join(unread[:5])
        raise ValueError(
            f"the graph restores {len(names)} names, but not {len(unread)} of: {shown}"
        )
    return names


def main() -> int:
    """Runs the program; returns its exit code."""
    parent, graph_path, prefix, *libraries = sys.argv[1:]
    _end_with(int(parent))
    try:
        result: dict[str, object] = {"read": restore(graph_path, prefix, libraries)}
    except Exception as error:  # noqa: BLE001 told to the process that asked
        text = getattr(error, "message", None) or str(error)
        result = {"error": f"{type(error).__name__}: {text}"}
    # What TensorFlow prints goes elsewhere.
    print(json.dumps(result), flush=True)
    return 0 if "read" in result else 1


if __name__ == "__main__":
    sys.exit(main())
