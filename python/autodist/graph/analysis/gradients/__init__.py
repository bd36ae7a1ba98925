"""Finds what is combined and scaled so that gradients are the same as on one node."""
