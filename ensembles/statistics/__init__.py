"""Statistics of tables of results: frame in, frame out, nothing drawn."""

from ensembles.statistics.correlations import curve_correlations, rank_correlations
from ensembles.statistics.intervals import error_intervals, wilson_interval
from ensembles.statistics.paired import correct_by_image, paired_tests
from ensembles.statistics.resampling import bootstrap_by_count, bootstrap_images
from ensembles.statistics.summaries import summary_by_count, summary_by_tau
from ensembles.statistics.tables import require_columns

__all__ = [
    "bootstrap_by_count",
    "bootstrap_images",
    "correct_by_image",
    "curve_correlations",
    "error_intervals",
    "paired_tests",
    "rank_correlations",
    "require_columns",
    "summary_by_count",
    "summary_by_tau",
    "wilson_interval",
]
