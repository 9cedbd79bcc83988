"""What a result tells of the data that it was measured on."""

from __future__ import annotations

from typing import Any

from ensembles.data import ImageDataset
from ensembles.data.texts import TextDataset

__all__ = ["about_data", "about_text", "name_of"]


def about_data(data: Any) -> dict[str, object]:
    """What is known of data: of one of our data sets all, of others nothing."""
    if isinstance(data, TextDataset):
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
        }
    return {}


def name_of(data: Any) -> str | None:
    """The name of the data set; None where it has none."""
    return data.name if isinstance(data, ImageDataset | TextDataset) else None
