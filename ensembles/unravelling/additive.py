"""A network whose attention patterns, gates and scales of norms are held: its additive form.

At an activation, attention is a weighted sum of values, a gated layer a product with its gate, a
norm a product with a scale. Where pattern, gate and scale are constants at their own values, every
part is linear but for its biases: what a block adds is a sum over the terms of its input, each
handled alike. A derivative leaves out, then, how these constants would change.

The idea is that of attributions that add up, such as DePass (arXiv 2510.18462): what is held is
stated in :data:`HELD`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.state import State, leaves, own, real_tensors
from ensembles.decomposition.walk import states
from ensembles.errors import PathError
from ensembles.numerics import differentiable
from ensembles.unravelling.held_nodes import hold

__all__ = ["HELD", "additive", "require_additive"]

HELD = "attention patterns, gates, slopes of activations and scales of norms"
"""What is a constant of each input in the additive form."""


def additive(net: Decomposition) -> Decomposition:
    """A copy of a network with the same values, whose derivatives are those of its additive form.

    An activation that multiplies another part of the input is a gate and is held. Any other is the
    product of its input with a slope, its value over its input, which is held: of a ReLU that is
    its derivative.

    Args:
        net: The network; for what is not known here, :func:`require_additive` refuses it.
    """
    twin = copy.deepcopy(net)
    for part in twin.modules():
        if isinstance(part, fx.GraphModule) and hold(part):
            part.graph.lint()
            part.recompile()
    return twin


def require_additive(net: Decomposition, images: Tensor) -> None:
    """Refuse a network with a part whose derivative still depends on its input.

    Args:
        net: What :func:`additive` gave.
        images: Rows to look at, (N, *input_shape).

    Raises:
        PathError: Naming the part.
    """
    passages: list[tuple[nn.Module, Any]] = []

    def between(part: nn.Module, given: Any) -> Any:
        passages.append((part, given))
        return part(given)

    with torch.no_grad(), differentiable():
        visits = list(states(net, images[:1], between=between))
        preceded = [block.label for block in net if block.before is not None]
        for label, (part, given) in zip(preceded, passages[1:], strict=True):  # after the stem
            if _bends(part, given):
                raise _not_additive(f"what precedes {label}")
        for block, given, _ in visits:
            if any(_bends(part, at) for part, at in _parts(block, given)):
                raise _not_additive(block.label)
        if _bends(net.head, visits[-1][2]):
            raise _not_additive("the head")


def _parts(block: Block, given: Any) -> list[tuple[Callable[[Any], Any], Any]]:
    """The parts that paths go through, as functions of a tensor or a state, and what each reads."""

    def bound(x: Any) -> Block:
        return block.bound(x.beside(block.reads)) if isinstance(x, State) else block

    def middle(x: Any) -> Tensor:
        pre = bound(x).pre
        found: Tensor = own(x) if pre is None else pre(own(x))
        return found

    def on_branch(x: Any) -> Tensor:
        return bound(x).on_branch(middle(x))

    def on_shortcut(x: Any) -> Tensor:
        return bound(x).on_shortcut(middle(x))

    def post(x: Any) -> Tensor:
        part = bound(x).post
        found: Tensor = own(x) if part is None else part(own(x))
        return found

    if not block.has_shortcut:
        return [(lambda x: bound(x).held(own(x)), given)]
    total = on_branch(given) + on_shortcut(given)
    joined = given.with_x(total) if isinstance(given, State) else total
    return [(on_branch, given), (on_shortcut, given), (post, joined)]


def _not_additive(name: str) -> PathError:
    return PathError(
        f"{name} is not linear where {HELD} are held; expected attention, norms and activations "
        "as torch has them, or linearization derivatives"
    )


def _bends(part: Callable[[Any], Any], x: Any) -> bool:
    """Whether a derivative of a part changes with its input, a tensor or a state."""
    with torch.enable_grad():
        start = leaves(x)
        probes, values = real_tensors(start), real_tensors(part(start))
        values = [value for value in values if value.requires_grad]
        if not values:
            return False
        chance = torch.Generator(device="cpu").manual_seed(0)

        def drawn(tensors: list[Tensor]) -> list[Tensor]:
            return [torch.randn(t.shape, generator=chance).to(t) for t in tensors]

        slopes = torch.autograd.grad(
            values, probes, drawn(values), create_graph=True, allow_unused=True
        )
        bent = [slope for slope in slopes if slope is not None and slope.requires_grad]
        if not bent:
            return False
        second = torch.autograd.grad(bent, probes, drawn(bent), allow_unused=True)
    return any(one is not None and bool((one != 0).any()) for one in second)
