"""Servers of a cluster: how they start, who claims them, and which of them live."""
