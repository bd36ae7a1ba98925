"""The machines of a cluster: which there are, how their servers start, and whether they live."""
