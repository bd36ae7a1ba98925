"""The transformer: makes the graph for all replicas from the user's single-node graph.

From the bottom up; each package uses only those above it in this list:

original    what is known about the user's graph: variables, gradients, op types, functions
kinds       how one node's value of a tensor follows from the replicas' values, proved op by op
analysis    which batches are split, what runs once per replica, how updates are made
building    adds ops to the transformed graph: copies, variables, means, collectives
context     what stands for each original op and tensor, and what an op sees of its inputs
feeds       where fed values go
verify      the invariants of a transformed graph
rules       what each kind of op becomes; one module a kind
transformer takes the ops in order and has the rules make each
"""
