"""Models and rivals of the benchmarks of training steps, strategies and transformations."""
