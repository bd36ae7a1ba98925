"""Other formats of tensors: safetensors and NumPy's archives."""
