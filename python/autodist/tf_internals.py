"""The one door to TensorFlow's private Python API.

Everything that TensorFlow does not export is imported here and nowhere else, each name with the reason why no
public one would do. Read in TensorFlow 2.21.
"""

# `Saver.save` needs what the public `tf.compat.v1.train.update_checkpoint_state` does not offer: relative paths; and
# no deprecation notice at each save. `meta_graph_filename` has no public name.
from tensorflow.python.checkpoint.checkpoint_management import (
    meta_graph_filename,
    remove_checkpoint,
    update_checkpoint_state_internal,
)

__all__ = [
    "meta_graph_filename",
    "remove_checkpoint",
    "update_checkpoint_state_internal",
]
