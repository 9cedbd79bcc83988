"""The metrics, a file each: the file has the name of the metric."""
