"""Sums into places that the data choose: what is added there is made apart, and then added.

Mixture of depths runs the tokens that a router chose through a block and adds what comes out at
their places: ``x.scatter_add(1, chosen, f(x.gather(1, chosen)))`` is ``x + scattered``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from ensembles.decomposition.simplification import operation
from ensembles.decomposition.sum_writer import SumWriter
from ensembles.decomposition.synonyms import given_of

__all__ = ["SCATTERED"]

_PLACES: Mapping[str, tuple[Callable[..., Any], str]] = {
    "scatter_add": (torch.scatter_add, "src"),
    "index_add": (torch.index_add, "source"),
}


def _scattered(sums: SumWriter, node: fx.Node) -> fx.Node | None:
    """A sum at places that are made of an activation; those that are fixed are found elsewhere."""
    function, source = _PLACES[operation(node)]
    given = given_of(node, ("input", "dim", "index", source, "alpha"))
    if given is None or not sums.both(given.get("input"), given.get("index"), given.get(source)):
        return None
    read = [given[name] for name in ("input", "index", source)]
    if any(sums.sizes[one.name].two is None for one in read):
        return None
    size = sums.sizes[node.name]
    nothing = sums.factories.made(node)
    made = sums.call(function, nothing, given["dim"], *read[1:], like=size)
    return sums.total([given["input"], sums.scaled(made, given.get("alpha", 1))])


SCATTERED: Mapping[str, Callable[[SumWriter, fx.Node], fx.Node | None]] = dict.fromkeys(
    _PLACES, _scattered
)
"""What writes each as a sum."""
