"""Networks by their names in torchvision, timm and pytorchcv, with cheap random weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from small_networks import Answer, Network
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["cheaply", "of_pytorchcv", "of_timm", "of_torchvision", "smallest_input"]

IMAGES = 2
CHOSEN = Path(__file__).parent / "timm_networks.json"
_SEGMENTED = ("cityscapes", "_voc", "celebamaskhq")
SIZES = (64, 96, 128, 160, 192, 224)
_NO_LOGITS = {
    "alphapose_coco", "simplepose_coco", "simpleposemobile_coco", "lwopenpose_cmupan",
    "ibppose_coco", "prnet", "centernet", "lffd", "pfpcnet", "voca", "nvpattexp", "visemenet",
    "superpointnet", "jasper", "jasperdr", "quartznet", "espcnet", "raft", "propainter_rfc",
    "propainter_ip", "propainter",
}  # fmt: skip
"""Modules of pytorchcv whose networks take no single image, or give other than classes."""


def of_torchvision() -> Iterator[Network]:
    """All classification networks."""
    from torchvision import models

    for name in models.list_models(module=models):
        family = models.get_model_builder(name).__module__.rpartition(".")[2]
        yield _of_images(f"torchvision:{name}", family)


def of_timm() -> Iterator[Network]:
    """The smallest network of each module, and others of the same modules that have other names.

    All of a module have to be built to know their sizes, which takes a quarter of an hour; the
    choice is kept in a file for as long as the version of timm is the same.
    """
    import timm

    known = json.loads(CHOSEN.read_text()) if CHOSEN.exists() else {}
    if known.get("timm") != timm.__version__:
        modules = {module: _smallest(module) for module in timm.list_modules()}
        known |= {"timm": timm.__version__, "networks": modules}
        CHOSEN.write_text(json.dumps(known, indent=1) + "\n")
    for module, name in known["networks"].items():
        yield _of_images(f"timm:{name}", module)
    for name, module in known.get("others", {}).items():
        if timm.is_model(name):
            yield _of_images(f"timm:{name}", module)


def _smallest(module: str) -> str:
    import timm

    sizes = {}
    for name in timm.list_models(module=module):
        if not name.startswith("test_"):
            with torch.device("meta"):
                model = timm.create_model(name)
            sizes[name] = sum(weight.numel() for weight in model.parameters())
    return min(sizes, key=lambda name: sizes[name])


def of_pytorchcv() -> Iterator[Network]:
    """Of each module that classifies or segments, the network that stands first in its list."""
    from pytorchcv.model_provider import _models

    seen = set()
    for name, build in _models.items():
        family = build.__module__.rpartition(".")[2]
        if family not in seen and family not in _NO_LOGITS:
            seen.add(family)
            sides = (96, 192, 480) if any(data in name for data in _SEGMENTED) else ()
            yield Network(
                name, lambda build=build, sides=sides: _quickly(lambda: _of_size(build, sides)),
                lambda model: smallest_input(model, max(getattr(model, "in_size", (224,)))),
                family=family,
            )  # fmt: skip


def _of_size(build: Callable[..., nn.Module], sides: tuple[int, ...]) -> nn.Module:
    """A network for the first of some sizes of images that it can be built for."""
    for side in sides:
        try:
            model = Answer(build(in_size=(side, side)))
            model(torch.zeros(1, 3, side, side))
        except Exception:
            continue
        return model
    return build()


def _of_images(name: str, family: str) -> Network:
    from ensembles.models import architecture

    def example(model: nn.Module) -> Tensor:
        return smallest_input(model, architecture(name).input_size[-1])

    return Network(name.partition(":")[2], lambda: cheaply(name), example, family=family)


def cheaply(name: str, **arguments: Any) -> nn.Module:
    """Build a network without its initialisation, then fill it with numbers of a sane scale."""
    from ensembles.models import create_model

    slow = name.endswith((":googlenet", ":inception_v3")) and name.startswith("torchvision")
    chosen = {"init_weights": False} if slow else {}
    return _quickly(lambda: create_model(name, **chosen, **arguments))


class _Undrawn(TorchFunctionMode):
    drawn = (torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return args[0].zero_() if function in self.drawn else function(*args, **(kwargs or {}))


def _quickly(build: Callable[[], nn.Module]) -> nn.Module:
    with _Undrawn():
        model = build()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            _fill(key, weight, generator)
    return model


def _fill(key: str, weight: Tensor, generator: torch.Generator) -> None:
    """Uniform numbers: unit gain for matrices, about one for scales, about nought for biases."""
    if weight.numel() == max((1, *weight.shape)):
        scale = re.search(r"(weight|gamma|scale|alpha|gain|beta|ls\d?)$", key) is not None
        weight.uniform_(0.8, 1.2, generator=generator).sub_(0.0 if scale else 1.0)
    else:
        weight.uniform_(-1, 1, generator=generator)
        weight.mul_((3 / max(1, weight[0].numel())) ** 0.5)


def smallest_input(model: nn.Module, own: int) -> Tensor:
    """Random images of the smallest size that a network takes, at most its own."""
    generator = torch.Generator().manual_seed(0)
    model.eval()
    for size in (*(size for size in SIZES if size < own), own):
        images = torch.randn(IMAGES, 3, size, size, generator=generator)
        try:
            with torch.no_grad():
                model(images[:1])
        except Exception:
            continue
        return images
    return images
