"""The variables of the original graph: who uses, updates, initializes and saves them."""
