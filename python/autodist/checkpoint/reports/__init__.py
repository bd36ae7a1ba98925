"""What saves and restores tell: how far they are, and what they did."""
