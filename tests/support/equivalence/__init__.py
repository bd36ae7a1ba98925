"""Proof by comparison: the same program on one node and distributed, step by step.

models       what is trained: variables, inputs, a loss
optimizers   how it is trained
training     runs a program on one node, eagerly or distributed, and compares what came out
"""
