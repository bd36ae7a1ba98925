"""Reports of saves and restores: how far they are, and what they did."""
