"""Saves in the background from where training loops are: hooks of sessions, and callbacks of Keras."""
