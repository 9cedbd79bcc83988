"""Losses and errors of many lesions over parts of the data, and intervals made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensembles.analyses.base import Run
from ensembles.analyses.members.lesion import lesion
from ensembles.decomposition import Decomposition
from ensembles.errors import LesionError
from ensembles.lesions import Intact, Lesion
from ensembles.lesions.structure import Structure
from ensembles.statistics import Estimates, jackknife

__all__ = ["LesionMeans", "attrs_of", "fitting", "known"]

Array = NDArray[np.float64]
_KEPT = (
    "model", "dataset", "task", "observation", "blocks", "transitions", "adapted", "failed", "runs",
    "chance",
)  # fmt: skip

_FOLDS = ("fold_total", "fold_correct", "fold_loss", "fold_kl")


@dataclass(frozen=True)
class LesionMeans:
    """What a sweep of lesions gave.

    Attributes:
        frame: Its table, one row a lesion.
        places: Row of each lesion in the table.
        sums: Sums over the rows of each part of the data that holds any: observations, right
            answers and cross-entropy of each lesion, and its divergence from the intact network
            where that was asked for, (parts, 3 or 4, lesions); NaN for a lesion with outputs that
            were not finite.
        filled: Which of the parts of the data hold any, (all parts,).
    """

    frame: pd.DataFrame
    places: Mapping[Lesion, int]
    sums: Array
    filled: NDArray[np.bool_]

    @classmethod
    def measured(
        cls,
        net: Decomposition,
        data: Any,
        lesions: Iterable[Lesion],
        run: Run,
        *,
        metrics: Sequence[str] = (),
    ) -> LesionMeans:
        """Measure lesions, and the intact network with them, by the engine of all sweeps.

        Args:
            net: The network.
            data: What it is evaluated on.
            lesions: The lesions, each once.
            run: Where and how; its store keeps every lesion, so that a sweep goes on where it
                ended.
            metrics: What is measured beside errors, losses and their parts.

        Raises:
            EnsemblesError: As :func:`ensembles.lesion` raises it.
        """
        wanted = list(dict.fromkeys([Intact(), *lesions]))
        frame = lesion(
            net, data, wanted, metrics=("top1", "loss", "folds", *metrics), **run.of_lesions
        )
        rows = {
            (kind, text): place
            for place, (kind, text) in enumerate(zip(frame["lesion"], frame["blocks"], strict=True))
        }
        places = {one: rows[one.kind, one.text] for one in wanted if (one.kind, one.text) in rows}
        stacked = np.array([list(frame[name]) for name in _FOLDS if name in frame.columns], float)
        stacked[:, :, :] = np.where((frame["nonfinite"] > 0).to_numpy()[:, None], np.nan, stacked)
        sums = np.moveaxis(stacked, 2, 0)
        filled = np.nansum(sums[:, 0], axis=1) > 0
        return cls(frame, places, sums[filled], filled)

    def parts(self, column: str) -> Array:
        """Sums of another metric over those parts of the data that hold any, (parts, lesions).

        Args:
            column: Its column of the table, with a list of numbers a part; NaN for a lesion with
                outputs that were not finite.
        """
        sums = np.array(list(self.frame[column]), float)
        sums[(self.frame["nonfinite"] > 0).to_numpy()] = np.nan
        return sums.T[self.filled]

    def numbers(self, lesions: Iterable[Lesion]) -> NDArray[np.int64]:
        """Row of each of some lesions; -1 for those that could not be measured."""
        return np.array([self.places.get(one, -1) for one in lesions], np.int64)

    def estimate_kl(self, statistic: Callable[[Array], Any]) -> Estimates:
        """A statistic of the divergences from the intact network, with its interval over rows.

        Args:
            statistic: From mean divergences (lesions + 1,) to an array; the last is NaN.
        """

        def of_sums(sums: Array) -> Any:
            with np.errstate(invalid="ignore", divide="ignore"):
                return statistic(np.append(sums[3] / sums[0], np.nan))

        return jackknife(of_sums, self.sums)

    def estimate(self, statistic: Callable[[Array, Array], Any]) -> Estimates:
        """A statistic of the losses and errors of all lesions, with its interval over rows.

        Args:
            statistic: From mean losses (lesions + 1,) and errors (lesions + 1,) to an array; the
                last of each is NaN, for lesions that could not be measured.
        """

        def of_sums(sums: Array) -> Any:
            total, right, loss = sums[:3]
            with np.errstate(invalid="ignore", divide="ignore"):
                means = np.append(loss / total, np.nan), np.append((total - right) / total, np.nan)
                return statistic(*means)

        return jackknife(of_sums, self.sums)


def attrs_of(frame: pd.DataFrame, **more: Any) -> dict[str, Any]:
    """What a table made of a sweep tells of it.

    Args:
        frame: The table of the sweep.
        more: What is known beside.
    """
    found = {name: frame.attrs[name] for name in _KEPT if name in frame.attrs}
    provenance = frame.attrs["provenance"]
    observations = int(frame["total"].iloc[0])
    return {**found, "observations": observations, "provenance": provenance, **more}


def fitting(structure: Structure, lesions: Iterable[Lesion]) -> tuple[list[Lesion], dict[str, str]]:
    """Those lesions that have a meaning on a network, and why each of the others has none.

    Args:
        structure: The network's.
        lesions: Lesions.

    Returns:
        The lesions, in their order; the reasons by the lesion as a sentence.
    """
    found: list[Lesion] = []
    refused: dict[str, str] = {}
    for one in lesions:
        try:
            one.require(structure)
        except LesionError as error:
            refused[str(one)] = str(error)
        else:
            found.append(one)
    return found, refused


def known(value: Any) -> float | None:
    """A number as attributes hold it: None where there is none."""
    return float(value) if math.isfinite(value) else None
