"""The executors, a file each: the file has the name of the executor."""
