"""The tasks of a session's cluster: which there are, what they can do, whether they live."""
