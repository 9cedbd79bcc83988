"""Blocks of transformers: attention and the perceptron, each normalised first.

Their order is that of GPT-2 (Radford et al. 2019) and of the vision transformer (Dosovitskiy et al.
2020, arXiv 2010.11929, figure 1): LayerNorm begins each branch.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .parts import ResidualBlock

__all__ = ["Attention", "Perceptron", "TransformerLayer", "initialize_transformer"]


class Attention(ResidualBlock):
    """``x + attention(norm(x))``.

    Args:
        width: Numbers of a token.
        heads: How many attentions share them.
        causal: Whether each token looks at itself and those before it only.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
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
        found = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
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


class TransformerLayer(nn.Module):
    """Attention, then the perceptron: two blocks.

    Args:
        width: Numbers of a token.
        heads: Of the attention.
        causal: Whether a token looks at those before it only.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads, causal=causal)
        self.mlp = Perceptron(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to the same shape."""
        out: Tensor = self.mlp(self.attention(x))
        return out


def initialize_transformer(model: nn.Module) -> None:
    """As GPT-2: deviations of 0.02, less at the ends of branches by the number of these."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    blocks = [module for module in model.modules() if isinstance(module, ResidualBlock)]
    for block in blocks:
        last = block.branch_end
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.02 * len(blocks) ** -0.5)
