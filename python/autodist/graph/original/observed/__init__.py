"""What the user's program did while it built the graph: gradients, optimizers, variables."""
