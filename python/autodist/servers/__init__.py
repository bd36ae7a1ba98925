"""TensorFlow servers as seen from outside: who they are, and whether they live."""
