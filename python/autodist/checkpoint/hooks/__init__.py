"""Saves in the background from training loops: a hook of sessions, and a callback of Keras."""
