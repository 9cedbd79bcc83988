"""Take trained networks apart: lesions, and all 2^n paths."""
