"""Hold our pixels against the own transforms of all weights of torchvision and all records of timm.

Where transformers is installed, against Hugging Face's image processors too, those that resize by
Pillow, as they are without settings and with usual ones. No weights are fetched.
Run: python benchmarks/pixels.py
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torchvision.models import get_model_weights, list_models

from ensembles.checkpoints.pixel_records import of_hugging_face, of_timm, of_torchvision
from ensembles.data import Preprocessing
from ensembles.data.decode import prepared
from ensembles.errors import CheckpointError

SIZES = ((301, 260), (97, 333))

SIDES = {"height": 256, "width": 256}, {"height": 224, "width": 224}
PROCESSORS: dict[str, tuple[dict[str, Any], ...]] = {
    "ViT": ({"size": SIDES[1], "resample": 3}, {"do_normalize": False}),
    "ConvNext": tuple({"size": {"shortest_edge": side}, "crop_pct": share}
                      for side, share in ((384, None), (224, 0.875), (288, 0.95))),
    "DeiT": ({"size": SIDES[0], "crop_size": SIDES[1]}, {"do_center_crop": False}),
    "Beit": ({"do_center_crop": True, "size": SIDES[0], "crop_size": SIDES[1]}, {"resample": 2}),
    "EfficientNet": ({"size": SIDES[1], "resample": 0}, {"include_top": False},
                     {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False}),
    "MobileNetV1": (), "MobileNetV2": (), "MobileViT": ({"do_flip_channel_order": False},),
    "Levit": ({"size": SIDES[1]}, {"do_center_crop": False}),
    "CLIP": ({"size": {"shortest_edge": 256}, "crop_size": SIDES[1]}, {"size": SIDES[0]}),
    "ChineseCLIP": (), "Siglip": (), "Pvt": (), "Segformer": (), "DPT": (), "Blip": (), "Flava": (),
    "PoolFormer": ({"crop_pct": 0.95}, {"crop_pct": None}), "Owlvit": (),
    "Bit": tuple({"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
                 for side in (448, 480)),
    "VideoMAE": (), "Perceiver": (), "ImageGPT": (), "TextNet": (), "Siglip2": (), "GLPN": (),
    "Vilt": (), "BridgeTower": (),
}  # fmt: skip


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]


def differs(how: Preprocessing, transform: object) -> bool:
    """Whether any pixel of any picture is another one than the library's."""
    for picture in pictures():
        pixels = torch.from_numpy(prepared(picture, how).copy()).permute(2, 0, 1)
        assert how.normalization is not None
        if not torch.equal(how.normalization(pixels), transform(picture)):  # type: ignore[operator]
            return True
    return False


def torchvision_weights() -> dict[str, tuple[str, Preprocessing, object]]:
    found = {}
    for name in list_models():
        for member in get_model_weights(name):
            transforms = member.transforms()
            if type(transforms).__name__ == "ImageClassification":
                found[str(member)] = repr(transforms), of_torchvision(transforms), transforms
    return found


def timm_records() -> dict[str, tuple[str, Preprocessing, object]]:
    found = {}
    for name in timm.list_pretrained():
        config = timm.get_pretrained_cfg(name).to_dict()
        for test in (False, True):
            data = timm.data.resolve_data_config(pretrained_cfg=config, use_test_size=test)
            made = timm.data.create_transform(**data, is_training=False)
            found[f"{name} {'test' if test else 'train'}"] = (
                repr(data),
                of_timm(config, test=test),
                made,
            )
    return found


def hugging_face_processors() -> dict[str, tuple[str, Preprocessing, object]]:
    """Those that are read; the others are told."""
    import transformers

    found, refused = {}, []
    for kind, several in PROCESSORS.items():
        name = f"{kind}ImageProcessor"
        made = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name, None)
        for options in ({}, *several) if made is not None else ():
            processor = made(**options)
            values = {**processor.to_dict(), "image_processor_type": name}
            try:
                how = of_hugging_face(values)
            except CheckpointError:
                refused.append(kind)
                continue
            found[f"{kind} {options}"] = repr(values), how, _Call(processor)
    print(f"Hugging Face: refused {', '.join(dict.fromkeys(refused))}")
    return found


class _Call:
    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        made: torch.Tensor = self._processor(picture, return_tensors="pt")["pixel_values"][0]
        return made


def main() -> None:
    libraries = [("torchvision", torchvision_weights()), ("timm", timm_records())]
    if find_spec("transformers") is not None:
        libraries.append(("Hugging Face", hugging_face_processors()))
    for library, records in libraries:
        start, seen, wrong = time.perf_counter(), {}, []
        for name, (text, how, transform) in records.items():
            if (text, how) not in seen:
                seen[text, how] = differs(how, transform)
            wrong += [name] if seen[text, how] else []
        print(
            f"{library}: {len(records)} records, {len(seen)} different ones, "
            f"{len(wrong)} with other pixels {wrong[:3]}, {time.perf_counter() - start:.0f} s"
        )


if __name__ == "__main__":
    main()
