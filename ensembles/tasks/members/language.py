"""Predicting the next token: ids in, logits for each token out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensembles.errors import DataError
from ensembles.tasks.base import Batch
from ensembles.tasks.foresight import sees_ahead
from ensembles.tasks.token_items import IGNORED, MASK, TokenInputs, ids_of
from ensembles.tasks.tokens import Tokens

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.data.texts import TextDataset
    from ensembles.decomposition import Decomposition

__all__ = ["MEMBER", "Language"]


@dataclass(frozen=True)
class Language(Tokens):
    """The next token; an observation is a token.

    The network takes the ids of windows of T tokens, (N, T), and gives logits (N, T, vocabulary).
    The observations are the tokens 2 to T of each window, each predicted from those before it in
    the window; no token is added, and padding, told by `attention_mask`, is not counted. The
    targets are the ids from the second on, int64 (N, T - 1), -100 for padding.
    """

    name = "language"
    summary = "the next token: ids in, logits for each token out"
    kind_of_network = "a language model"

    def aligned(self, output: Tensor) -> Tensor:
        """The logits of all places but the last, behind which nothing follows."""
        return output[:, :-1]

    def of_text(self, data: TextDataset) -> Any:
        """The windows of a text."""
        if data.task not in (None, self.name):
            raise DataError(
                f"{data.name} is a text for the task '{data.task}', and the next token was to be "
                "predicted; open it without masked places, or leave the task out"
            )
        return data.windows

    def targets(self, inputs: TokenInputs, labels: Tensor | None, number: int) -> Tensor:
        """The ids that follow, where neither they nor those before them are padding."""
        import torch  # noqa: PLC0415

        ids = ids_of(inputs)
        found = ids[:, 1:]
        if labels is not None:
            if not torch.equal(torch.where(labels >= 0, labels, ids), ids):
                raise DataError(
                    f"item {number} of the data has labels that are not its input_ids; leave them "
                    "out: all tokens from the second on are predicted (for a network that predicts "
                    "tokens behind masks say task='masked')"
                )
            found = torch.where(labels[:, 1:] >= 0, found, IGNORED)
        if isinstance(inputs, dict) and MASK in inputs:
            mask = inputs[MASK].bool()
            found = torch.where(mask[:, 1:] & mask[:, :-1], found, IGNORED)
        return found

    def check(self, net: Decomposition, batch: Batch) -> None:
        """As for all tasks of tokens; and the network must not see what it predicts.

        Raises:
            DataError: Saying what was found and what would fit.
        """
        super().check(net, batch)
        if sees_ahead(net, batch.inputs):
            raise DataError(
                f"{net.model_name} is an encoder: its answers at a place change with the tokens "
                "behind it, so that it sees what it would have to predict; give a decoder, or mask "
                "the tokens to predict and say task='masked'"
            )


MEMBER = Language()
