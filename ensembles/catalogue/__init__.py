"""What architectures are made of: their blocks, parameters and paths."""
