"""What rules share: what stands for each original op and tensor, and what an op sees of the replicas' values."""
