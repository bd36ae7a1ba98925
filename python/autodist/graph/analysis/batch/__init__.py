"""Which tensors are split over the replicas, and which ops depend on the batch."""
