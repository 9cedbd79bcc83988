"""A text cut into windows of one number of tokens, in a fixed order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ensembles.data.dataset import check_limit
from ensembles.data.sources import require_rows, spread
from ensembles.data.texts.token_codes import Encoded, Tokenizer
from ensembles.errors import DataError, UsageError

__all__ = ["TextDataset", "Windows"]


@dataclass(frozen=True)
class Windows:
    """How a text is cut.

    Attributes:
        length: Tokens of a window, what is put in front included.
        stride: Tokens from the start of a window to that of the next; by default windows lie one
            after the other, and a token is in one of them. With less, tokens are in several and
            count in each.
        front: The id of a token that is put in front of each window; none by default.
    """

    length: int
    stride: int | None = None
    front: int | None = None

    def __post_init__(self) -> None:
        if self.length < 2:
            raise UsageError(f"windows of {self.length} tokens; expected at least 2")
        if self.stride is not None and self.stride < 1:
            raise UsageError(f"a stride of {self.stride} tokens; expected at least 1")

    @property
    def taken(self) -> int:
        """Tokens of the text in a window."""
        return self.length - (self.front is not None)

    @property
    def step(self) -> int:
        """Tokens from a window to the next."""
        return self.taken if self.stride is None else self.stride

    def __str__(self) -> str:
        front = "" if self.front is None else f", token {self.front} in front of each"
        return f"windows of {self.length} tokens, every {self.step}{front}"


class TextDataset(Dataset[Tensor]):
    """Windows of a text: each item is the ids of one, int64 (T,).

    Args:
        name: Name of the text, or its file.
        split: The part of it; ``all`` where there are no parts.
        windows: The ids, int64 (N, T).
        sizes: How many bytes of the text each token stands for, (N, T); 0 for what was put in
            front.
        cut: How the text was cut.
        tokenizer: What made the ids.
        opener: Opens another split of the same text, cut alike.

    Attributes:
        task: The task that the data are for, where it is not the next token.
    """

    task: str | None = None

    def __init__(
        self,
        name: str,
        split: str,
        windows: Tensor,
        sizes: Tensor,
        *,
        cut: Windows,
        tokenizer: Tokenizer,
        opener: Callable[[str], TextDataset] | None = None,
    ) -> None:
        self.name, self.split, self.cut, self.tokenizer = name, split, cut, tokenizer
        self.windows, self.sizes = windows, sizes
        self._opener = opener

    @classmethod
    def of_text(
        cls,
        name: str,
        split: str,
        encoded: Encoded,
        cut: Windows,
        *,
        tokenizer: Tokenizer,
        opener: Callable[[str], TextDataset] | None = None,
    ) -> TextDataset:
        """Cut a text; what is left at its end is left out.

        Raises:
            DataError: When the text is shorter than a window.
        """
        if len(encoded.ids) < cut.taken:
            raise DataError(
                f"{name} ({split}) has {len(encoded.ids):,} tokens ({tokenizer.name}), fewer than "
                f"a window of {cut.taken}; give a longer text, or shorter windows by --window"
            )
        ids, sizes = (
            torch.from_numpy(values).unfold(0, cut.taken, cut.step).contiguous()
            for values in encoded
        )
        if cut.front is not None:
            front = ids.new_full((len(ids), 1), cut.front)
            ids = torch.cat([front, ids], 1)
            sizes = torch.cat([torch.zeros_like(front), sizes], 1)
        return cls(name, split, ids, sizes, cut=cut, tokenizer=tokenizer, opener=opener)

    def __repr__(self) -> str:
        return (
            f"TextDataset({self.name!r}, {self.split!r}, {len(self):,} {self.cut}, "
            f"{self.tokenizer.name})"
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Tensor:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        return self.windows[index]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.windows)

    @property
    def bytes_per_token(self) -> float:
        """Bytes of the text that a predicted token stands for, on average.

        Predicted are the tokens from the second of each window on.
        """
        predicted = self.sizes[:, 1:]
        return float(predicted.sum()) / predicted.numel()

    @cached_property
    def content_hash(self) -> str:
        """sha256 (hexadecimal) over ids, bytes, the tokenizer, and how the text was cut."""
        about = {"cut": asdict(self.cut), "tokenizer": self.tokenizer.digest}
        content = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for values in (self.windows, self.sizes):
            content.update(values.numpy().astype("<i8").tobytes())
        return content.hexdigest()

    @property
    def told(self) -> str:
        """One line on what the windows are, and what is put in front of them."""
        front = (
            "nothing in front"
            if self.cut.front is None
            else f"token {self.cut.front} in front of each"
        )
        return (
            f"text: {self.name} ({self.split}), {len(self):,} windows of {self.cut.length} tokens "
            f"of {self.tokenizer.name}, every {self.cut.step} tokens, {front}"
        )

    def limited(self, count: int) -> TextDataset:
        """A fixed, evenly spread part: the windows floor(i * N / count), in their order.

        Raises:
            UsageError: When ``count`` is below 1.
        """
        check_limit(count)
        if count >= len(self):
            return self
        return self._with(spread(len(self), count))

    def taken(self, rows: Sequence[int]) -> TextDataset:
        """Some of the windows, in the order in which they are named.

        Raises:
            UsageError: When there is no such window, or none is named.
        """
        require_rows(rows, len(self), "window", self.name)
        return self._with(torch.tensor(rows))

    def of_split(self, split: str) -> TextDataset:
        """Another part of the same text, whole, cut alike.

        Raises:
            DataError: When there is none.
        """
        if self._opener is None:
            raise DataError(
                f"{self.name} ({self.split}) was made from windows in memory, and has no split "
                f"{split!r}; give those data themselves"
            )
        other = self._opener(split)
        if other.split != split:
            raise DataError(f"{self.name} has no split {split!r}, only {other.split!r}")
        return other

    def _with(self, rows: Tensor) -> TextDataset:
        return TextDataset(
            self.name,
            self.split,
            self.windows[rows],
            self.sizes[rows],
            cut=self.cut,
            tokenizer=self.tokenizer,
            opener=self._opener,
        )
