"""The names that Keras gives."""

import keras
import tf_keras


def forget_keras_names() -> None:
    """Keras numbers its objects per process; the same program shall get the same names again."""
    if hasattr(keras.utils, "clear_session"):
        keras.utils.clear_session(free_memory=False)
    else:  # Keras 2
        keras.backend.reset_uids()
    tf_keras.backend.reset_uids()
