"""The files of a checkpoint on disk: names, locks, staged files."""
