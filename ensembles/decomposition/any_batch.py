"""Two recordings, of a batch of two images and of one of three, become one graph for any batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from ensembles.decomposition.plain_constants import plain_constants
from ensembles.decomposition.pure_forms import UnfollowableError
from ensembles.decomposition.recorder import Recorder
from ensembles.decomposition.sizes import Sizes, made_beside, sample_of, size_affine
from ensembles.errors import DecompositionError

__all__ = ["merge"]

_FACTORIES = {
    getattr(torch, name): name
    for name in ("arange", "empty", "eye", "full", "linspace", "ones", "tensor", "zeros")
}


def merge(two: Recorder, three: Recorder) -> tuple[fx.GraphModule, dict[str, Sizes]]:
    """Find out which numbers in a graph follow the number of images.

    Args:
        two: The recording of two images; its graph is used up.
        three: The recording of three others.

    Returns:
        A graph in which these numbers are computed, and the shapes of all values, by node name.

    Raises:
        DecompositionError: If the model treats its images together.
        UnfollowableError: If the model uses a tensor that was made where no recording sees it.
    """
    name = type(two.model).__name__
    for one, other in zip(two.decisions, three.decisions, strict=False):
        if one.place != other.place or one.outcome != other.outcome:
            raise DecompositionError(
                f"{name} decides on the data ({one.place}): {one.outcome} for two rows of the "
                f"example, {other.outcome} for three others; expected the same operations for all"
            )
    pairs = list(zip(two.graph.nodes, three.graph.nodes, strict=False))
    partner = {b: a for a, b in pairs}
    alike = all(a.op == b.op and a.target == b.target for a, b in pairs)
    if not alike or len(two.graph.nodes) != len(three.graph.nodes):
        raise DecompositionError(
            f"{name} does other operations for three images than for two; "
            "expected a network that treats every image alike"
        )
    for a, b in pairs:
        if a.op == "get_attr":
            _compare(two.tensor(a), three.tensor(b))
    sizes = {}
    for a, b in pairs:
        shapes = two.shapes.get(a), three.shapes.get(b)
        sizes[a.name] = Sizes(*shapes)
        _merge_arguments(two.graph, a, b, partner)
    for key, constant in two.constants.items():
        _register(two.model, key, constant)
    _without_gradient(two.graph, sizes)
    traced = fx.GraphModule(two.model, two.graph, name)
    _fix_constants(traced, sizes)
    plain_constants(traced, sizes)
    return traced, sizes


def _without_gradient(graph: fx.Graph, sizes: dict[str, Sizes]) -> None:
    """Write down where what a model computes without gradients is used with them."""
    for node in list(graph.nodes):
        if not node.meta.get("no_grad") or sizes[node.name].two is None:
            continue
        outside = [u for u in node.users if u.op != "output" and not u.meta.get("no_grad")]
        if not outside and not any(user.op == "output" for user in node.users):
            continue
        with graph.inserting_after(node):
            held = graph.call_method("detach", (node,))
        held.meta = {**node.meta}
        sizes[held.name] = sizes[node.name]
        for user in [*outside, *(u for u in node.users if u.op == "output")]:
            user.replace_input_with(node, held)


def _register(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Keep a tensor that the model uses and does not register; real numbers are weights."""
    if tensor.is_floating_point() or tensor.is_complex():
        model.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
    else:
        model.register_buffer(name, tensor, persistent=False)


def _compare(one: Tensor, other: Tensor) -> None:
    one, other = (t if t.layout is torch.strided else t.to_dense() for t in (one, other))
    if one is not other and (one.shape != other.shape or not torch.equal(one, other)):
        raise UnfollowableError("a tensor is made by an operation that cannot be seen")


def _merge_arguments(
    graph: fx.Graph, a: fx.Node, b: fx.Node, partner: dict[fx.Node, fx.Node]
) -> None:
    sample = sample_of(next(iter(graph.nodes)))
    follows = False

    def merged(one: Any, other: Any) -> Any:
        nonlocal follows
        if isinstance(one, (tuple, list)):
            if len(one) == len(other):
                return type(one)(merged(*both) for both in zip(one, other, strict=True))
        elif isinstance(one, dict):
            if one.keys() == other.keys():
                return {key: merged(value, other[key]) for key, value in one.items()}
        elif isinstance(one, slice):
            ends = ((one.start, other.start), (one.stop, other.stop), (one.step, other.step))
            return slice(*(merged(*both) for both in ends))
        elif isinstance(one, fx.Node):
            if partner.get(other) is one:
                return one
        elif one == other or one is other:
            return one
        elif type(one) is int and type(other) is int:
            follows = True
            return _size(graph, sample, a, one, other)
        raise DecompositionError(
            f"the model computes with {other} for three images and {one} for two in "
            f"{a.meta.get('scope') or 'its forward'}; expected images that are independent"
        )

    a.args, a.kwargs = merged(a.args, b.args), merged(a.kwargs, b.kwargs)
    if follows and a.op == "call_function" and a.target in _FACTORIES:
        a.args, a.target = (sample, _FACTORIES[a.target], *a.args), made_beside
        a.meta["anchored"] = True


def _size(graph: fx.Graph, sample: fx.Node, node: fx.Node, two: int, three: int) -> fx.Node:
    factor = three - two
    with graph.inserting_before(node):
        size = graph.call_function(size_affine, (sample, 0, 1, factor, two - 2 * factor))
    size.meta["anchored"] = True
    return size


def _origin(node: fx.Node) -> bool:
    """Whether what was computed once holds numbers that were given, not those of a factory."""
    given = node.op == "get_attr" or node.target is torch.tensor
    return given or any(_origin(source) for source in node.all_input_nodes)


def _fix_constants(traced: fx.GraphModule, sizes: dict[str, Sizes]) -> None:
    """Compute once what depends neither on the images nor on a weight."""
    weights = {name for name, _ in traced.named_parameters()}
    runner = fx.Interpreter(traced)
    fixed: set[fx.Node] = set()
    for node in traced.graph.nodes:
        given = node.op == "get_attr" and node.target not in weights
        computed = node.op in ("call_function", "call_method") and "anchored" not in node.meta
        if given or (computed and all(source in fixed for source in node.all_input_nodes)):
            fixed.add(node)
    for node in traced.graph.nodes:
        if node in fixed:
            runner.env[node] = runner.run_node(node)
    for node in fixed:
        value = runner.env[node]
        needed = isinstance(value, Tensor) and any(user not in fixed for user in node.users)
        if needed and node.op != "get_attr":
            name = f"_fixed_{node.name}"
            traced.register_buffer(name, value, persistent=False)
            with traced.graph.inserting_before(node):
                buffer = traced.graph.get_attr(name)
            buffer.meta = {**node.meta, "origin": _origin(node)}
            sizes[buffer.name] = Sizes(tuple(value.shape), tuple(value.shape))
            node.replace_all_uses_with(buffer)
    traced.graph.eliminate_dead_code()
