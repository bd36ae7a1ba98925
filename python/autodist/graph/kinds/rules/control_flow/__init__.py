"""Rules for loops, branches, function calls, tensor lists and tensor arrays."""
