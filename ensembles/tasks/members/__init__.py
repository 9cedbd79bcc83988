"""The tasks, a file each: the file has the name of the task."""
