"""Runs the transformed graph in TensorFlow's session, and initializes its variables."""
