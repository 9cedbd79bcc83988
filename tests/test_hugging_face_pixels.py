"""Our pixels held against those of Hugging Face's own image processors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ensembles.cards import Card
from ensembles.checkpoints.pixel_records import of_card, of_hugging_face, written
from ensembles.data.decode import prepared
from ensembles.errors import CheckpointError

SIDE, CROP = {"height": 64, "width": 64}, {"height": 49, "width": 49}
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("ViT", {"size": SIDE}),
    ("ConvNext", {"size": {"shortest_edge": 48}, "crop_pct": 0.95}),
    ("DeiT", {"size": SIDE, "crop_size": CROP}),
    ("Beit", {"size": SIDE, "crop_size": CROP, "do_center_crop": True}),
    ("EfficientNet", {"size": SIDE}),
    ("EfficientNet", {"size": SIDE, "include_top": False, "resample": 0}),
    ("MobileNetV1", {"size": {"shortest_edge": 64}, "crop_size": CROP}),
    ("MobileNetV2", {"size": {"shortest_edge": 64}, "crop_size": CROP}),
    ("MobileViT", {"size": {"shortest_edge": 44}, "crop_size": CROP}),
    ("Levit", {"size": {"shortest_edge": 56}, "crop_size": CROP}),
    ("CLIP", {"size": {"shortest_edge": 49}, "crop_size": CROP}),
    ("Siglip", {"size": SIDE}),
    ("PoolFormer", {"size": {"shortest_edge": 49}, "crop_size": CROP}),
    ("PoolFormer", {"size": {"shortest_edge": 49}, "crop_size": CROP, "crop_pct": None}),
    ("Pvt", {"size": SIDE}),
    ("Bit", {"size": {"shortest_edge": 49}, "crop_size": CROP}),
]
PICTURES = [
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    for size in ((80, 71), (45, 100))
]


def processor(kind: str, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A processor that resizes by Pillow, and what its file holds."""
    transformers = pytest.importorskip("transformers")
    name = f"{kind}ImageProcessor"
    made = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    made = made(**options)
    return made, {**made.to_dict(), "image_processor_type": name}


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_pixels_are_those_of_the_processor(kind: str, options: dict[str, Any]) -> None:
    made, values = processor(kind, options)
    how = of_hugging_face(values)
    assert how.normalization is not None
    for picture in PICTURES:
        pixels = torch.from_numpy(prepared(picture, how).copy()).permute(2, 0, 1)
        theirs = made(picture, return_tensors="pt")["pixel_values"][0]
        assert torch.equal(how.normalization(pixels), theirs)


@pytest.mark.parametrize(
    "kind", ["VideoMAE", "Perceiver", "ImageGPT", "TextNet", "Siglip2", "GLPN", "Vilt"]
)
def test_processors_that_do_more_are_refused(kind: str) -> None:
    with pytest.raises(CheckpointError, match="which is not known here"):
        of_hugging_face({"image_processor_type": f"{kind}ImageProcessor", "do_pad": kind == "Vilt"})


@pytest.mark.parametrize(
    ("half", "rows", "seen"),
    [
        ("even", 7, [2, 3, 4, 5]),
        ("down", 7, [1, 2, 3, 4]),
        ("even", 3, [1, 2, 3, 0]),
        ("down", 3, [0, 1, 2, 3]),
    ],
)
def test_where_the_middle_begins(half: str, rows: int, seen: list[int]) -> None:
    """Four rows from the middle of seven, numbered from 0; and three, numbered from 1, in four."""
    first = 0 if rows > 4 else 1
    numbers = np.arange(first, first + rows, dtype=np.uint8)
    how = of_hugging_face({"do_resize": False, "crop_size": 4, "do_normalize": False})
    assert how.half == "down"
    card = Card("x", "resnet20", 10, preprocessing=written(how) | {"half": half})
    picture = Image.fromarray(np.broadcast_to(numbers[:, None, None], (rows, 4, 3)).copy())
    assert prepared(picture, of_card(card))[:, 0, 0].tolist() == seen
