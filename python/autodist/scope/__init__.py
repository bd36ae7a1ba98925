"""What `AutoDist.scope()` changes for the program inside it: sessions, Keras, variables."""
