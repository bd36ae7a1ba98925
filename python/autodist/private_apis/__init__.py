"""The only places that use the private Python APIs of TensorFlow and Keras."""
