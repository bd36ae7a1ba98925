"""Checkpoints that stock TensorFlow makes, for the tests of the workbench."""
