"""The workbench: what is inside a checkpoint, whether it is sound, why it would not restore.

Nothing here imports TensorFlow or loads one of its libraries. `autodist.cli` shows what these
modules return.
"""
