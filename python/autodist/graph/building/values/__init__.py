"""What stands for a tensor of the original graph, and how the replicas' values become one."""
