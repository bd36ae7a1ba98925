"""Variables of the user's graph that a saver reads and restores, and their devices."""
