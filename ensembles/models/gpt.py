"""Small language models after GPT-2 (Radford et al. 2019), one byte a token."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Architecture, ResidualBlock

__all__ = ["GPT"]

_POSITIONS = 256


class Attention(ResidualBlock):
    """``x + attention(norm(x))``, each token looking at itself and those before it.

    Args:
        width: Numbers of a token.
        heads: How many attentions share them.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 3 * width)
        self.outer = nn.Linear(width, width)
        self.shortcut = nn.Identity()

    @property
    def branch_end(self) -> nn.Module:
        """What the heads give, joined."""
        return self.outer

    def branch(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to the same shape."""
        rows, tokens, width = x.shape
        mixed = self.inner(self.norm(x)).view(rows, tokens, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.outer(found.transpose(1, 2).reshape(rows, tokens, width))
        return out


class Perceptron(ResidualBlock):
    """``x + mlp(norm(x))``, token by token.

    Args:
        width: Numbers of a token; four times as many are hidden.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)
        self.shortcut = nn.Identity()

    @property
    def branch_end(self) -> nn.Module:
        """The second layer."""
        return self.outer

    def branch(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to the same shape."""
        out: Tensor = self.outer(F.gelu(self.inner(self.norm(x)), approximate="tanh"))
        return out


class Layer(nn.Module):
    """Attention, then the perceptron: two blocks.

    Args:
        width: Numbers of a token.
        heads: Of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.mlp = Perceptron(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to the same shape."""
        out: Tensor = self.mlp(self.attention(x))
        return out


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
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes, bias=False)
        self.head.weight = self.tokens.weight
        self._initialize(layers)

    def _initialize(self, layers: int) -> None:
        """As GPT-2: deviations of 0.02, less at the ends of branches by the number of these."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                last = module.branch_end
                assert isinstance(last, nn.Linear)
                nn.init.normal_(last.weight, std=0.02 * (2 * layers) ** -0.5)

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
