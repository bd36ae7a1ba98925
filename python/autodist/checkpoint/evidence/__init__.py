"""Evidence of a checkpoint: figures of its values, rules about them, and a proof that it restores."""
