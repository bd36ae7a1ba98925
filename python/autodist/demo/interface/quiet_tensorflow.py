"""Imports TensorFlow without its remarks on standard error."""

from __future__ import annotations

import logging
import os
import sys
import tempfile


def import_tensorflow() -> None:
    """Imports TensorFlow and keeps it and autodist quiet from then on.

    TF 2.21 writes some lines before it looks at `TF_CPP_MIN_LOG_LEVEL`; they are held back, and
    shown only if the import fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow as tf
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
    tf.get_logger().setLevel(logging.ERROR)
    logging.getLogger("autodist").setLevel(logging.ERROR)
