"""What is tested between versions of TensorFlow: see `make matrix`."""
