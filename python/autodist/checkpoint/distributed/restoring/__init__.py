"""Restores variables that lie on several tasks of a cluster."""
