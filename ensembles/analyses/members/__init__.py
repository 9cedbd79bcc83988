"""The analyses, a file each: the file has the name of the analysis."""
