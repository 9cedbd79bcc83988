"""Moved to :mod:`ensembles.statistics.bootstrap`."""

from ensembles.statistics.bootstrap import percentile_interval

__all__ = ["percentile_interval"]
