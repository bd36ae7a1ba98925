"""Background threads and garbage collection of the Python process."""
