"""What rules share: the counterparts of original ops and tensors, and the inputs of ops."""
