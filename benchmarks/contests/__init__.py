"""Runs contests, and reports what came out of them."""
