"""What an architecture is made of, in a few numbers: counted once and kept, or counted anew."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any

from ensembles.models import architecture

__all__ = ["Structure", "catalogue_row", "count_structure", "kept_structures"]

_KEPT = "architectures.json"


@dataclass(frozen=True)
class Structure:
    """The numbers of an architecture.

    Attributes:
        parameters: Number of parameters that an image passes in evaluation mode; auxiliary heads
            are not counted.
        blocks: Number of blocks of each kind that are taken.
        paths: Ways from the images to the logits, along every edge of the graph; a gate is held.
        shortest: Weight layers on the shortest of them.
        longest: Weight layers on the longest.
        mean: Weight layers on all of them on average, to three places.
    """

    parameters: int
    blocks: dict[str, int]
    paths: int
    shortest: int
    longest: int
    mean: float


@cache
def kept_structures() -> dict[str, Structure]:
    """The numbers of well-known architectures, counted by ``benchmarks/architectures.py``."""
    text = files("ensembles.catalogue").joinpath(_KEPT).read_text(encoding="utf-8")
    return {name: Structure(**values) for name, values in json.loads(text).items()}


def count_structure(name: str) -> Structure:
    """Take an architecture apart, with random weights, and count.

    Raises:
        ModelError: If there is no such architecture.
        DecompositionError: If it cannot be taken apart.
    """
    from ensembles.catalogue.structure import inspected  # noqa: PLC0415 (slow)
    from ensembles.unravelling.path_counts import graph_lengths  # noqa: PLC0415

    net = inspected(name)
    lengths = graph_lengths(net)
    paths = sum(lengths.values())
    mean = Fraction(sum(length * number for length, number in lengths.items()), paths)
    return Structure(
        parameters=sum(weight.numel() for weight in net.traced.parameters()),
        blocks=dict(Counter(block.kind for block in net)),
        paths=paths,
        shortest=min(lengths),
        longest=max(lengths),
        mean=round(float(mean), 3),
    )


def catalogue_row(name: str, structure: Structure | None = None) -> dict[str, Any]:
    """What there is to say of an architecture.

    Args:
        name: One of :func:`ensembles.models.list_models`.
        structure: Its numbers; by default those that are kept, if there are any.

    Returns:
        ``name``, ``family``, ``library``, ``paper``, ``input_size``, ``classes``,
        ``published_error`` in % and ``published_on``, ``public_weights`` (a list of ``name`` and
        ``error``), and the numbers of `Structure`, each None where they are not known.

    Raises:
        ModelError: If there is no such architecture.
    """
    entry = architecture(name)
    structure = structure or kept_structures().get(entry.name)
    numbers = dict.fromkeys(Structure.__dataclass_fields__)
    return {
        "name": entry.name,
        "family": entry.family,
        "library": entry.library,
        "paper": entry.paper,
        "input_size": list(entry.input_size),
        "classes": entry.num_classes,
        **(numbers if structure is None else asdict(structure)),
        "published_error": entry.published_error,
        "published_on": None if entry.published_error is None else entry.published_on,
        "public_weights": [one._asdict() for one in entry.public_weights],
    }
