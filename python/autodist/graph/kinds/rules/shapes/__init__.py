"""Rules for shapes, sizes, slices and row numbers."""
