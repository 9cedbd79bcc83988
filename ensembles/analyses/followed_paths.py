"""Paths of a network at several places, some images at a time; a store keeps what is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensembles.analyses.base import Run
from ensembles.analyses.path_inputs import groups_of, network_and_images
from ensembles.analyses.path_measures import measure_places
from ensembles.analyses.path_options import PathOptions
from ensembles.decomposition import Decomposition
from ensembles.engine import choose_device
from ensembles.unravelling.measurement import Batch, GradientMeasures
from ensembles.unravelling.places import Place, parse_places

__all__ = ["FollowedPaths"]

_AT_ONCE = 16  # images between two visits to a store


@dataclass(frozen=True)
class FollowedPaths:
    """What paths are followed on, and how.

    Attributes:
        net: The network; of a language model its part behind the embedding.
        images: The images, or the first streams of windows.
        chosen: How.
        run: Where; its parts hold what is done.
    """

    net: Decomposition
    images: Any
    chosen: PathOptions
    run: Run

    def at(
        self, where: str, net: Decomposition | None = None, label: str = "paths"
    ) -> dict[Place, GradientMeasures]:
        """The spectrum at some places, of this network or of another one in its place.

        Args:
            where: The places, in words.
            net: The other network.
            label: What it is kept under while the rest is not done.
        """
        chosen, ready = replace(self.chosen, at=where), net or self.net

        def measured(images: Any, chosen: PathOptions) -> dict[Place, GradientMeasures]:
            return measure_places(
                ready, images, chosen, choose_device(self.run.device),
                name=self.run.model or self.net.model_name, progress=self.run.progress,
            )  # fmt: skip

        if self.run.parts is None:
            return measured(self.images, chosen)
        places, found = parse_places(where, ready), []
        for number, (some, count) in enumerate(groups_of(self.images, chosen, _AT_ONCE)):
            measure = partial(measured, some, replace(chosen, images=count))
            found.append(self.run.kept(f"{label} {number}", partial(_arrays, measure)))
        return {
            place: GradientMeasures(
                coherent=_joined(found, f"coherent {at}"),
                cancellation=_joined(found, f"cancellation {at}"),
            )
            for at, place in enumerate(places)
        }

    def in_double_precision(self) -> tuple[Decomposition, list[Batch]]:
        """The network and the images themselves."""
        wide = replace(self.chosen, precision="fp64")
        return network_and_images(self.net, self.images, wide, choose_device(self.run.device))


def _arrays(measure: Callable[[], dict[Place, GradientMeasures]]) -> dict[str, Any]:
    """Norms and cancellation at each place, in their order."""
    arrays: dict[str, Any] = {}
    for at, one in enumerate(measure().values()):
        arrays |= {f"coherent {at}": _numbers(one.coherent)}
        arrays |= {f"cancellation {at}": _numbers(one.cancellation)}
    return arrays


def _joined(found: Sequence[Mapping[str, Any]], name: str) -> Tensor:
    return torch.cat([torch.from_numpy(one[name]) for one in found], -1)


def _numbers(values: Tensor | None) -> Any:
    assert values is not None
    return np.asarray(values.cpu())
