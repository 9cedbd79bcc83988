"""Predicting tokens behind masks: ids in, some of them masked, logits for each place out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensembles.errors import DataError
from ensembles.tasks.token_items import TokenInputs
from ensembles.tasks.tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.data.texts import TextDataset

__all__ = ["MEMBER", "Masked"]


@dataclass(frozen=True)
class Masked(Tokens):
    """The tokens behind masks, all masks of a window at once; an observation is a masked token.

    The network takes windows in which some tokens are replaced by its mask token, (N, T), and
    gives logits (N, T, vocabulary). The targets are int64 (N, T): the id that was there at a
    masked place, -100 elsewhere, as transformers' collator for language modelling gives them.
    """

    name = "masked"
    summary = "tokens behind masks: ids with masks in, logits for each place out"
    kind_of_network = "a masked language model"

    def aligned(self, output: Tensor) -> Tensor:
        """The logits of all places."""
        return output

    def of_text(self, data: TextDataset) -> Any:
        """The windows of a text with their masks, and what is behind these."""
        if data.task != self.name:
            raise DataError(
                f"{data.name} was opened without masks, and {self.kind_of_network} predicts what "
                "is behind them; open it with ensembles.dataset(..., masked=0.15)"
            )
        return data

    def targets(self, inputs: TokenInputs, labels: Tensor | None, number: int) -> Tensor:
        """The labels of an item."""
        if labels is None or not bool((labels >= 0).any()):
            found = "no labels" if labels is None else "no label but -100"
            raise DataError(
                f"item {number} of the data has {found}; expected a mapping with input_ids, some "
                "of them masked, and labels: the ids behind the masks, -100 elsewhere"
            )
        return labels


MEMBER = Masked()
