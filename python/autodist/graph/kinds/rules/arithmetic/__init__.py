"""Rules for arithmetic on rows, and for reductions of rows."""
