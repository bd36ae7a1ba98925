"""Saving and exporting the original graph: `Saver` and `SavedModelBuilder`."""
