"""Tasks of a session's cluster: their names, their ops, whether they answer, and sessions on them."""
