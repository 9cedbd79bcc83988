"""How many bits a language model needs for a byte of the text."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensembles.errors import UsageError
from ensembles.metrics.base import Column, Metric, State

if TYPE_CHECKING:
    from torch import Tensor

    from ensembles.metrics.answers import Answers

__all__ = ["MEMBER", "Bits"]


@dataclass(frozen=True)
class Bits(Metric):
    """Bits a byte: the sum of the cross-entropies in bits over the bytes of the predicted tokens.

    Unlike loss and perplexity it can be compared between models with different tokens. Kept: the
    sum of the cross-entropies in nats, and the bytes.

    Attributes:
        bytes_per_token: Bytes of the text, as UTF-8, that a predicted token stands for on average;
            None where the text is not known.
    """

    name = "bits"
    summary = "bits a byte of the text"
    columns = (Column("bits", "number", "less", "Bits a byte"),)
    span = (0, math.inf)
    tasks = ("language", "masked")

    bytes_per_token: float | None = None

    def suited(self, net: Any, data: Any) -> Metric:
        """The metric for a text.

        Raises:
            UsageError: If the data do not say which bytes their tokens stand for.
        """
        found = getattr(data, "bytes_per_token", None)
        if not found:
            raise UsageError(
                "bits a byte need the text, and the data hold ids of tokens alone; leave the "
                "metric 'bits' out, or open the text with ensembles.dataset"
            )
        return replace(self, bytes_per_token=float(found))

    @property
    def bare(self) -> Metric:
        """The metric of no text or network yet."""
        return replace(self, bytes_per_token=None)

    def size(self, classes: int) -> int:
        """Two numbers."""
        return 2

    def measure(self, answers: Answers) -> Tensor:
        """Sum of the cross-entropies, and bytes, (2,)."""
        import torch  # noqa: PLC0415

        size = torch.full_like(answers.losses, self.bytes_per_token or 0.0)
        return answers.total(torch.stack([answers.losses, size], 1))

    def row(self, state: State, total: int) -> dict[str, Any]:
        """Bits over bytes."""
        nats, size = float(state[0]), float(state[1])
        return {"bits": nats / math.log(2) / size if size else math.nan}

    def possible(self, states: State, finite: Any, per_class: Any) -> Any:
        """Which states can have been kept; nothing bounds the bytes of a token."""
        return np.asarray((states >= 0).all(axis=1))


MEMBER = Bits()
