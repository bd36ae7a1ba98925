"""What the errors of saves and restores say, and of which types they are."""
