"""Figures from tables of results."""

from ensembles.plots.analysis import plot_analysis
from ensembles.plots.layout import figure_width
from ensembles.plots.lesions import error_by_block, error_by_count, error_by_tau
from ensembles.plots.network_bands import error_across_networks
from ensembles.plots.panels import plot_lesions
from ensembles.plots.path_logits import accuracy_by_length, logits_by_length
from ensembles.plots.paths import gradient_by_length, path_lengths, plot_paths, shares_by_length
from ensembles.plots.quartiles import error_quartiles
from ensembles.plots.style import FIGURES, paper_style, save_figure

__all__ = [
    "FIGURES",
    "accuracy_by_length",
    "error_across_networks",
    "error_by_block",
    "error_by_count",
    "error_by_tau",
    "error_quartiles",
    "figure_width",
    "gradient_by_length",
    "logits_by_length",
    "paper_style",
    "path_lengths",
    "plot_analysis",
    "plot_lesions",
    "plot_paths",
    "save_figure",
    "shares_by_length",
]
