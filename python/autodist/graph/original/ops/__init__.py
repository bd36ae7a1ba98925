"""Facts about ops and functions of the original graph."""
