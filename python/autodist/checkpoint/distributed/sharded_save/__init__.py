"""Saves in which every task of a cluster writes a data file of its own."""
