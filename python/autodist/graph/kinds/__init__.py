"""How the replicas' values of a tensor give one node's: the kinds and their proved rules."""
