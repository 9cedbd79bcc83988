"""What a visitor adds to ensembles: a lesion, a metric, an analysis, and what is broken."""
