"""What each command does: takes paths, returns data, prints nothing."""
