"""Networks that nobody here wrote, built small: vit-pytorch, and torchvision's heads and videos.

Each group yields the name of a network, what builds it, an example of its inputs, and how many
blocks it has by its definition (None where that is not written down).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Answer", "Network", "images_of", "of_torchvision_heads", "of_vit_pytorch"]


class Network(NamedTuple):
    """One network.

    Attributes:
        name: What the table calls it.
        build: Makes it.
        example: Two rows of its inputs, or what chooses them for the network.
        blocks: How many blocks it has by its definition.
        family: The module of the library in which it stands.
    """

    name: str
    build: Callable[[], nn.Module]
    example: Any
    blocks: int | None = None
    family: str = ""


class Answer(nn.Module):
    """A network that gives several answers: the first one alone, with its classes last."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """The logits (rows, ..., classes)."""
        out = self.model(images)
        if not isinstance(out, Tensor):
            out = out["out"] if isinstance(out, dict) else out[0]
        return out.movedim(1, -1)


class Anchors(nn.Module):
    """A detector, from images of one size to the classes of its anchors, before boxes."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, getattr(detector, "head", None)
        if self.head is None:
            self.head = detector.rpn.head

    def forward(self, images: Tensor) -> Tensor:
        """The logits (rows, anchors, classes)."""
        found = self.head([*self.backbone(images).values()])
        if isinstance(found, dict):
            return found["cls_logits"]
        return torch.cat([level.flatten(1) for level in found[0]], 1)[:, :, None]


