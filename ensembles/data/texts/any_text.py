"""One way to open any text: by its name, or by its file or folder."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ensembles.data.splits import choose_split
from ensembles.data.texts.embedded_texts import EMBEDDED, documents
from ensembles.data.texts.hub_datasets import (
    documents_of,
    is_hub_dataset,
    labelled_of,
    part_of,
    title_of,
)
from ensembles.data.texts.labelled_text import LabelledText
from ensembles.data.texts.text_files import read_documents, read_labelled
from ensembles.data.texts.token_codes import BYTES, Encoded, Tokenizer
from ensembles.data.texts.token_files import kept
from ensembles.data.texts.windows import TextDataset, Windows
from ensembles.errors import DataError, UsageError, nearest
from ensembles.files import home_expanded
from ensembles.text_names import TEXTS, is_text

__all__ = ["TEXTS", "is_text", "open_labelled", "open_text"]

_BETWEEN = "\n\n"


def open_text(
    name: Any,
    split: str = "test",
    *,
    window: int = 256,
    stride: int | None = None,
    front: int | None = None,
    tokenizer: Tokenizer = BYTES,
    column: str | None = None,
    limit: int | None = None,
) -> TextDataset:
    """Open a text as windows of tokens.

    The documents of a part are joined by an empty line and cut into tokens as one text, nothing
    added; what is left after the last whole window is left out. Tokens are kept on disk, by the
    sha256 of text and tokenizer.

    Args:
        name: ``prose`` (descriptions of scikit-learn's data sets), ``docstrings`` (of
            scikit-learn); a file of UTF-8; a table (``.csv``, ``.jsonl``, ``.parquet``,
            ``.arrow``); or a folder of these. A name wins over a file of that name; write
            ``./prose`` then. Or an object of the package datasets (``Dataset``, ``DatasetDict``).
        split: The part, where there are several.
        window: Tokens of a window.
        stride: Tokens from a window to the next; by default windows lie one after the other.
        front: The id of a token to put in front of each window; none by default.
        tokenizer: What cuts the text into tokens; by default each byte is one.
        column: The column of a table that holds the text; ``text`` by default.
        limit: At most so many windows, spread evenly.

    Raises:
        DataError: When there is no such text, part or column, or it is shorter than a window.
        UsageError: When a number cannot be meant.
    """
    cut = Windows(window, stride, front)
    opener = partial(
        open_text, name, window=window, stride=stride, front=front, tokenizer=tokenizer,
        column=column,
    )  # fmt: skip
    title = title_of(name) if is_hub_dataset(name) else str(name)
    if title in EMBEDDED and not is_hub_dataset(name):
        if column is not None:
            raise UsageError(f"{name} is no table, so it has no column {column!r}; leave it out")
        part = choose_split(split, ("train", "test"), str(name))
        encoded = _embedded(str(name), part, tokenizer)
    elif is_hub_dataset(name):
        part, table = part_of(name, split)
        encoded = _tokens(_BETWEEN.join(documents_of(table, column)), tokenizer)
    else:
        part, found = read_documents(_path(name), split, column)
        encoded = _tokens(_BETWEEN.join(found), tokenizer)
    data = TextDataset.of_text(title, part, encoded, cut, tokenizer=tokenizer, opener=opener)
    return data if limit is None else data.limited(limit)


def open_labelled(
    name: Any,
    split: str = "test",
    *,
    labels: str | None = None,
    column: str | None = None,
    window: int | None = None,
    longest: int | None = None,
    pad: int | None = None,
    tokenizer: Tokenizer,
    limit: int | None = None,
) -> LabelledText:
    """Open a table of texts and labels as rows of tokens of one length.

    Each text becomes one row by the tokenizer's own template, special tokens included.

    Args:
        name: A table (``.csv``, ``.jsonl``, ``.parquet``, ``.arrow``), a folder of such, or an
            object of the package datasets.
        split: The part, where there are several.
        labels: The column of the labels, class numbers or names; ``label`` by default.
        column: The column of the texts; ``text`` by default.
        window: Tokens of a row; by default as many as the longest text has, at most 512.
        longest: How many tokens a row may have by default.
        pad: The id that fills a row up; by default the tokenizer's own, else 0.
        tokenizer: A fast one of transformers, as :func:`as_tokenizer` makes it one of ours.
        limit: At most so many texts, spread evenly.

    Raises:
        DataError: When there is no such table, part or column.
        UsageError: When the tokenizer makes no rows, or a number cannot be meant.
    """
    title = str(name)
    if is_hub_dataset(name):
        part, table = part_of(name, split)
        title, found = title_of(name), labelled_of(table, column, labels)
    else:
        part, found = read_labelled(_path(name), split, column, labels)
    fill = getattr(tokenizer, "pad", None) if pad is None else pad
    data = LabelledText.of_rows(
        title, part, found, length=window, longest=longest, pad=fill or 0, tokenizer=tokenizer,
        opener=partial(
            open_labelled, name, labels=labels, column=column, window=window, longest=longest,
            pad=pad, tokenizer=tokenizer,
        ),
    )  # fmt: skip
    return data if limit is None else data.limited(limit)


def _path(name: str | os.PathLike[str]) -> Path:
    """Where a text lies that is none by name."""
    path = home_expanded(name)
    if not str(name).strip() or (os.sep not in str(name) and not path.exists()):
        raise DataError(
            f"no text or file {str(name)!r}; known are {', '.join(TEXTS)}"
            f"{nearest(str(name).lower(), TEXTS)}"
        )
    return path


def _embedded(name: str, split: str, tokenizer: Tokenizer) -> Encoded:
    """The tokens of an embedded text, kept by the version of the package that it comes with."""

    def made() -> Encoded:
        return tokenizer.encode(_BETWEEN.join(text for _, text in documents(name, split)))

    return kept(f"{name} {split} of scikit-learn {version('scikit-learn')}", tokenizer, made)


def _tokens(text: str, tokenizer: Tokenizer) -> Encoded:
    content = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return kept(content, tokenizer, lambda: tokenizer.encode(text))
