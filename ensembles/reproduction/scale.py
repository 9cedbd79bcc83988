"""How much is measured: a quick look, or enough to hold against the published numbers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "Scale"]


@dataclass(frozen=True)
class Scale:
    """Sizes of all experiments.

    Attributes:
        quick: Whether it is a quick look.
        images: Images that each lesion is measured on; all where None.
        deletions: Random deletions for each number of blocks, 1 to 20 (figure 5a).
        reorderings: Random reorderings for each number of swaps, 1 to 10 (figure 5b).
        duplications: Random duplications for each number of blocks, 1 to 10.
        replayed: Published lesions of each kind that are replayed.
        path_images: Images of the path analysis.
        signs: Draws of random signs for each of them.
        samples: Drawn paths of each length for each of them.
    """

    quick: bool
    images: int | None
    deletions: int
    reorderings: int
    duplications: int
    replayed: int
    path_images: int
    signs: int
    samples: int


QUICK = Scale(
    quick=True, images=120, deletions=6, reorderings=8, duplications=5, replayed=25,
    path_images=4, signs=16, samples=20,
)  # fmt: skip
FULL = Scale(
    quick=False, images=None, deletions=25, reorderings=50, duplications=20, replayed=400,
    path_images=16, signs=64, samples=63,
)  # fmt: skip
