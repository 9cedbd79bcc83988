"""What a result tells of the data that it was measured on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast

from ensembles.data import ImageDataset
from ensembles.data.texts import LabelledText, MaskedText, TextDataset
from ensembles.decomposition import Decomposition
from ensembles.errors import DataWarning

__all__ = ["ROWS", "about_data", "about_text", "about_used", "doubt_places", "name_of"]

ROWS = ("images", "windows", "texts")
"""What the rows of data are, as a provenance counts them."""


def about_data(data: Any) -> dict[str, object]:
    """What is known of data: of one of our data sets all, of others nothing."""
    if isinstance(data, TextDataset | LabelledText):
        return about_text(data)
    if not isinstance(data, ImageDataset):
        return {}
    return {
        "dataset": data.name,
        "split": data.split,
        "images": len(data),
        "normalization": str(data.normalization),
        "preprocessing": data.preprocessing.pixels,
        "content_hash": data.content_hash,
    }


def about_used(told: Mapping[str, object], used: int) -> dict[str, int]:
    """How many rows of data were used, and of how many where that is fewer.

    Args:
        told: What :func:`about_data` tells of the data, of which some rows were used.
        used: How many.

    Returns:
        ``images``, ``windows`` or ``texts``, by the kind of data, and if there are more also
        ``images_total``, ``windows_total`` or ``texts_total``; of unknown data nothing.
    """
    known = next((name for name in ROWS if isinstance(told.get(name), int)), None)
    if known is None:
        return {}
    total = cast(int, told[known])
    return {known: used, **({f"{known}_total": total} if used < total else {})}


def about_text(data: Any) -> dict[str, object]:
    """What is known of a text, and how it was cut; of other data nothing."""
    if isinstance(data, TextDataset):
        return {
            "dataset": data.name,
            "split": data.split,
            "windows": len(data),
            "window": data.cut.length,
            "stride": data.cut.step,
            "front": data.cut.front,
            "tokenizer": data.tokenizer.name,
            "bytes_per_token": data.bytes_per_token,
            "content_hash": data.content_hash,
            **_about_masks(data),
        }
    if isinstance(data, LabelledText):
        return {
            "dataset": data.name,
            "split": data.split,
            "texts": len(data),
            "window": data.ids.shape[1],
            "cut": data.cut,
            "tokenizer": data.tokenizer.name,
            "content_hash": data.content_hash,
        }
    return {}


def _about_masks(data: TextDataset) -> dict[str, object]:
    if not isinstance(data, MaskedText):
        return {}
    return {"masked": data.masks.share, "mask_seed": data.masks.seed}


def name_of(data: Any) -> str | None:
    """The name of the data set; None where it has none."""
    return data.name if isinstance(data, ImageDataset | TextDataset | LabelledText) else None


def doubt_places(net: Decomposition, data: Any) -> None:
    """Warn where labels are places among fewer names than the network has classes."""
    if not isinstance(data, ImageDataset) or not data.named or len(net.output_shape) != 1:
        return
    known, classes = data.classes, max(2, net.output_shape[0])
    if len(known) < classes:
        warnings.warn(
            f"the labels of {data.name} are places among its {len(known):,} names "
            f"({', '.join(known[:3])}), and the network has {classes:,} classes, whose numbers may "
            "be others; say which each is with data.renumbered({name: number}, names)",
            DataWarning,
            stacklevel=4,
        )
