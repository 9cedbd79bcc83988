"""Small language models after GPT-2 (Radford et al. 2019), one byte a token."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .parts import Architecture
from .transformer import TransformerLayer, initialize_transformer

__all__ = ["GPT"]

_POSITIONS = 256


class GPT(nn.Module):
    """Embedding of tokens and positions, layers, and the embedding again as the head.

    Args:
        num_classes: How many tokens there are: 256, each byte one.
        layers: How many layers, of two blocks each.
        width: Numbers of a token.
        heads: Of each attention.
        positions: The longest window.
    """

    def __init__(
        self,
        num_classes: int = 256,
        layers: int = 6,
        width: int = 128,
        heads: int = 4,
        positions: int = _POSITIONS,
    ) -> None:
        super().__init__()
        self.positions = positions
        self.tokens = nn.Embedding(num_classes, width)
        self.places = nn.Embedding(positions, width)
        self.layers = nn.Sequential(
            *(TransformerLayer(width, heads, causal=True) for _ in range(layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes, bias=False)
        self.head.weight = self.tokens.weight
        initialize_transformer(self)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids (N, T) to logits (N, T, num_classes), T at most ``positions``."""
        length = ids.shape[1]
        if length > self.positions:
            raise ValueError(f"{length} tokens, and the model has {self.positions} positions")
        x = self.tokens(ids) + self.places.weight[:length]
        out: Tensor = self.head(self.norm(self.layers(x)))
        return out


FAMILY: tuple[Architecture, ...] = tuple(
    Architecture(
        name=f"gpt{2 * layers}",
        library="ensembles",
        build=partial(GPT, layers=layers),
        input_size=(_POSITIONS,),
        num_classes=256,
        paper="Radford et al. 2019, Language Models are Unsupervised Multitask Learners (GPT-2)",
        published_on="",
        family="gpt",
        task="language",
    )
    for layers in (3, 6)
)
