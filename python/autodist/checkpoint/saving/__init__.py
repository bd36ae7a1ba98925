"""One save, from its arguments to its report: planned, run at once or in the background, committed."""
