"""From a model to its verified decomposition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import partial

from torch import Tensor, fx, nn

from ensembles.decomposition.batch_sizes import BatchSizes
from ensembles.decomposition.blocks import Block, Slot
from ensembles.decomposition.chain import cut
from ensembles.decomposition.collected_terms import collect_terms
from ensembles.decomposition.gradient_check import other_gradient, other_weights
from ensembles.decomposition.graph import Graph
from ensembles.decomposition.hidden_sums import write_hidden_sums
from ensembles.decomposition.independence import steady
from ensembles.decomposition.inputs import (
    Inputs,
    checked,
    cloned,
    named_tensors,
    names_of,
    rows_of,
    shapes_of,
    types_of,
)
from ensembles.decomposition.laps import Laps
from ensembles.decomposition.layouts import mixed
from ensembles.decomposition.linear_sums import write_sums
from ensembles.decomposition.live_tensors import Ends, Wiring
from ensembles.decomposition.members import assemble_members, members_of
from ensembles.decomposition.nested_blocks import Site
from ensembles.decomposition.network import Decomposition, Outside
from ensembles.decomposition.norms import norms_as_layers
from ensembles.decomposition.original import Original, exact_execution
from ensembles.decomposition.other_lengths import OtherLengths, windows_alone
from ensembles.decomposition.quiet_hooks import with_hooks
from ensembles.decomposition.selection import named, selected
from ensembles.decomposition.shared_sums import share_sums
from ensembles.decomposition.simplification import simplify
from ensembles.decomposition.sites import between, block_at
from ensembles.decomposition.sizes import Sizes
from ensembles.decomposition.trace import probe
from ensembles.decomposition.uncut import require_shortcuts, uncut
from ensembles.decomposition.verification import check_finite, verify
from ensembles.garbage import collection_paused

__all__ = ["decompose"]


@collection_paused()
def decompose(
    model: nn.Module,
    example: Inputs,
    *,
    blocks: Iterable[str] | str | None = None,
    kinds: Collection[str] | None = None,
    nested: bool | None = None,
) -> Decomposition:
    """Take a network apart into stem, blocks and head.

    The model is copied, traced to a graph, made functional and cut along the dominators of its
    output. What comes back computes in evaluation mode what the model computes, which is checked on
    the example. The model itself is not touched.

    Args:
        model: Any network from rows of inputs to logits (rows, classes), or to (rows, ...,
            classes) where a row has several answers, as the tokens of a text have; or to an
            object, a tuple or a mapping with `logits`, else the first tensor in it that fits.
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
        nested: Whether to look for blocks inside others and beside them too: every addition is held
            against its own immediate dominator. By default it is looked beside the blocks that end
            in a sum, and inside these where one holds more blocks than there are on the chain, or
            each more than three on average; False takes those alone through which every path leads.

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
    original, laps = Original(model), Laps()
    with exact_execution(next(iter(named_tensors(rows).values())).device):
        rows = cloned(rows)
        twin, logits = original.twin(rows)
        laps.done("copied and run")
        with steady(twin, rows, logits):
            alone = original.alone(twin, rows, logits)
        laps.done("held against the model and against single rows")
        with steady(twin, rows, logits):
            hooked, (traced, sizes, custom, answer) = with_hooks(original, twin, rows)
        laps.done("recorded")
        graph = _functional(traced, sizes)
        two = probe(rows, 2)
        graph.mixed = mixed(traced, sizes, graph.chain, two)
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
                chosen = selected(graph, segments, kinds, nested)
            else:
                chosen = named(graph, segments, blocks, names)
            found = chosen.graph, chosen.sites, chosen.found, outside
            net = _assemble(*found) if chosen.chained else _assemble_nested(*found, two)
            net.inside, net.on_chain, net.nested = chosen.inside, chosen.on_chain, nested
            net.uncut = uncut(graph, segments, chosen.sites)
            if blocks is None and kinds is None:
                require_shortcuts(net)
        net.answer = answer
        laps.done("cut into blocks")
        single = _is_real(rows) and len(net.output_shape) == 1
        single = single and any(block.has_shortcut for block in net)  # paths can be asked for
        with steady(twin, rows, logits):
            tape = verify(twin, net, rows, logits, alone, followed=single)
        laps.done("verified")
        if single:
            net.other_gradient = other_gradient(original, net, rows, custom, tape)
            net.other_weights = other_weights(original, net, rows, custom)
            laps.done("gradient compared")
    net.sizes = BatchSizes(hooked, rows, (1, rows_of(rows)))
    laps.tell(outside.model_name, original.seconds)
    if windows_alone(rows):
        again = partial(decompose, model, blocks=blocks, kinds=kinds, nested=nested)
        net.lengths = OtherLengths(model, rows, again)
    return net


def _functional(traced: fx.GraphModule, sizes: dict[str, Sizes]) -> Graph:
    """A recorded graph with its norms as layers and its linear joins as sums."""
    norms_as_layers(traced, sizes)
    write_sums(traced, sizes)
    collect_terms(traced, sizes)
    share_sums(traced, sizes)
    simplify(traced)
    first = Graph(traced, sizes)
    graph = write_hidden_sums(first)
    if graph is first:
        return graph
    collect_terms(traced, sizes)  # what was hidden may hold a tensor that is added elsewhere too
    traced.recompile()
    return Graph(traced, sizes, graph.context)


def _is_real(inputs: Inputs) -> bool:
    """Whether inputs are one tensor of real numbers, which can be carried along as a state."""
    return isinstance(inputs, Tensor) and inputs.is_floating_point()


def _assemble(
    graph: Graph, sites: Sequence[Site], found: Counter[str], outside: Outside
) -> Decomposition:
    """A chain: each block reads what the one before it left."""
    blocks = []
    place = graph.input
    for index, site in enumerate(sites, 1):
        before = between(graph, place, site.entry, "Between") if index > 1 else None
        taken, given = (graph.sizes[node.name].shape for node in (site.entry, site.exit))
        blocks.append(block_at(graph, site, Slot(index, site.name, taken, given, before)))
        place = site.exit
    _number_steps(blocks)
    assert isinstance(graph.output, fx.Node)
    net = Decomposition(
        stem=between(graph, graph.input, sites[0].entry, "Stem") or nn.Identity(),
        blocks=blocks,
        head=between(graph, place, graph.output, "Head") or nn.Identity(),
        outside=outside,
        found=found,
        traced=graph.traced,
    )
    return net.eval()


def _assemble_nested(
    graph: Graph, sites: Sequence[Site], found: Counter[str], outside: Outside, two: Inputs
) -> Decomposition:
    """Blocks that lie beside or inside each other, or read other tensors beside their input."""
    wiring = Wiring(graph, [Ends(site.entry, site.exit) for site in sites])
    graph.mixed = graph.mixed | mixed(graph.traced, graph.sizes, wiring.alive, two)
    blocks = []
    for index, (site, reads) in enumerate(zip(sites, wiring.reads, strict=True), 1):
        taken, given = (graph.sizes[node.name].shape for node in (site.entry, site.exit))
        before = wiring.passage(index - 1) if index > 1 else None
        names = wiring.names(reads)
        beside = names, wiring.holds(index), graph.layout(site.exit)
        slot = Slot(index, site.name, taken, given, before, *beside)
        blocks.append(block_at(graph, site, slot, reads))
    _number_steps(blocks)
    net = Decomposition(
        stem=wiring.opening(),
        blocks=blocks,
        head=wiring.closing(),
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
