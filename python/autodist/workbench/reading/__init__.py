"""What checkpoints, state files, SavedModels and graph files hold."""
