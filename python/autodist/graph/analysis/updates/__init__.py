"""Decides how to make updates of variables whose inputs depend on the batch."""
