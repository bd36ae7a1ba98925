"""What is known of the values of a checkpoint, and rules about it. Pure Python: no TensorFlow, no files.

docs/design/evidence.md says how a save computes figures; `checkpoint.evidence` does it.
"""
