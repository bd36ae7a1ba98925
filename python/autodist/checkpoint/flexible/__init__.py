"""Restores from checkpoints that do not fit the graph (docs/design/flexible-restores.md).

names            which name in the checkpoint each variable is read under
growth           which stored row each row of a grown variable takes
wanted, stored   what the graph asks for; what the checkpoint has
restore_plan     what becomes of each wanted value; refuses what does not fit
made_values      computes grown and cast values
restore_report   what a restore took, kept, initialized, grew and cast
flexible_restore the restore itself
"""
