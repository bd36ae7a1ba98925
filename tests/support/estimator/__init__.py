"""Programs that train by `tf.estimator`, which TensorFlow has up to 2.15."""
