"""What is known about the graph that the user wrote: gradients, variables, functions, op types."""
