"""One way to open any data, images or text."""

from __future__ import annotations

from typing import Any

from ensembles.data.any_dataset import dataset as open_images
from ensembles.data.dataset import ImageDataset
from ensembles.data.texts import (
    LabelledText,
    MaskedText,
    Masks,
    TextDataset,
    is_text,
    open_labelled,
    open_text,
)
from ensembles.data.texts.hub_datasets import is_hub_dataset
from ensembles.data.texts.hub_tokens import as_tokenizer
from ensembles.errors import UsageError

__all__ = ["dataset"]

_OF_TEXT = ("window", "stride", "front", "tokenizer", "column", "masked", "mask_seed")


def dataset(
    name_or_folder: Any,
    split: str = "test",
    *,
    limit: int | None = None,
    **options: Any,
) -> ImageDataset | TextDataset | LabelledText:
    """Open a data set: images by name or folder, or a text.

    Args:
        name_or_folder: As for :func:`ensembles.data.dataset` (``digits``, ``cifar10``, a folder of
            images, ...); or ``prose``, ``docstrings``, a file of text, or, with one of the options
            of a text, a folder of these; or a ``Dataset`` or ``DatasetDict`` of the package
            datasets, whose column ``text`` (or that of ``column``) is the text.
        split: The part.
        limit: At most so many images or windows, spread evenly.
        **options: Of images ``normalize``, ``root``, ``download``, ``image_size`` and
            ``preprocessing``, as :func:`ensembles.data.dataset` takes them; of a text ``window``,
            ``stride``, ``front`` and ``column``, as :func:`ensembles.data.texts.open_text` does,
            and ``tokenizer``, which may be a fast one of transformers. With ``masked``, the share
            of tokens that are masked, and ``mask_seed`` (0) the windows are for a masked language
            model; with ``tokenizer`` and ``labels``, the column of the labels, each text is a row
            with a class, as :func:`ensembles.data.texts.open_labelled` makes it.

    Returns:
        Images with labels, windows of tokens, or rows of tokens with labels, in a fixed order.

    Raises:
        DataError: When the data, the split or a file is missing, misplaced or damaged.
        UsageError: When an option cannot be meant.

    >>> dataset("prose", window=64, limit=3).windows.shape
    torch.Size([3, 64])
    """
    objects = is_hub_dataset(name_or_folder)
    if objects or is_text(name_or_folder) or any(name in options for name in _OF_TEXT):
        if "tokenizer" in options:
            options["tokenizer"] = as_tokenizer(options["tokenizer"])
            if "labels" in options:
                return open_labelled(name_or_folder, split, limit=limit, **options)
        share, seed = options.pop("masked", None), options.pop("mask_seed", 0)
        if share is None:
            return open_text(name_or_folder, split, limit=limit, **options)
        token = getattr(options.get("tokenizer"), "mask", None)
        if token is None:
            raise UsageError(
                "masked places need a tokenizer with a mask token; pass that of a masked language "
                "model as tokenizer="
            )
        masked = MaskedText(open_text(name_or_folder, split, **options), Masks(token, share, seed))
        return masked if limit is None else masked.limited(limit)
    return open_images(name_or_folder, split, limit=limit, **options)
