"""What is done to blocks, as frozen values, and how such values are drawn.

A lesion names blocks by their number, from 1 as in the published data, and knows nothing
of the network that it will be applied to; :meth:`Lesion.program` says which blocks run, in
which order, once their number is known. Running programs is the evaluation's work.

The lesions are those of Veit, Wilber and Belongie, "Residual Networks Behave Like Ensembles
of Relatively Shallow Networks" (NIPS 2016, arXiv 1605.06431), sections 4.1 to 4.3, and the loss of
one of the roads that meet in a block, as in drop-path (Larsson et al. 2016, section 3).
"""

from __future__ import annotations

from ensembles.lesions.choice import Choice
from ensembles.lesions.draws import (
    intact,
    random_deletions,
    random_drops,
    random_duplications,
    random_swaps,
    single_deletions,
    single_drops,
)
from ensembles.lesions.shapes import Shape, check, exchangeable
from ensembles.lesions.text import (
    parse_blocks,
    parse_counts,
    parse_lesion,
    parse_roads,
    read_plan,
)
from ensembles.lesions.values import KINDS, Kind, Lesion, Program, Visit

__all__ = [
    "KINDS",
    "Choice",
    "Kind",
    "Lesion",
    "Program",
    "Shape",
    "Visit",
    "check",
    "exchangeable",
    "intact",
    "parse_blocks",
    "parse_counts",
    "parse_lesion",
    "parse_roads",
    "random_deletions",
    "random_drops",
    "random_duplications",
    "random_swaps",
    "read_plan",
    "single_deletions",
    "single_drops",
]
