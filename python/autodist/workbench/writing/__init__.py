"""How the workbench writes checkpoints and other files: staged, committed, summed.

docs/design/workbench-writing.md has the invariants.
"""
