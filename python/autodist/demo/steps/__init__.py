"""The steps of the demo, from its first to its summary."""
