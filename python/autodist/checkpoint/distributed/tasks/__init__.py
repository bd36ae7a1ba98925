"""Tasks of a session's cluster: names, op support, liveness, and sessions on them."""
