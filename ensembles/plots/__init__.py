"""Figures from tables of results."""

from ensembles.plots.analysis import plot_analysis
from ensembles.plots.lesions import error_by_block, error_by_count, error_by_tau
from ensembles.plots.panels import plot_lesions
from ensembles.plots.quartiles import error_quartiles
from ensembles.plots.style import FIGURES, paper_style, save_figure

__all__ = [
    "FIGURES",
    "error_by_block",
    "error_by_count",
    "error_by_tau",
    "error_quartiles",
    "paper_style",
    "plot_analysis",
    "plot_lesions",
    "save_figure",
]
