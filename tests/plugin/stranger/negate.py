"""Blocks whose branch is subtracted instead of added."""

from __future__ import annotations

from dataclasses import dataclass

from ensembles.lesions import Recipe, Variation, Words


@dataclass(frozen=True)
class Negate(Variation):
    """Subtract the branch."""

    kind = "negate"
    summary = "the branch is subtracted"
    words = Words("Negated block", "Number of negated blocks", "negated")
    needs_shortcut = True

    def recipe(self, block):
        return Negative()


@dataclass(frozen=True)
class Negative(Recipe):
    text = "negate"

    def variant(self, block, materials):
        return block.scaled(-1.0)
