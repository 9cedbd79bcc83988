"""Networks of transformers, built small from their configurations: texts with masks, and images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from small_networks import Network, images_of
from torch import Tensor, nn

__all__ = ["of_transformers"]


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
    yield from _of_vision(transformers)


def _of_vision(transformers: Any) -> Iterator[Network]:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    sizes |= {"num_hidden_layers": 2, "image_size": 32, "patch_size": 8}
    for name in (
        "ViT", "DeiT", "Beit", "Dinov2", "Dinov2WithRegisters", "ViTMSN", "Data2VecVision", "IJepa",
    ):  # fmt: skip
        build = _classifier(transformers, name, sizes, "ImageClassification")
        yield Network(name, build, images_of(32), 4)
    towers = {"vision_config": {**sizes}, "text_config": {**sizes}}
    for name in ("CLIP", "Siglip"):
        build = _classifier(transformers, name, towers, "ImageClassification")
        yield Network(f"{name} image", build, images_of(32), 4)
    two = {"hidden_sizes": [8, 16], "depths": [2, 2]}
    window = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 2]}
    window |= {"num_heads": [2, 4], "window_size": 4}
    four: dict[str, Any] = {"depths": [1, 1, 1, 1], "num_hidden_layers": 4}
    widening = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 40, 64]}
    focal = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1, 1, 1]}
    hiera = {"image_size": [32, 32], "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]}
    hiera |= {
        "query_stride": [2, 2],
        "masked_unit_size": [4, 4],
        "masked_unit_attention": [True, False],
    }
    hiera |= {"patch_stride": [4, 4], "num_query_pool": 1}
    mobile = {"image_size": 64, "hidden_sizes": [16, 24, 32]}
    mobile |= {"neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 48]}
    for name, options, size, count in (
        ("ResNet", {"embedding_size": 8, **two}, 32, 4),
        ("RegNet", {"embedding_size": 8, "groups_width": 8, **two}, 32, 4),
        ("ConvNext", {**two, "num_stages": 2}, 32, 4),
        ("ConvNextV2", {**two, "num_stages": 2}, 32, 8),
        ("Swin", window, 32, 8),
        ("Swinv2", window, 32, 8),
        ("Bit", {"embedding_size": 32, "hidden_sizes": [128, 256], "depths": [2, 2]}, 32, 4),
        ("PoolFormer", {**four, "hidden_sizes": [8, 8, 16, 16], "num_encoder_blocks": 4}, 64, 8),
        ("Pvt", {"image_size": 64, **widening}, 64, 8),
        ("PvtV2", {"image_size": 64, **widening}, 64, 8),
        ("Segformer", {**widening, "hidden_sizes": [8, 16, 40, 64]}, 64, 8),
        ("FocalNet", focal, 64, 8),
        ("Hiera", hiera, 32, 4),
        ("MobileNetV1", {"depth_multiplier": 0.25}, 64, 28),
        ("MobileNetV2", {"depth_multiplier": 0.35}, 64, 10),
        ("MobileViT", mobile, 64, None),
        ("SwiftFormer", {}, 64, None),
        ("EfficientNet", {}, 64, None),
        ("Levit", {}, 224, None),
        ("Cvt", {}, 64, 26),
        ("TextNet", {}, 64, None),
        ("HGNetV2", {}, 64, None),
    ):  # fmt: skip
        build = _classifier(transformers, name, options, "ImageClassification")
        yield Network(name, build, images_of(size), count)


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
