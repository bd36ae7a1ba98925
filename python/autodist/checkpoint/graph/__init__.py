"""The user's graph, as a `Saver` exports it, and as it lists the variables that are saved and restored."""
