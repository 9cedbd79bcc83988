"""Blocks whose branch loses a part of what it adds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ensembles.lesions import Mark, Recipe, Variation, Words, setting


@dataclass(frozen=True)
class Dim(Variation):
    """Take away a share of the branch; the text is such as "4 d0.25"."""

    amount: float = setting("Share of the branch that is taken away.", 0.5)

    kind = "dim"
    summary = "a share of the branch is taken away"
    words = Words("Dimmed block", "Number of dimmed blocks", "dimmed")
    example = "blocks and a share such as 4 d0.25"
    forms = (Mark("amount", re.compile(r"d([0-9.]+)"), float),)
    needs_shortcut = True

    @property
    def marks(self):
        return (f"d{self.amount!r}",)

    def recipe(self, block):
        return Dimmed(self.amount)


@dataclass(frozen=True)
class Dimmed(Recipe):
    amount: float

    @property
    def text(self):
        return f"dim d{self.amount!r}"

    def variant(self, block, materials):
        return block.scaled(1 - self.amount)
