"""How updates of variables are made whose inputs depend on the batch."""
