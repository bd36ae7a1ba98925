"""Logical variables: how they are cut, where shards lie, and what is saved or restored.

Pure Python: nothing here knows TensorFlow. Every question about where a shard lies in its
variable is answered in this package and nowhere else.
"""

from autodist.layout.box import Box
from autodist.layout.grid import Grid, even_sizes, sub_batch_bounds
from autodist.layout.requests import RequestEntry, RestoreRequest, SaveRequest

__all__ = [
    "Box",
    "Grid",
    "RestoreRequest",
    "SaveRequest",
    "RequestEntry",
    "even_sizes",
    "part_bounds",
    "sub_batch_bounds",
]

# Its first name, which programs may import.
part_bounds = sub_batch_bounds
