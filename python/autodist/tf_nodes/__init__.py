"""Reads and marks TensorFlow's `SaveV2` and `RestoreV2` nodes.

This package is the only one that knows the inputs of these nodes, our marks on them, and the marks'
defaults:

    marks           the attributes that we add to a node, with their defaults
    constants       the names and slices of a node
    variable_ops    the variable that a saved value is read from
    save_nodes      the values that a `SaveV2` writes
    restore_nodes   the values that a `RestoreV2` reads, and the variables that take them
"""
