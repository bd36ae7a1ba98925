"""Who competes in saving and restoring, and on which models and layouts."""
