"""Adds ops to the transformed graph."""
