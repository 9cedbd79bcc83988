"""Other networks of the architecture of one that is lesioned: before training, or trained anew."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import torch
from torch import fx, nn

from ensembles.decomposition import Block, Decomposition, decompose
from ensembles.decomposition.inputs import Inputs, placed
from ensembles.errors import DecompositionError, EnsemblesError, LesionError, UsageError

__all__ = ["counterpart", "values_digest", "weights_digest"]

_PARTS = ("pre", "branch", "shortcut", "post", "gate")


def counterpart(
    net: Decomposition, other: nn.Module, example: Inputs | None, what: str
) -> Decomposition:
    """Take another network apart as one was.

    Args:
        net: The network.
        other: The other one, as a model or a decomposition.
        example: Some inputs, for a model; None where there are none at hand.
        what: What the other one is called in messages.

    Raises:
        LesionError: If it cannot be taken apart, or has other blocks.
    """
    if isinstance(other, Decomposition):
        _require_alike(net, other, what)
        return other
    if not isinstance(other, nn.Module):
        raise LesionError(
            f"{what} is a {type(other).__name__}; expected a model of the same architecture, or "
            "its decomposition"
        )
    if example is None:
        raise LesionError(
            f"{what} is a model, and there are no data to take it apart by; give its decomposition"
        )
    first = next(iter((*other.parameters(), *other.buffers())), None)
    inputs = placed(example, torch.device("cpu") if first is None else first.device, torch.float32)
    try:
        found = decompose(other, inputs, nested=net.nested)
        if found.names != net.names:
            with suppress(UsageError, DecompositionError):
                found = decompose(other, inputs, blocks=list(net.names))
    except EnsemblesError as error:
        raise LesionError(f"{what} cannot be taken apart as the network was: {error}") from error
    _require_alike(net, found, what)
    return found


def _require_alike(net: Decomposition, other: Decomposition, what: str) -> None:
    if len(other) != len(net):
        raise LesionError(
            f"{what} has {len(other)} blocks, the network {len(net)}; expected a network of the "
            "same architecture"
        )
    for ours, theirs in zip(net, other, strict=True):
        if (expected := _described(ours)) != (found := _described(theirs)):
            raise LesionError(
                f"block {ours.index} of {what} is {found}, that of the network {expected}; "
                "expected a network of the same architecture"
            )
        if (differing := _differing(ours, theirs)) is not None:
            raise LesionError(
                f"block {ours.index} ({ours.name}) of {what} differs from the network's in "
                f"{differing}; expected a network of the same architecture"
            )


def _described(block: Block) -> str:
    shapes = " to ".join("x".join(map(str, side)) for side in (block.in_shape, block.out_shape))
    return f"{block.name} ({block.kind}, {shapes})"


def _differing(ours: Block, theirs: Block) -> str | None:
    """The first weight or statistic that one of two blocks lacks, or that has another shape."""
    one, two = (
        {name: tuple(value.shape) for name, value in block.state_dict().items()}
        for block in (ours, theirs)
    )
    for name in (*one, *two):
        if one.get(name) != two.get(name):
            return f"{name} ({two.get(name, 'missing')} instead of {one.get(name, 'nothing')})"
    for name in _PARTS:
        if _operations(getattr(ours, name)) != _operations(getattr(theirs, name)):
            return f"what its {name} computes"
    return None


def _operations(part: nn.Module | None) -> list[str]:
    """What a part does, operation by operation, whatever its weights."""
    if not isinstance(part, fx.GraphModule):
        return [type(part).__name__]
    return [f"{node.op} {node.target}" for node in part.graph.nodes]


def weights_digest(net: Decomposition) -> str:
    """sha256 (hexadecimal) over the values of all weights and statistics of a network's parts."""
    return values_digest(net.stem, *net.blocks, net.head)


def values_digest(*modules: nn.Module) -> str:
    """sha256 (hexadecimal) over the values of all weights and statistics of modules, in order."""
    content = hashlib.sha256()
    for module in modules:
        for name, value in module.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                content.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
                flat = value.detach().cpu().contiguous().reshape(-1)
                content.update(flat.view(torch.uint8).numpy().data)
    return content.hexdigest()
