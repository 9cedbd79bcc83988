"""Texts with a class each, as rows of tokens of one length."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ensembles.data.class_files import is_number
from ensembles.data.class_numbers import class_order
from ensembles.data.dataset import check_limit
from ensembles.data.sources import require_rows, spread
from ensembles.data.texts.token_codes import Tokenizer
from ensembles.errors import DataError, UsageError

__all__ = ["LabelledText", "RowTokenizer"]

_LONGEST = 512
"""Tokens of a row at most, where nobody says how many."""


class RowTokenizer(Tokenizer, Protocol):
    """A tokenizer that makes a row of tokens of each text, with the special tokens of its model."""

    def rows(self, texts: Sequence[str], length: int | None) -> list[list[int]]:
        """The ids of each text, cut to a length."""
        ...


class LabelledText(Dataset[Any]):
    """Texts and their classes; an item is (`input_ids` and `attention_mask`, label).

    Texts of fewer tokens are filled up behind, which `attention_mask` says.

    Args:
        name: Name of the data, or their file.
        split: The part; ``all`` where there are no parts.
        ids: int64 (N, T).
        mask: 1 for a token, 0 for padding, int64 (N, T).
        labels: Class numbers, int64 (N,).
        classes: Names by class number.
        named: Whether the labels are places among names, which may have other numbers in a network.
        cut: How many texts had more than T tokens, whose rest was left out.
        tokenizer: What made the ids.
        opener: Opens another split of the same data, made alike.
    """

    def __init__(
        self,
        name: str,
        split: str,
        ids: Tensor,
        mask: Tensor,
        *,
        labels: Tensor,
        classes: tuple[str, ...],
        named: bool,
        cut: int,
        tokenizer: Tokenizer,
        opener: Callable[[str], LabelledText] | None = None,
    ) -> None:
        self.name, self.split, self.tokenizer = name, split, tokenizer
        self.ids, self.mask, self.labels, self.classes = ids, mask, labels, classes
        self.named, self.cut, self._opener = named, cut, opener

    @classmethod
    def of_rows(
        cls,
        name: str,
        split: str,
        rows: Sequence[tuple[str, Any]],
        *,
        length: int | None,
        longest: int | None,
        pad: int,
        tokenizer: Tokenizer,
        opener: Callable[[str], LabelledText] | None = None,
    ) -> LabelledText:
        """Make rows of texts and labels.

        Args:
            name: Name of the data.
            split: Their part.
            rows: Text and label of each; labels are class numbers or names.
            length: Tokens of a row; by default as many as the longest text has, at most 512.
            longest: How many tokens a row may have.
            pad: The id that fills a row up.
            tokenizer: One of Hugging Face.
            opener: Opens another split.

        Raises:
            UsageError: When the tokenizer makes no rows, or a row would be too short.
            DataError: When a label is neither a number nor a name.
        """
        make = getattr(tokenizer, "rows", None)
        if make is None:
            raise UsageError(
                f"labelled texts need the tokenizer of their model, got {tokenizer.name}; pass a "
                "fast one of transformers as tokenizer="
            )
        if length is not None and length < 2:
            raise UsageError(f"rows of {length} tokens; expected at least 2")
        whole: list[list[int]] = make([text for text, _ in rows], None)
        sizes = [len(one) for one in whole]
        size = length or max(2, min(max(sizes), longest or _LONGEST, _LONGEST))
        short = make([text for text, _ in rows], size)
        ids = torch.full((len(rows), size), pad)
        mask = torch.zeros(len(rows), size, dtype=torch.int64)
        for row, found in enumerate(short):
            ids[row, : len(found)] = torch.tensor(found, dtype=torch.int64)
            mask[row, : len(found)] = 1
        labels, classes, named = _numbered([label for _, label in rows], name)
        return cls(
            name, split, ids, mask, labels=labels, classes=classes, named=named,
            cut=sum(one > size for one in sizes), tokenizer=tokenizer, opener=opener,
        )  # fmt: skip

    def __repr__(self) -> str:
        return (
            f"LabelledText({self.name!r}, {self.split!r}, {len(self):,} texts of "
            f"{self.ids.shape[1]} tokens, {len(self.classes)} classes)"
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        return self.inputs(index), int(self.labels[index])

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], int]]:
        return (self[index] for index in range(len(self)))

    def inputs(self, rows: Any) -> dict[str, Tensor]:
        """Ids and mask of some rows, as a network takes them."""
        return {"input_ids": self.ids[rows], "attention_mask": self.mask[rows]}

    @property
    def example(self) -> dict[str, Tensor]:
        """Two rows to take a network apart by, the shortest and the longest text."""
        order = self.mask.sum(1).argsort()
        return self.inputs(order[[0, -1]])

    @property
    def told(self) -> str:
        """One line on what the rows are."""
        cut = f", {self.cut:,} of them cut" if self.cut else ""
        return (
            f"texts: {self.name} ({self.split}), {len(self):,} of up to {self.ids.shape[1]} tokens "
            f"of {self.tokenizer.name} with its special tokens{cut}"
        )

    @cached_property
    def content_hash(self) -> str:
        """sha256 (hexadecimal) over ids, masks, labels and the tokenizer."""
        content = hashlib.sha256(json.dumps({"tokenizer": self.tokenizer.digest}).encode())
        for values in (self.ids, self.mask, self.labels):
            content.update(values.numpy().astype("<i8").tobytes())
        return content.hexdigest()

    def renumbered(self, numbers: Mapping[str, int], classes: Sequence[str]) -> LabelledText:
        """The same with other class numbers.

        Args:
            numbers: The number of each name.
            classes: Names by these numbers.
        """
        table = torch.tensor([numbers[name] for name in self.classes])
        opener = self._opener
        return LabelledText(
            self.name, self.split, self.ids, self.mask, labels=table[self.labels],
            classes=tuple(classes), named=False, cut=self.cut, tokenizer=self.tokenizer,
            opener=opener and (lambda split: opener(split).renumbered(numbers, classes)),
        )  # fmt: skip

    def limited(self, count: int) -> LabelledText:
        """A fixed, evenly spread part: the texts floor(i * N / count), in their order.

        Raises:
            UsageError: When ``count`` is below 1.
        """
        check_limit(count)
        if count >= len(self):
            return self
        return self._with(spread(len(self), count))

    def taken(self, rows: Sequence[int]) -> LabelledText:
        """Some of the texts, in the order in which they are named.

        Raises:
            UsageError: When there is no such text, or none is named.
        """
        require_rows(rows, len(self), "text", self.name)
        return self._with(torch.tensor(rows))

    def _with(self, rows: Tensor) -> LabelledText:
        return LabelledText(
            self.name, self.split, self.ids[rows], self.mask[rows], labels=self.labels[rows],
            classes=self.classes, named=self.named, cut=self.cut, tokenizer=self.tokenizer,
            opener=self._opener,
        )  # fmt: skip

    def of_split(self, split: str) -> LabelledText:
        """Another part of the same data, whole, made alike.

        Raises:
            DataError: When there is none.
        """
        if self._opener is None:
            raise DataError(
                f"{self.name} ({self.split}) has no split {split!r}; give those data themselves"
            )
        return self._opener(split)


def _numbered(values: Sequence[Any], name: str) -> tuple[Tensor, tuple[str, ...], bool]:
    """Class numbers, names by number, and whether names were all that there was."""
    texts = [str(int(one)) if isinstance(one, bool) else str(one).strip() for one in values]
    wrong = next(
        (n for n, one in enumerate(values) if not isinstance(one, str | int) or not texts[n]), None
    )
    if wrong is not None:
        raise DataError(
            f"{name}, text {wrong + 1}: the label is {values[wrong]!r}; expected a class number or "
            "the name of a class"
        )
    if all(map(is_number, texts)):
        numbers = torch.tensor([int(one) for one in texts])
        return numbers, tuple(map(str, range(int(numbers.max()) + 1))), False
    names = class_order(sorted(set(texts)))
    place = {one: number for number, one in enumerate(names)}
    return torch.tensor([place[one] for one in texts]), names, True
