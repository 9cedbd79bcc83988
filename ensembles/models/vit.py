"""A small vision transformer (Dosovitskiy et al. 2020, arXiv 2010.11929) for images of 32 pixels.

Its final features are averaged over all patches, as in Beyer et al. 2022 (arXiv 2205.01580), where
the first paper reads them off a class token; and its GELU is the tanh approximation of GPT-2.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from .parts import Architecture
from .transformer import TransformerLayer, initialize_transformer

__all__ = ["FAMILY", "ViT"]


class ViT(nn.Module):
    """Patches and their positions, layers, the mean over patches, and a linear classifier.

    Args:
        layers: How many layers, of two blocks each.
        width: Numbers of a token.
        heads: Of each attention.
        patch: Side of a patch in pixels.
        size: Side of the images in pixels, a multiple of the patch's.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.

    Raises:
        ValueError: When patches do not fill an image, or heads do not share the width evenly.
    """

    def __init__(  # noqa: PLR0917
        self,
        layers: int = 6,
        width: int = 64,
        heads: int = 4,
        patch: int = 8,
        size: int = 32,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if size % patch:
            raise ValueError(f"patches of {patch} do not fill an image of {size} pixels")
        if width % heads:
            raise ValueError(f"{heads} heads do not share a width of {width} evenly")
        self.patches = nn.Conv2d(in_channels, width, patch, patch)
        self.places = nn.Parameter(torch.empty((size // patch) ** 2, width))
        self.layers = nn.Sequential(
            *(TransformerLayer(width, heads, causal=False) for _ in range(layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        initialize_transformer(self)
        nn.init.normal_(self.places, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, size, size) to logits (N, num_classes)."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        out: Tensor = self.head(self.norm(self.layers(x)).mean(1))
        return out


FAMILY: tuple[Architecture, ...] = (
    Architecture(
        name="vit12",
        library="ensembles",
        build=partial(ViT, layers=6),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Dosovitskiy et al. 2020, arXiv 2010.11929 (small; the mean over patches as in "
        "Beyer et al. 2022, arXiv 2205.01580)",
    ),
)
