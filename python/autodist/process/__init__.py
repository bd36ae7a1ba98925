"""What concerns the whole Python process: background threads and garbage collection."""
