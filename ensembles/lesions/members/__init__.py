"""The kinds of lesion, a file each: the file has the name of the kind."""
