"""Draws graphs at random, to compare them on replicas with one node; see `random_graphs`."""
