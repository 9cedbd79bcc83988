"""From a model to its verified decomposition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from ensembles.decomposition.adapters import Adapter
from ensembles.decomposition.blocks import (
    Block,
    BlockKind,
    Dense,
    Fractal,
    Gated,
    Parallel,
    Plain,
    Residual,
    Slot,
    Straight,
    TwoStream,
)
from ensembles.decomposition.chain import Segment, cut
from ensembles.decomposition.gradient_check import other_gradient
from ensembles.decomposition.graph import Graph, common_scope
from ensembles.decomposition.inputs import (
    Inputs,
    checked,
    cloned,
    named_tensors,
    names_of,
    shapes_of,
    types_of,
)
from ensembles.decomposition.layouts import mixed
from ensembles.decomposition.linear_sums import write_sums
from ensembles.decomposition.members import assemble_members, members_of
from ensembles.decomposition.network import Decomposition, Outside
from ensembles.decomposition.norms import norms_as_layers
from ensembles.decomposition.original import Original, plain_execution
from ensembles.decomposition.road_set import Roads
from ensembles.decomposition.simplification import simplify
from ensembles.decomposition.spans import Span, automatic, by_name
from ensembles.decomposition.subgraphs import concatenation, contribution, part
from ensembles.decomposition.trace import probe, scope_of, trace
from ensembles.decomposition.uncut import require_shortcuts, uncut
from ensembles.decomposition.verification import check_finite, check_independence, verify
from ensembles.numerics import exact_attention, tf32

__all__ = ["decompose"]

_SUMS: dict[BlockKind, type[Residual] | type[TwoStream]] = {
    cls.kind: cls for cls in (Residual, TwoStream)
}
_STRAIGHT: dict[BlockKind, type[Straight]] = {cls.kind: cls for cls in (Parallel, Fractal, Plain)}


def decompose(
    model: nn.Module,
    example: Inputs,
    *,
    blocks: Iterable[str] | str | None = None,
    kinds: Collection[str] | None = None,
) -> Decomposition:
    """Take a network apart into stem, blocks and head.

    The model is copied, traced to a graph, made functional and cut along the dominators of its
    output. What comes back computes in evaluation mode what the model computes, which is checked on
    the example. The model itself is not touched.

    Args:
        model: Any network from rows of inputs to logits (rows, classes), or to (rows, ...,
            classes) where a row has several answers, as the tokens of a text have.
        example: A batch of what it takes, on its device; real data make the check meaningful. All
            but the number of rows becomes fixed. A tensor, such as images (images, channels,
            height, width), series (rows, channels, length), tables (rows, columns), volumes, or
            ids (rows, tokens); for a model with several inputs a tuple, passed as
            ``model(*example)``, or a mapping, passed as ``model(**example)``.
        blocks: Names of the modules that are the blocks, or a regular expression that matches
            their names; by default they are found.
        kinds: Which kinds of block to take, of `blocks.KINDS`; by default those with a shortcut
            where there are any (residual, gated, two-stream, dense), then parallel and fractal
            ones, then plain ones; the members of an average of networks.

    Returns:
        The decomposition, on the model's device, in evaluation mode, with copies of its weights.
        It takes a batch in the form of the example: ``net((a, b))`` is ``model(a, b)``.

    Raises:
        DecompositionError: If the example holds no rows of inputs, or the model cannot be traced,
            has no blocks, or its parts do not compute what it computes; the message names the
            place.
        ModelError: If a weight or a logit is not finite.
        UsageError: If `blocks` or `kinds` names what does not exist.
    """
    rows = checked(example)
    check_finite(model)
    original = Original(model)
    with _exact(rows):
        rows = cloned(rows)
        twin, logits = original.twin(rows)
        alone = check_independence(twin, rows, logits)
        original.compare(rows, alone)
        traced, sizes, custom = trace(twin, rows)
        norms_as_layers(traced, sizes)
        write_sums(traced, sizes)
        simplify(traced)
        graph = Graph(traced, sizes)
        graph.mixed = mixed(traced, sizes, graph.chain, probe(rows, 2))
        segments = cut(graph)
        outside = Outside(
            type(model).__name__, shapes_of(rows), names_of(rows), types_of(rows), logits.shape[1:]
        )
        names = [name for name, _ in twin.named_modules() if name]
        members = members_of(graph, segments) if blocks is None and _is_real(rows) else ()
        if members and (kinds is None or "member" in kinds):
            net = assemble_members(graph, segments, members, outside)
        else:
            if blocks is None:
                spans, found = automatic(graph, segments, kinds)
            else:
                spans = by_name(graph, segments, blocks, names)
                found = Counter(span.kind for span in spans)
            net = _assemble(graph, segments, spans, found, outside)
            net.uncut = uncut(graph, segments, spans)
            if net.uncut and blocks is None and kinds is None:
                require_shortcuts(net)
        verify(twin, net, rows, logits, alone)
        if _is_real(rows) and any(block.has_shortcut for block in net):
            net.other_gradient = other_gradient(original, net, rows, custom)
    return net


@contextmanager
def _exact(inputs: Inputs) -> Iterator[None]:
    """Run models as they are written, without gradients and in the precision of their weights."""
    device = next(iter(named_tensors(inputs).values())).device.type
    with (
        torch.inference_mode(False), torch.no_grad(), exact_attention(), tf32(False),
        plain_execution(device),
    ):  # fmt: skip
        yield


def _is_real(inputs: Inputs) -> bool:
    """Whether inputs are one tensor of real numbers, which can be carried along as a state."""
    return isinstance(inputs, Tensor) and inputs.is_floating_point()


def _assemble(
    graph: Graph,
    segments: Sequence[Segment],
    spans: list[Span],
    found: Counter[str],
    outside: Outside,
) -> Decomposition:
    blocks = []
    place = graph.input
    for index, span in enumerate(spans, 1):
        first = segments[span.start].entry
        before = _between(graph, place, first, "Between") if index > 1 else None
        blocks.append(_block(graph, segments, span, index, before))
        place = segments[span.stop - 1].exit
    _number_steps(blocks)
    assert isinstance(graph.output, fx.Node)
    net = Decomposition(
        stem=_between(graph, graph.input, segments[spans[0].start].entry, "Stem") or nn.Identity(),
        blocks=blocks,
        head=_between(graph, place, graph.output, "Head") or nn.Identity(),
        outside=outside,
        found=found,
        traced=graph.traced,
    )
    return net.eval()


def _number_steps(blocks: Sequence[Block]) -> None:
    """Blocks that share weights are time steps of one module; number them."""
    users: dict[int, list[Block]] = {}
    for block in blocks:
        for weight in block.branch.parameters():
            users.setdefault(id(weight), []).append(block)
    for together in users.values():
        for step, block in enumerate(together, 1):
            if len(together) > block.steps:
                block.step, block.steps = step, len(together)


def _between(graph: Graph, entry: fx.Node, exit_: fx.Node, name: str) -> nn.Module | None:
    return None if entry is exit_ else part(graph, entry, exit_, name)


def _block(
    graph: Graph, segments: Sequence[Segment], span: Span, index: int, before: nn.Module | None
) -> Block:
    entry, exit_ = segments[span.start].entry, segments[span.stop - 1].exit
    shapes = graph.sizes[entry.name].shape, graph.sizes[exit_.name].shape
    slot = Slot(index, span.name, *shapes, before)
    core = None if span.core is None else segments[span.core]
    if core is None or not core.shortcut:
        return _straight(graph, slot, span.kind, (entry, exit_), core)
    depths = graph.depth(core.branches, core.entry), graph.depth(core.shortcut, core.entry)
    around: dict[str, Any] = {
        "pre": _between(graph, entry, core.entry, "Pre"),
        "post": _between(graph, core.exit, exit_, "Post"),
        "aligned": core.aligned,
    }
    if core.kind == Dense.kind:
        branch = concatenation(graph, core.entry, core.branches, "Branch")
        width = graph.sizes[core.exit.name].rest[0]
        return Dense(slot, branch, width=width, layers=depths[0], **around)
    if core.gating is not None:
        return Gated(
            slot,
            part(graph, core.entry, core.gating.branch, "Branch", core.exit),
            gate=part(graph, core.entry, core.gating.gate, "Gate", core.exit),
            gates_branch=core.gating.on_branch,
            shortcut=_between(graph, core.entry, core.gating.carried, "Shortcut"),
            layers=depths,
            **around,
        )
    shortcut = contribution(graph, core.entry, core.exit, core.branches, "Shortcut")
    return _SUMS[span.kind](
        slot,
        contribution(graph, core.entry, core.exit, core.shortcut, "Branch"),
        shortcut=None if _is_identity(shortcut, graph, core) else shortcut,
        layers=depths,
        roads=_roads(graph, core, core.exit),
        **around,
    )


def _straight(
    graph: Graph,
    slot: Slot,
    kind: BlockKind,
    ends: tuple[fx.Node, fx.Node],
    core: Segment | None,
) -> Block:
    """A block without a shortcut."""
    entry, exit_ = ends
    return _STRAIGHT[kind](
        slot,
        part(graph, entry, exit_, "Branch"),
        adapter=_adapter(graph, entry, exit_, (slot.in_shape, slot.out_shape)),
        layers=graph.depth((exit_,), entry),
        roads=None if core is None else _roads(graph, core, exit_),
    )


def _roads(graph: Graph, core: Segment, exit_: fx.Node) -> Roads | None:
    """The roads that can be dropped, where there are several."""
    if len(core.roads) < 2:
        return None
    cones = [
        set[fx.Node]().union(*(graph.cone(end, core.entry) for end in ends)) for ends in core.roads
    ]
    names = []
    for ends, cone in zip(core.roads, cones, strict=True):
        own = cone.difference(*(other for other in cones if other is not cone))
        weighted = [scope_of(node) for node in own if graph.weights(node)]
        names.append(common_scope(weighted) or scope_of(ends[0]))
    mean = core.kind == Fractal.kind
    if mean:
        roads = [part(graph, core.entry, end, "Road", core.exit) for (end,) in core.roads]
    else:
        every = {end for ends in (core.shortcut, *core.roads) for end in ends}
        roads = [
            contribution(graph, core.entry, core.exit, every - {*ends}, "Road", within=core.sharing)
            for ends in core.roads
        ]
    post = _between(graph, core.exit, exit_, "Post")
    return Roads(roads, names, mean, post, core.sharing)


def _is_identity(road: fx.GraphModule, graph: Graph, core: Segment) -> bool:
    """Whether a road gives back what it takes (a tensor taken apart and put together again)."""
    if core.shortcut != (core.entry,):
        return False
    sizes = graph.sizes[core.entry.name]
    if sizes.two is None or sizes != graph.sizes[core.exit.name]:
        return False
    probe = torch.arange(torch.Size(sizes.two).numel(), device=graph.device).reshape(sizes.two)
    return torch.equal(road(probe), probe)


def _adapter(
    graph: Graph, entry: fx.Node, exit_: fx.Node, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> Adapter | None:
    old, new = shapes
    alone = all(graph.sizes[node.name].batch == (0, 1) for node in (entry, exit_))
    if old == new or len(old) != len(new) or not alone:
        return None
    return Adapter(old, new, _channel_dimension(graph, entry, exit_, len(old)))


def _channel_dimension(graph: Graph, entry: fx.Node, exit_: fx.Node, rank: int) -> int:
    """Channels come first where a convolution made the tensor, last where linear layers did."""
    inside = graph.cone(exit_, entry)
    convolved = any(weight.ndim == rank + 1 for node in inside for weight in graph.weights(node))
    return 0 if rank > 1 and convolved else rank - 1
