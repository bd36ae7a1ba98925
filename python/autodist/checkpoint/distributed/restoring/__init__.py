"""The restore into variables on several tasks of a cluster."""
