"""The transformer: from the original graph and the layouts to the graph that runs.

observe       what happens inside `AutoDist.scope()`: gradients, optimizer calls
roles         which ops are variables, who uses them, which are updated together
batch         which tensors are split over the replicas and what depends on them
values        how one original tensor is represented in the transformed graph
builder       adds ops to the transformed graph
lowering      the walk over the original graph; one rule per kind of op
reads, updates, saving, means, fetches   the rules
verify        the invariants a transformed graph must satisfy
"""
