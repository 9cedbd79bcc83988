"""Figures from tables of results.

Everything is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensembles.plots.analysis import plot_analysis
    from ensembles.plots.capacity import accuracy_by_size, bits_by_size, plot_capacity
    from ensembles.plots.criticality import plot_criticality, recovered_by_block
    from ensembles.plots.depth import curve_by_depth, plot_depth
    from ensembles.plots.diversity import (
        average_by_members,
        disagreement_by_accuracy,
        plot_diversity,
    )
    from ensembles.plots.execution import cost_by_length, cost_of_swaps, plot_execution
    from ensembles.plots.family import curve_by_layers, plot_family
    from ensembles.plots.influence import damage_by_proxy, plot_influence
    from ensembles.plots.interchange import divergence_by_distance, plot_interchange
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
    from ensembles.plots.recalibration import damage_recalibrated, plot_recalibration
    from ensembles.plots.refinement import curves_by_block, estimation_errors, plot_refinement
    from ensembles.plots.repair import effects_by_block, plot_repair, total_by_direct
    from ensembles.plots.spectra import (
        cancellation_by_block,
        effects_in_three_ways,
        length_by_network,
        lengths_by_block,
        plot_spectra,
    )
    from ensembles.plots.structure import plot_structure
    from ensembles.plots.style import FIGURES, paper_style, save_figure
    from ensembles.plots.sublayers import cost_by_layer, cost_by_share, plot_sublayers

__all__ = [
    "FIGURES",
    "accuracy_by_length",
    "accuracy_by_size",
    "average_by_members",
    "bits_by_size",
    "cancellation_by_block",
    "cost_by_layer",
    "cost_by_length",
    "cost_by_share",
    "cost_of_swaps",
    "curve_by_depth",
    "curve_by_layers",
    "curves_by_block",
    "damage_by_proxy",
    "damage_recalibrated",
    "disagreement_by_accuracy",
    "divergence_by_distance",
    "effects_by_block",
    "effects_in_three_ways",
    "error_across_networks",
    "error_by_block",
    "error_by_count",
    "error_by_tau",
    "error_quartiles",
    "estimation_errors",
    "figure_width",
    "gradient_by_length",
    "length_by_network",
    "lengths_by_block",
    "logits_by_length",
    "paper_style",
    "path_lengths",
    "plot_analysis",
    "plot_capacity",
    "plot_criticality",
    "plot_depth",
    "plot_diversity",
    "plot_execution",
    "plot_family",
    "plot_influence",
    "plot_interchange",
    "plot_lesions",
    "plot_paths",
    "plot_recalibration",
    "plot_refinement",
    "plot_repair",
    "plot_spectra",
    "plot_structure",
    "plot_sublayers",
    "recovered_by_block",
    "save_figure",
    "shares_by_length",
    "total_by_direct",
]

_HOMES = {
    "FIGURES": "style",
    "accuracy_by_length": "path_logits",
    "accuracy_by_size": "capacity",
    "average_by_members": "diversity",
    "bits_by_size": "capacity",
    "cancellation_by_block": "spectra",
    "cost_by_layer": "sublayers",
    "cost_by_length": "execution",
    "cost_by_share": "sublayers",
    "cost_of_swaps": "execution",
    "curve_by_depth": "depth",
    "curve_by_layers": "family",
    "curves_by_block": "refinement",
    "damage_by_proxy": "influence",
    "damage_recalibrated": "recalibration",
    "disagreement_by_accuracy": "diversity",
    "divergence_by_distance": "interchange",
    "effects_by_block": "repair",
    "effects_in_three_ways": "spectra",
    "error_across_networks": "network_bands",
    "error_by_block": "lesions",
    "error_by_count": "lesions",
    "error_by_tau": "lesions",
    "error_quartiles": "quartiles",
    "estimation_errors": "refinement",
    "figure_width": "layout",
    "gradient_by_length": "paths",
    "length_by_network": "spectra",
    "lengths_by_block": "spectra",
    "logits_by_length": "path_logits",
    "paper_style": "style",
    "path_lengths": "paths",
    "plot_analysis": "analysis",
    "plot_capacity": "capacity",
    "plot_criticality": "criticality",
    "plot_depth": "depth",
    "plot_diversity": "diversity",
    "plot_execution": "execution",
    "plot_family": "family",
    "plot_influence": "influence",
    "plot_interchange": "interchange",
    "plot_lesions": "panels",
    "plot_paths": "paths",
    "plot_recalibration": "recalibration",
    "plot_refinement": "refinement",
    "plot_repair": "repair",
    "plot_spectra": "spectra",
    "plot_structure": "structure",
    "plot_sublayers": "sublayers",
    "recovered_by_block": "criticality",
    "save_figure": "style",
    "shares_by_length": "paths",
    "total_by_direct": "repair",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ensembles.plots' has no attribute '{name}'")
    return getattr(import_module(f"ensembles.plots.{_HOMES[name]}"), name)
