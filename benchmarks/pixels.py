"""Hold our pixels against the own transforms of all weights of torchvision and all records of timm.

No weights are fetched. Run: python benchmarks/pixels.py
"""

from __future__ import annotations

import time

import numpy as np
import timm
import torch
from PIL import Image
from torchvision.models import get_model_weights, list_models

from ensembles.checkpoints.pixel_records import of_timm, of_torchvision
from ensembles.data import Preprocessing
from ensembles.data.decode import prepared

SIZES = ((301, 260), (97, 333))


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


def main() -> None:
    for library, records in (("torchvision", torchvision_weights()), ("timm", timm_records())):
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
