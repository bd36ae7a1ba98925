"""Types and texts of the errors of saves and restores."""
