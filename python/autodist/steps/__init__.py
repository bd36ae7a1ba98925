"""Training steps: which runs of this process are on their way, and a gate that holds new ones."""
