"""One way to open any data, images or text."""

from __future__ import annotations

import os
from typing import Any

from ensembles.data.any_dataset import dataset as open_images
from ensembles.data.dataset import ImageDataset
from ensembles.data.texts import TextDataset, is_text, open_text
from ensembles.data.texts.hub_tokens import as_tokenizer

__all__ = ["dataset"]

_OF_TEXT = ("window", "stride", "front", "tokenizer", "column")


def dataset(
    name_or_folder: str | os.PathLike[str],
    split: str = "test",
    *,
    limit: int | None = None,
    **options: Any,
) -> ImageDataset | TextDataset:
    """Open a data set: images by name or folder, or a text.

    Args:
        name_or_folder: As for :func:`ensembles.data.dataset` (``digits``, ``cifar10``, a folder of
            images, ...); or ``prose``, ``docstrings``, a file of text, or, with one of the options
            of a text, a folder of these.
        split: The part.
        limit: At most so many images or windows, spread evenly.
        **options: Of images ``normalize``, ``root``, ``download``, ``image_size`` and
            ``preprocessing``, as :func:`ensembles.data.dataset` takes them; of a text ``window``,
            ``stride``, ``front`` and ``column``, as :func:`ensembles.data.texts.open_text` does,
            and ``tokenizer``, which may be a fast one of transformers.

    Returns:
        Images with labels, or windows of tokens, in a fixed order.

    Raises:
        DataError: When the data, the split or a file is missing, misplaced or damaged.
        UsageError: When an option cannot be meant.

    >>> dataset("prose", window=64, limit=3).windows.shape
    torch.Size([3, 64])
    """
    if is_text(name_or_folder) or any(name in options for name in _OF_TEXT):
        if "tokenizer" in options:
            options["tokenizer"] = as_tokenizer(options["tokenizer"])
        return open_text(name_or_folder, split, limit=limit, **options)
    return open_images(name_or_folder, split, limit=limit, **options)
