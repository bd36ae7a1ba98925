"""The user's graph: its export, and the lists of variables that a `Saver` takes."""
