"""What a stranger adds to ensembles: a lesion, a metric, an analysis, and one that is broken."""
