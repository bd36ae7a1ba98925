"""Saves in which the tasks of a cluster write one data file together."""
