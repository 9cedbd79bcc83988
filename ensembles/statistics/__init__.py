"""Statistics: of arrays (counts, samples, pairs), and of tables of results by means of these."""

from ensembles.statistics.across_networks import across_networks
from ensembles.statistics.additivity import additive_by_size, additive_deletions
from ensembles.statistics.bootstrap import (
    bootstrap_interval,
    bootstrap_items,
    median_interval,
    percentile_interval,
)
from ensembles.statistics.correlations import curve_correlations, rank_correlations
from ensembles.statistics.estimate import Estimate
from ensembles.statistics.intervals import error_intervals
from ensembles.statistics.jackknife import Estimates, jackknife
from ensembles.statistics.means import difference_of_means, mean_interval
from ensembles.statistics.paired import correct_by_image, network_tests, paired_tests
from ensembles.statistics.quantiles import (
    Quartiles,
    equal_bins,
    fixed_bins,
    largest_step,
    quartiles_by_bin,
)
from ensembles.statistics.ranks import coefficient, rank_correlation, spearman_interval
from ensembles.statistics.resampled_tables import bootstrap_by_count, bootstrap_images
from ensembles.statistics.shares import (
    difference_of_shares,
    normal_quantile,
    paired_difference,
    wilson_interval,
)
from ensembles.statistics.significance import RankTest, holm, mann_whitney, mcnemar
from ensembles.statistics.summaries import (
    reorderings,
    summary_by_count,
    summary_by_tau,
    summary_by_tau_step,
)
from ensembles.tables.schema import require_columns

__all__ = [
    "Estimate",
    "Estimates",
    "Quartiles",
    "RankTest",
    "across_networks",
    "additive_by_size",
    "additive_deletions",
    "bootstrap_by_count",
    "bootstrap_images",
    "bootstrap_interval",
    "bootstrap_items",
    "coefficient",
    "correct_by_image",
    "curve_correlations",
    "difference_of_means",
    "difference_of_shares",
    "equal_bins",
    "error_intervals",
    "fixed_bins",
    "holm",
    "jackknife",
    "largest_step",
    "mann_whitney",
    "mcnemar",
    "mean_interval",
    "median_interval",
    "network_tests",
    "normal_quantile",
    "paired_difference",
    "paired_tests",
    "percentile_interval",
    "quartiles_by_bin",
    "rank_correlation",
    "rank_correlations",
    "reorderings",
    "require_columns",
    "spearman_interval",
    "summary_by_count",
    "summary_by_tau",
    "summary_by_tau_step",
    "wilson_interval",
]
