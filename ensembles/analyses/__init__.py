"""What is measured of a network on data: sweeps of lesions, paths, and further analyses."""