def images_of(size: int, *, frames: int = 0) -> Tensor:
    """Two random images, or videos of so many frames."""
    shape = (2, 3, *((frames,) if frames else ()), size, size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


_USUAL: dict[str, Any] = {"image_size": 32, "patch_size": 8, "num_classes": 3, "dim": 32}
_HEADS = {**_USUAL, "heads": 4, "depth": 2, "mlp_dim": 48}
_LEVELS = {"num_classes": 3, "image_size": 64}
_VIT_PYTORCH: tuple[tuple[str, str, dict[str, Any], int | None], ...] = (
    ("vit", "ViT", _HEADS, 4),
    ("simple_vit", "SimpleViT", _HEADS, 4),
    ("deepvit", "DeepViT", _HEADS, 4),
    ("cait", "CaiT", {**_HEADS, "cls_depth": 2}, 8),
    ("parallel_vit", "ViT", _HEADS, 4),
    ("vit_for_small_dataset", "ViT", _HEADS, 4),
    ("learnable_memory_vit", "ViT", _HEADS, 4),
    ("rvt", "RvT", _HEADS, 4),
    ("vit_with_patch_merger", "ViT", _HEADS, 4),
    ("simple_flash_attn_vit", "SimpleViT", _HEADS, 4),
    ("simple_vit_with_qk_norm", "SimpleViT", _HEADS, 4),
    ("simple_vit_with_register_tokens", "SimpleViT", _HEADS, 4),
    ("simple_vit_with_fft", "SimpleViT", {**_HEADS, "freq_patch_size": 8}, 4),
    ("simple_vit_with_value_residual", "SimpleViT", _HEADS, 5),  # one of values of layer 1
    ("simple_uvit", "SimpleUViT", _HEADS, 4),
    ("normalized_vit", "nViT", _HEADS, 4),
    ("pit", "PiT", {**_HEADS, "image_size": 64, "depth": (1, 1)}, 4),
    (
        "nest",
        "NesT",
        {**_USUAL, "patch_size": 4, "heads": 2, "num_hierarchies": 2, "block_repeats": (1, 1)},
        4,
    ),
    (
        "twins_svt",
        "TwinsSVT",
        {
            "num_classes": 3,
            "s1_emb_dim": 8,
            "s2_emb_dim": 8,
            "s3_emb_dim": 16,
            "s4_emb_dim": 16,
            "s1_local_patch_size": 4,
            "s2_local_patch_size": 2,
            "s3_local_patch_size": 2,
            "s4_local_patch_size": 1,
            "s1_global_k": 4,
            "s2_global_k": 2,
            "s3_global_k": 2,
            "s4_global_k": 1,
            "s3_depth": 1,
        },
        38,
    ),
    (
        "cvt",
        "CvT",
        {
            "num_classes": 3,
            "s1_emb_dim": 8,
            "s2_emb_dim": 16,
            "s3_emb_dim": 24,
            "s2_depth": 1,
            "s3_depth": 1,
        },
        6,
    ),
    (
        "crossformer",
        "CrossFormer",
        {
            "num_classes": 3,
            "dim": (32, 48, 64, 96),
            "depth": (1, 1, 1, 1),
            "global_window_size": (4, 2, 2, 1),
            "local_window_size": 2,
        },
        16,
    ),
    (
        "cross_vit",
        "CrossViT",
        {
            "image_size": 64,
            "num_classes": 3,
            "depth": 1,
            "sm_dim": 32,
            "sm_patch_size": 16,
            "sm_enc_depth": 1,
            "sm_enc_heads": 4,
            "sm_enc_mlp_dim": 48,
            "lg_dim": 40,
            "lg_patch_size": 32,
            "lg_enc_depth": 1,
            "lg_enc_heads": 4,
            "lg_enc_mlp_dim": 48,
            "cross_attn_depth": 1,
            "cross_attn_heads": 4,
        },
        6,
    ),
    ("xcit", "XCiT", {**_HEADS, "cls_depth": 1}, 8),
    (
        "scalable_vit",
        "ScalableViT",
        {
            "num_classes": 3,
            "dim": 16,
            "heads": (2, 2),
            "depth": (1, 1),
            "ssa_dim_key": 8,
            "reduction_factor": (2, 2),
            "window_size": (4, 4),
        },
        10,
    ),
    (
        "regionvit",
        "RegionViT",
        {"num_classes": 3, "dim": (8, 16, 24, 32), "depth": (1, 1, 1, 1), "window_size": 4},
        12,
    ),
    (
        "max_vit",
        "MaxViT",
        {
            "num_classes": 3,
            "dim_conv_stem": 16,
            "dim": 16,
            "dim_head": 8,
            "depth": (1, 1),
            "window_size": 4,
        },
        8,
    ),
    (
        "mobile_vit",
        "MobileViT",
        {
            "num_classes": 3,
            "image_size": (64, 64),
            "dims": [16, 20, 24],
            "channels": [8, 8, 16, 16, 24, 24, 32, 32, 40, 40, 48],
        },
        21,
    ),
    (
        "levit",
        "LeViT",
        {**_LEVELS, "dim": 32, "stages": 2, "depth": 1, "heads": 2, "mlp_mult": 2},
        5,
    ),
    (
        "t2t",
        "T2TViT",
        {
            **_LEVELS,
            "dim": 32,
            "depth": 2,
            "heads": 4,
            "mlp_dim": 48,
            "t2t_layers": ((7, 4), (3, 2)),
        },
        6,
    ),
    (
        "cct",
        "CCT",
        {
            "img_size": 32,
            "num_classes": 3,
            "embedding_dim": 32,
            "num_layers": 2,
            "num_heads": 4,
            "mlp_ratio": 2,
            "n_conv_layers": 1,
        },
        4,
    ),
    (
        "jumbo_vit",
        "JumboViT",
        {**_HEADS, "num_jumbo_cls": 1, "jumbo_cls_k": 2, "jumbo_ff_mult": 1},
        5,
    ),
)
"""Module, class, arguments, and blocks by definition."""


def of_vit_pytorch() -> Iterator[Network]:
    """Vision transformers of two layers, each by its module."""
    for module, kind, options, count in _VIT_PYTORCH:
        build = lambda m=module, k=kind, o=options: _of_module("vit_pytorch", m, k, o)  # noqa: E731
        side = options.get("image_size", options.get("img_size", 64))
        yield Network(module, build, images_of(side if isinstance(side, int) else side[0]), count)


def _of_module(library: str, module: str, kind: str, options: dict[str, Any]) -> nn.Module:
    made = getattr(import_module(f"{library}.{module}"), kind)(**options)
    assert isinstance(made, nn.Module)
    return made.eval()


def of_torchvision_heads() -> Iterator[Network]:
    """torchvision's networks for video, its segmentation networks and its detectors."""
    from torchvision.models import detection, segmentation, video

    for name, count in (("r3d_18", 8), ("mc3_18", 8), ("r2plus1d_18", 8), ("s3d", None)):
        frames = 16 if name == "s3d" else 4
        build = lambda name=name: getattr(video, name)(num_classes=3).eval()  # noqa: E731
        yield Network(name, build, images_of(224 if frames == 16 else 32, frames=frames), count)
    for name, size, frames, count in (("mvit_v2_s", 224, 16, 32), ("swin3d_t", 64, 8, 24)):
        build = lambda name=name: getattr(video, name)(num_classes=3).eval()  # noqa: E731
        yield Network(name, build, images_of(size, frames=frames), count)
    for name, count in (
        ("fcn_resnet50", 16), ("deeplabv3_resnet50", 16), ("deeplabv3_mobilenet_v3_large", 10),
        ("lraspp_mobilenet_v3_large", 10),
    ):  # fmt: skip
        build = lambda name=name: Answer(_headed(segmentation, name)).eval()  # noqa: E731
        yield Network(name, build, images_of(64), count)
    for name, count in (
        ("retinanet_resnet50_fpn", 16), ("fcos_resnet50_fpn", 16),
        ("fasterrcnn_resnet50_fpn", 16), ("maskrcnn_resnet50_fpn", 16),
        ("fasterrcnn_mobilenet_v3_large_fpn", 10), ("ssdlite320_mobilenet_v3_large", 10),
        ("ssd300_vgg16", None),
    ):  # fmt: skip
        build = lambda name=name: Anchors(_headed(detection, name)).eval()  # noqa: E731
        yield Network(name, build, images_of(300 if name.startswith("ssd3") else 64), count)


def _headed(library: Any, name: str) -> nn.Module:
    made = getattr(library, name)(weights=None, weights_backbone=None, num_classes=3)
    assert isinstance(made, nn.Module)
    return made.eval()
