"""The transformer: from the original graph and the layouts to the graph that runs.

observe     what happens inside `AutoDist.scope()`: gradients, optimizer calls
op_kinds    what is known about TensorFlow's op types
functions   what an op may do to a variable, functions and control flow included
roles       which ops are variables, who uses them
groups      which variables are updated together
order       after what each op must be taken
batch       which tensors are split over the replicas and what depends on them
whole       ops that need a batch whole
placement   asks the strategy, creates shards and replicas
gradients   the means of the gradients, and the way back through them
values      how one original tensor is represented in the transformed graph
builder     adds ops to the transformed graph
random_functions   the replicas' own copies of functions that draw random numbers
lowering    the walk over the original graph; one rule per kind of op
reads, updates, indices, saving, means, quotients, random_ops, fetches   the rules
verify      the invariants a transformed graph must satisfy
"""
