"""A language model as paths see it: from the first stream, its embedding, to one token's logits."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.blocks.base import Slot
from ensembles.decomposition.blocks.plain import Plain
from ensembles.decomposition.sublayers import attends
from ensembles.decomposition.walk import last_output, states
from ensembles.errors import PathError, UsageError

__all__ = [
    "COUNTED", "EveryToken", "StreamRows", "at_every_token", "at_token", "counting",
    "takes_tokens", "widened",
]  # fmt: skip

COUNTED = ("all", "attention", "mlp")
"""Which branches the length of a path counts."""

_TOLERANCE = 1e-4


def takes_tokens(net: Decomposition) -> bool:
    """Whether a network takes ids of tokens, and gives logits for each."""
    taken, given = net.input_shape, net.output_shape
    single = not net.input_names and not net.input_types[0].is_floating_point
    return single and len(given) == 2 and len(taken) == 1 and taken[0] == given[0]


class StreamRows(NamedTuple):
    """Windows at the first stream of a language model.

    Attributes:
        streams: (N, T, width).
        targets: The token that is to be predicted in each, (N,); or all from the second on,
            (N, T - 1).
    """

    streams: Tensor
    targets: Tensor


def at_token(
    net: Decomposition, windows: Tensor, token: int | None
) -> tuple[Decomposition, list[StreamRows]]:
    """The part of a language model behind its embedding, with the logits of one token as output.

    Args:
        net: The language model.
        windows: Ids (N, T).
        token: Which token of each window is predicted, from 2 to T, from those before it; the last
            by default.

    Returns:
        A network from the first stream (N, T, width) to logits (N, vocabulary), and its data: the
        streams of the windows, and the token that is to be predicted in each.

    Raises:
        UsageError: If there is no such token.
        PathError: If several tensors are alive between the blocks.
    """
    length = net.input_shape[0]
    chosen = length if token is None else token
    if not 2 <= chosen <= length:
        raise UsageError(f"token {chosen} of windows of {length}; expected 2 to {length}")
    _require_one_stream(net)
    place = chosen - 2
    with torch.no_grad():
        streams = net.stem(windows)
        last = last_output(states(net, windows[:1]))
        apart = _is_apart(net.head, last, place)
    twin = net.with_blocks(net)
    twin.stem, twin.head = nn.Identity(), _AtPlace(net.head, place, apart)
    twin.input_shape, twin.input_types = tuple(streams.shape[1:]), (streams.dtype,)
    twin.output_shape = net.output_shape[1:]
    return twin, [StreamRows(streams, windows[:, chosen - 1])]


def at_every_token(net: Decomposition, windows: Tensor) -> tuple[Decomposition, list[StreamRows]]:
    """The part of a language model behind its embedding, with the logits of all but its last token.

    Args:
        net: The language model.
        windows: Ids (N, T).

    Returns:
        A network from the first stream to logits (N, T - 1, vocabulary), and its data.

    Raises:
        PathError: If several tensors are alive between the blocks.
    """
    _require_one_stream(net)
    with torch.no_grad():
        streams = net.stem(windows)
    twin = net.with_blocks(net)
    twin.stem, twin.head = nn.Identity(), EveryToken(net.head)
    twin.input_shape, twin.input_types = tuple(streams.shape[1:]), (streams.dtype,)
    twin.output_shape = torch.Size((net.output_shape[0] - 1, *net.output_shape[1:]))
    return twin, [StreamRows(streams, windows[:, 1:])]


def _require_one_stream(net: Decomposition) -> None:
    if net.is_nested:
        raise PathError(
            f"{net.model_name} has several tensors alive between its blocks, so that its paths "
            "have no single first stream; expected a decomposition with nested=False (--chain)"
        )


def counting(net: Decomposition, counted: str) -> Decomposition:
    """The network with paths whose length counts attention alone, or everything else alone.

    What is not counted is taken whole, branch and shortcut at once.

    Args:
        net: A network behind its embedding.
        counted: One of :data:`COUNTED`.

    Raises:
        PathError: If there is no such block.
    """
    if counted == "all":
        return net
    wanted = counted == "attention"
    taken = [block.has_shortcut and attends(block.branch) == wanted for block in net]
    if not any(taken):
        raise PathError(f"{net.model_name} has no block of {counted} with a shortcut to count")
    return net.with_blocks(
        block if keep or not block.has_shortcut else _whole(block)
        for block, keep in zip(net, taken, strict=True)
    )


class EveryToken(nn.Module):
    """A head whose logits are those of all places that have a token behind them.

    Args:
        head: The head of the language model.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to (N, T - 1, vocabulary)."""
        out: Tensor = self.head(x)[:, :-1]
        return out


class _AtPlace(nn.Module):
    """A head whose logits are those of one place."""

    def __init__(self, head: nn.Module, place: int, apart: bool) -> None:
        super().__init__()
        self.head, self.place, self.apart = head, place, apart

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to (N, vocabulary)."""
        place = self.place
        out: Tensor = (
            self.head(x[:, place : place + 1])[:, 0] if self.apart else self.head(x)[:, place]
        )
        return out


class _Whole(nn.Module):
    """A block as one map."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """What the block gives."""
        out: Tensor = self.block(x)
        return out


def _whole(block: Block) -> Block:
    slot = Slot(block.index, block.name, block.in_shape, block.out_shape, block.before)
    inner = copy.copy(block)
    inner._modules = block._modules.copy()
    inner.before = None
    return Plain(slot, _Whole(inner), layers=block.weight_layers)


def _is_apart(head: nn.Module, x: Tensor, place: int) -> bool:
    """Whether a head gives one place's logits from that place alone."""
    try:
        alone = head(x[:, place : place + 1])
    except RuntimeError:  # sizes of whole windows are written in it
        return False
    return alone.shape[1:2] == (1,) and _alike(alone[:, 0], head(x)[:, place])


def _alike(one: Tensor, other: Tensor) -> bool:
    scale = other.abs().max()
    return one.shape == other.shape and bool((one - other).abs().max() <= _TOLERANCE * scale)


def widened(net: Decomposition) -> Decomposition:
    """A network whose parts compute in double precision what they insist on in single precision.

    Norms and softmaxes of transformers turn to float32 inside, which would leave a sum of
    cancelling terms with the rounding of single precision.

    Args:
        net: A private copy in double precision; its graphs are changed.
    """

    def wide(value: Any) -> Any:
        return torch.float64 if value is torch.float32 else value

    for part in net.modules():
        if not isinstance(part, fx.GraphModule):
            continue
        changed = False
        for node in part.graph.nodes:
            args = fx.node.map_aggregate(node.args, wide)
            kwargs = fx.node.map_aggregate(node.kwargs, wide)
            if node.op == "call_method" and node.target == "float":
                node.target, changed = "double", True
            if _differ(args, node.args) or _differ(kwargs, node.kwargs):
                node.args, node.kwargs, changed = args, kwargs, True
        if changed:
            part.recompile()
    return net


def _differ(one: Any, other: Any) -> bool:
    return repr(one) != repr(other)
