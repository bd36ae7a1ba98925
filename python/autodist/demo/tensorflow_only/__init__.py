"""Programs without autodist: a model, and what plain TensorFlow does with its checkpoints.

The demo runs `train_single_node.py`, `restore_checkpoint.py` and `load_saved_model.py` by path,
each in its own process. There the modules beside them are top-level modules, and autodist is never
imported.
"""
