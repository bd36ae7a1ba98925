"""Proof by comparison: the same program on one node and distributed, step by step.

models       what is trained: variables, inputs, a loss
optimizers   how it is trained
update_*     programs that update variables with what depends on the batch
training     runs a program on one node, eagerly or distributed, and compares what came out
"""
