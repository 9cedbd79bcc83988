"""Windows of a text in which some tokens are behind masks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ensembles.data.texts.windows import TextDataset
from ensembles.errors import UsageError

__all__ = ["MaskedText", "Masks"]

_NONE = -100


@dataclass(frozen=True)
class Masks:
    """Which places of each window are masked.

    In each window the same number of places is drawn without replacement, all equally likely, what
    is put in front never: the share of its tokens, rounded, at least one. Each is replaced by the
    mask token, all at once. The draws are those of ``numpy.random.default_rng(seed)``, window
    after window of the whole text, so that a part of the windows has the same masks.

    Attributes:
        token: The id of the mask token.
        share: The share of the tokens of a window, above 0, up to 1.
        seed: Seed of the draws.
    """

    token: int
    share: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UsageError(f"a share of {self.share:g} masked tokens; expected above 0, up to 1")

    def drawn(self, data: TextDataset) -> Tensor:
        """Which tokens of each window are masked, bool (N, T)."""
        first = 0 if data.cut.front is None else 1
        count, length = data.windows.shape
        size = max(1, round(self.share * (length - first)))
        draws = np.random.default_rng(self.seed).random((count, length - first))
        places = np.argpartition(draws, size - 1, axis=1)[:, :size] + first
        return torch.zeros(count, length).scatter_(1, torch.from_numpy(places), 1).bool()

    def __str__(self) -> str:
        return f"{100 * self.share:g} % of each masked at once (seed {self.seed})"


class MaskedText(TextDataset):
    """Windows whose masked tokens are to be predicted: each item is `input_ids` and `labels`.

    Args:
        data: The windows.
        masks: How places are drawn.
        chosen: Which are, bool (N, T); by default they are drawn now.
    """

    task = "masked"

    def __init__(self, data: TextDataset, masks: Masks, chosen: Tensor | None = None) -> None:
        super().__init__(
            data.name, data.split, data.windows, data.sizes, cut=data.cut,
            tokenizer=data.tokenizer, opener=lambda split: MaskedText(data.of_split(split), masks),
        )  # fmt: skip
        self.masks = masks
        self.chosen = masks.drawn(data) if chosen is None else chosen

    def __getitem__(self, index: int) -> Any:
        super().__getitem__(index)
        ids, chosen = self.windows[index], self.chosen[index]
        return {
            "input_ids": ids.masked_fill(chosen, self.masks.token),
            "labels": ids.masked_fill(~chosen, _NONE),
        }

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    @property
    def bytes_per_token(self) -> float:
        """Bytes of the text that a masked token stands for, on average."""
        return float(self.sizes[self.chosen].sum()) / int(self.chosen.sum())

    @cached_property
    def content_hash(self) -> str:
        """sha256 (hexadecimal) over the windows and their masks."""
        content = hashlib.sha256(f"{super().content_hash} {self.masks.token}".encode())
        content.update(self.chosen.numpy().tobytes())
        return content.hexdigest()

    @property
    def told(self) -> str:
        """One line on what the windows are, and which tokens are masked."""
        return f"{super().told}; {self.masks}"

    def _with(self, rows: Tensor) -> MaskedText:
        return MaskedText(super()._with(rows), self.masks, self.chosen[rows])
