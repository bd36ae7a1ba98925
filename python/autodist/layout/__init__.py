"""What a logical variable is and where its shards and replicas lie.

Pure Python: nothing here knows TensorFlow. Every question about where a shard lies in its
variable is answered in this package and nowhere else.
"""

from autodist.layout.box import Box
from autodist.layout.grid import Grid, even_sizes, part_bounds

__all__ = ["Box", "Grid", "even_sizes", "part_bounds"]
