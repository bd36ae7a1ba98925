"""Jobs of several servers: their processes, limits, costs and reports."""
