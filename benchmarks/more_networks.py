"""Networks that nobody here wrote, beyond torchvision's classifiers and timm, small and untrained.

Each group yields the name of a network, what builds it, an example of its inputs, and how many
blocks it has by its definition (None where that is not written down). A library that is not there
leaves its group out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["GROUPS", "Network"]


class Network(NamedTuple):
    """One network.

    Attributes:
        name: What the table calls it.
        build: Makes it.
        example: Two rows of its inputs.
        blocks: How many blocks it has by its definition.
    """

    name: str
    build: Callable[[], nn.Module]
    example: Any
    blocks: int | None = None


class Logits(nn.Module):
    """A model of transformers, with its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **named: Tensor) -> Tensor:
        """The logits (rows, classes)."""
        out: Tensor = self.model(**named).logits
        return out


class OfStates(nn.Module):
    """A text encoder of transformers, and a linear layer on the mean of its last states."""

    def __init__(self, model: nn.Module, width: int) -> None:
        super().__init__()
        self.model, self.head = model, nn.Linear(width, 3)

    def forward(self, **named: Tensor) -> Tensor:
        """The logits (rows, 3)."""
        out: Tensor = self.head(self.model(**named).last_hidden_state.mean(1))
        return out


class OfImages(nn.Module):
    """A model of transformers, from images to its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """The logits (rows, classes)."""
        out: Tensor = self.model(pixel_values=images).logits
        return out


class Pixels(nn.Module):
    """A segmentation network, with the classes of each pixel last."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """The logits (rows, height, width, classes)."""
        out: Tensor = self.model(images)["out"].movedim(1, -1)
        return out


def _images(size: int, *, frames: int = 0) -> Tensor:
    shape = (2, 3, *((frames,) if frames else ()), size, size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _tokens() -> dict[str, Tensor]:
    ids = torch.arange(2, 20).view(2, 9)
    mask = torch.ones_like(ids)
    mask[0, 8:] = mask[1, 7:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def of_transformers() -> Iterator[Network]:
    """Masked classifiers of text with three layers, and classifiers of images with two."""
    import transformers

    text = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    text |= {"vocab_size": 50, "num_hidden_layers": 3, "pad_token_id": 0}
    special = {
        "Llama": {"num_key_value_heads": 2}, "Mistral": {"num_key_value_heads": 2},
        "Qwen2": {"num_key_value_heads": 2},
        "Gemma2": {"num_key_value_heads": 2, "head_dim": 8}, "Bert": {}, "Roberta": {},
        "DebertaV2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
        "Electra": {"embedding_size": 32},
    }  # fmt: skip
    for name, options in special.items():
        yield Network(name, _classifier(transformers, name, {**text, **options}), _tokens(), 6)
    clip = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    clip |= {"num_hidden_layers": 2, "vocab_size": 50, "eos_token_id": 49, "pad_token_id": 0}
    t5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4, "num_layers": 2, "vocab_size": 50}
    yield Network("CLIP text", _encoder(transformers, "CLIPText", "Model", clip), _tokens(), 4)
    yield Network("T5 encoder", _encoder(transformers, "T5", "EncoderModel", t5), _tokens(), 4)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    sizes |= {"num_hidden_layers": 2, "image_size": 32, "patch_size": 8}
    for name in ("ViT", "DeiT", "Beit", "Dinov2"):
        build = _classifier(transformers, name, sizes, "ImageClassification")
        yield Network(name, build, _images(32), 4)
    for name, options, count in (
        ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2]}, 4),
        ("ConvNext", {"hidden_sizes": [8, 16], "depths": [2, 2], "num_stages": 2}, 4),
    ):
        build = _classifier(transformers, name, options, "ImageClassification")
        yield Network(name, build, _images(32), count)


def _encoder(
    library: Any, name: str, task: str, options: dict[str, Any]
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        config = getattr(library, f"{name}Config")(**options)
        config._attn_implementation = "eager"
        return OfStates(getattr(library, f"{name}{task}")(config), 32).eval()

    return build


def _classifier(
    library: Any, name: str, options: dict[str, Any], task: str = "SequenceClassification"
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        config = getattr(library, f"{name}Config")(**options)
        config.num_labels = 3
        config._attn_implementation = "eager"
        made = getattr(library, f"{name}For{task}")(config).eval()
        return OfImages(made) if task == "ImageClassification" else Logits(made)

    return build


def of_pytorchcv() -> Iterator[Network]:
    """One network of each of some families."""
    from pytorchcv.model_provider import get_model

    counts = {
        "resnet10": 4, "preresnet10": 4, "seresnet10": 4, "diaresnet10": 4,
        "revnet38": 16, "diaresnet20_cifar10": 9,
        "darknet53": 23, "resnext14_16x4d": 4, "mobilenetv2_wd4": 10, "shufflenetv2_wd2": None,
        "dpn68": 22, "hrnet_w18_small_v1": None, "bagnet9": 16, "dla34": 12,
        "ror3_56_cifar10": None, "wrn10_32": None, "pyramidnet101_a360": 33,
        "igcv3_wd4": None, "mnasnet_a1": None,
    }  # fmt: skip
    for name, count in counts.items():
        size = 32 if "cifar" in name else 224
        yield Network(name, lambda name=name: get_model(name).eval(), _images(size), count)


def of_vit_pytorch() -> Iterator[Network]:
    """Vision transformers of two layers."""
    from vit_pytorch import ViT
    from vit_pytorch.cait import CaiT
    from vit_pytorch.deepvit import DeepViT
    from vit_pytorch.simple_vit import SimpleViT

    usual = {"image_size": 32, "patch_size": 8, "num_classes": 3, "dim": 32, "heads": 4}
    for kind in (ViT, SimpleViT, DeepViT):
        build = lambda kind=kind: kind(**usual, depth=2, mlp_dim=48).eval()  # noqa: E731
        yield Network(kind.__name__, build, _images(32), 4)
    late = {"depth": 2, "cls_depth": 2, "mlp_dim": 48}
    yield Network("CaiT", lambda: CaiT(**usual, **late).eval(), _images(32), 8)


def of_video() -> Iterator[Network]:
    """torchvision's networks for video, and its segmentation heads."""
    from torchvision.models import segmentation, video

    for name, count in (("r3d_18", 8), ("mc3_18", 8), ("r2plus1d_18", 8)):
        build = lambda name=name: getattr(video, name)(num_classes=3).eval()  # noqa: E731
        yield Network(name, build, _images(32, frames=4), count)
    for name, count in (("fcn_resnet50", 16), ("lraspp_mobilenet_v3_large", 10)):
        build = lambda name=name: Pixels(_segmenter(segmentation, name))  # noqa: E731
        yield Network(name, build, _images(64), count)


def _segmenter(library: Any, name: str) -> nn.Module:
    made = getattr(library, name)(weights=None, weights_backbone=None, num_classes=3)
    assert isinstance(made, nn.Module)
    return made.eval()


GROUPS: dict[str, Callable[[], Iterator[Network]]] = {
    name: make
    for name, module, make in (
        ("transformers", "transformers", of_transformers),
        ("pytorchcv", "pytorchcv", of_pytorchcv),
        ("vit-pytorch", "vit_pytorch", of_vit_pytorch),
        ("torchvision video and segmentation", "torchvision", of_video),
    )
    if find_spec(module) is not None
}
"""What makes the networks of each group."""
