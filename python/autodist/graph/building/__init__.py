"""What transformed graphs are built of: ops, values, variables and their replicas."""
