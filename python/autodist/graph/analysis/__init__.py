"""Which batches are split over the replicas, and what runs once or on each replica."""
