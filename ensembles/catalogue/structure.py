"""What a network is made of, as plain values: its blocks, and how many paths they make."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from ensembles.decomposition import Block, Decomposition, decompose
from ensembles.errors import DecompositionError, ModelError, UsageError
from ensembles.models import architecture, create_model
from ensembles.numerics import forked
from ensembles.unravelling.path_counts import block_lengths, graph_lengths, weight_lengths

__all__ = ["describe", "inspected", "summary"]

_WORDS = 100
"""Ids that every language model has."""


def inspected(
    name: str,
    model: torch.nn.Module | None = None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    blocks: str | None = None,
    kinds: list[str] | None = None,
    nested: bool | None = None,
    window: int | None = None,
) -> Decomposition:
    """Take an architecture apart on random images, or random tokens.

    Args:
        name: Name of an architecture.
        model: A network of this architecture; by default one with random weights.
        image_size: Height and width of the images; by default the architecture's own.
        channels: Of the images; by default the architecture's own.
        blocks: As for :func:`ensembles.decompose`.
        kinds: As for :func:`ensembles.decompose`.
        nested: As for :func:`ensembles.decompose`.
        window: Tokens of a window, for a language model; by default the architecture's own, or 64.

    Raises:
        ModelError: If there is no such architecture.
        UsageError: If the size is no size.
        DecompositionError: If it cannot be taken apart, or does not take images of this size.
    """
    if image_size is not None and image_size < 1:
        raise UsageError(f"image size {image_size}; expected 1 or more")
    generator = torch.Generator().manual_seed(0)
    if window is not None or architecture(name).task == "language":
        if image_size is not None:
            raise UsageError(f"{name} is a language model; leave the image size out")
        length = window or architecture(name).input_size[0]
        images = torch.randint(0, _WORDS, (2, length), generator=generator)
    else:
        own, height, width = architecture(name).input_size
        shape = (2, channels or own, image_size or height, image_size or width)
        images = torch.randn(shape, generator=generator)
    if model is None:
        with forked(0):
            more = {} if channels is None else {"in_channels": channels}
            model = create_model(name, **more)
    try:
        net = decompose(model, images, blocks=blocks, kinds=kinds, nested=nested)
    except (DecompositionError, ModelError):
        if not images.is_floating_point():
            raise
        # Untrained BatchNorm lets many layers overflow, or round too much, in single precision.
        net = decompose(model.double(), images.double(), blocks=blocks, kinds=kinds, nested=nested)
    net.model_name = name
    return net


def summary(
    model: torch.nn.Module, example: Any = None, *, size: tuple[int, ...] | None = None
) -> pd.DataFrame:
    """The blocks of a network, one row each.

    Args:
        model: A network taken apart, or any module; for a module an example or a size is needed.
        example: A batch of what the module takes, as for :func:`ensembles.decompose`.
        size: In its place the shape of one row, such as (3, 224, 224), for a random one.

    Returns:
        Columns `block`, `name`, `kind`, `shortcut`, `transition`, `in_shape`, `out_shape`,
        `weight_layers`, `parameters`; ``attrs`` hold `model`, `parameters` and `paths`.

    Raises:
        UsageError: If a module comes without example and size.
        DecompositionError: If it cannot be taken apart.
    """
    if not isinstance(model, Decomposition):
        if example is None and size is None:
            raise UsageError(
                f"the model {type(model).__name__} is not taken apart; give an example, a batch of "
                "what it takes, or a size, such as size=(3, 224, 224)"
            )
        if example is None:
            assert size is not None
            example = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
        model = decompose(model, example)
    described = describe(model)
    names = ("block", "name", "kind", "shortcut", "transition", "in_shape", "out_shape",
             "weight_layers", "parameters")  # fmt: skip
    rows = [[row[name] for name in names] for row in described["blocks"]]
    frame = pd.DataFrame(rows, columns=list(names))
    frame.attrs.update({name: described[name] for name in ("model", "parameters", "paths")})
    return frame


def describe(net: Decomposition) -> dict[str, Any]:
    """Describe a network.

    Returns:
        ``model``, ``input_shape``, ``classes``, ``blocks`` (a list, see below), ``found`` (segments
        of each kind in the whole network), ``parameters``, ``paths`` (2^n for n blocks with a
        shortcut), and the numbers of paths by length: ``lengths`` in branches taken,
        ``weight_layers`` in weight layers of the blocks, ``graph_weight_layers`` in weight layers
        from the images to the logits, along every edge of the graph. A block has ``block`` (its
        number), ``name``, ``kind``, ``shortcut`` (`Block.road`), ``transition``, ``in_shape``,
        ``out_shape``, ``weight_layers`` and ``shortcut_layers`` (on the longest path through each),
        ``parameters``, ``adapted`` (what deletion does to the shape, where there is no shortcut),
        ``roads`` (the modules of the branches that can be dropped, from branch 1), and ``step`` of
        ``steps`` (which use of weights that several blocks share), ``reads`` (what it reads beside
        its input) and ``holds`` (the blocks that lie within its branch). ``nested`` says whether
        there are such; ``on_chain`` through how many blocks every path leads, and ``inside`` how
        many were found inside others and are not taken; ``uncut`` the modules in which activations
        are added within what no block was made of, ``answer`` what the logits are called in what
        the model gives ("" where it gives nothing else).
    """
    lengths = block_lengths(net)
    return {
        "model": net.model_name,
        "input_shape": list(net.input_shape),
        "classes": net.num_classes,
        "parameters": sum(weight.numel() for weight in net.traced.parameters()),
        "blocks": [_row(block) for block in net],
        "found": dict(net.found),
        "nested": net.is_nested,
        "inside": net.inside,
        "uncut": list(net.uncut),
        "answer": net.answer,
        "on_chain": net.on_chain,
        "paths": sum(lengths.values()),
        "lengths": lengths,
        "weight_layers": weight_lengths(net),
        "graph_weight_layers": graph_lengths(net),
    }


def _row(block: Block) -> dict[str, Any]:
    return {
        "block": block.index,
        "name": block.name,
        "kind": block.kind,
        "shortcut": block.road,
        "transition": block.is_transition,
        "in_shape": list(block.in_shape),
        "out_shape": list(block.out_shape),
        "weight_layers": block.weight_layers,
        "shortcut_layers": block.shortcut_layers,
        "parameters": block.parameter_count,
        "adapted": block.adaptation,
        "roads": [] if block.roads is None else list(block.roads.names),
        "step": block.step,
        "steps": block.steps,
        "reads": list(block.reads),
        "holds": list(block.holds),
    }
