"""Figures from tables of results.

Everything is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensembles.plots.analysis import plot_analysis
    from ensembles.plots.layout import figure_width
    from ensembles.plots.lesions import error_by_block, error_by_count, error_by_tau
    from ensembles.plots.network_bands import error_across_networks
    from ensembles.plots.panels import plot_lesions
    from ensembles.plots.path_logits import accuracy_by_length, logits_by_length
    from ensembles.plots.paths import (
        gradient_by_length,
        path_lengths,
        plot_paths,
        shares_by_length,
    )
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

_HOMES = {
    "FIGURES": "style",
    "accuracy_by_length": "path_logits",
    "error_across_networks": "network_bands",
    "error_by_block": "lesions",
    "error_by_count": "lesions",
    "error_by_tau": "lesions",
    "error_quartiles": "quartiles",
    "figure_width": "layout",
    "gradient_by_length": "paths",
    "logits_by_length": "path_logits",
    "paper_style": "style",
    "path_lengths": "paths",
    "plot_analysis": "analysis",
    "plot_lesions": "panels",
    "plot_paths": "paths",
    "save_figure": "style",
    "shares_by_length": "paths",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ensembles.plots' has no attribute '{name}'")
    return getattr(import_module(f"ensembles.plots.{_HOMES[name]}"), name)
