"""How one node's value of a tensor follows from the replicas' values: the kinds and their proved rules."""
