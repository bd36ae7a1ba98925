"""The variables of the user's graph: what a saver reads and restores, and on which task it lies."""
