"""Decisions on the data: what was decided for the example must hold for every batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from ensembles.decomposition.pure_forms import name_of
from ensembles.decomposition.quiet_graph import QuietGraph
from ensembles.decomposition.tensor_state import tensors_in
from ensembles.errors import DecompositionError, EvaluationError

__all__ = [
    "READS_DATA", "Decision", "UndecidedError", "ancestors", "calling_line", "draws", "guarded",
    "is_routed", "settle", "undecided", "without_guards",
]  # fmt: skip

READS_DATA = {
    "__bool__", "__int__", "__float__", "__index__", "__complex__", "__contains__", "item",
    "tolist", "numpy", "equal", "allclose", "is_nonzero",
}  # fmt: skip
"""Functions of torch that take numbers out of a tensor."""

_DRAWS = {"rand", "randn", "randint", "randperm", "normal"}

_OF_IDS = " of the ids"
"""Stands behind the place of a decision where the model takes whole numbers alone."""

_OURS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


class Decision(NamedTuple):
    """What a model read out of an activation.

    Attributes:
        guard: The node that checks it.
        outcome: What was read.
        place: The line that read it.
    """

    guard: fx.Node
    outcome: Any
    place: str


def draws(func: Any, given: Any) -> bool:
    """Whether a function of torch draws numbers, from a seed: else the model were random."""
    return getattr(func, "__name__", "") in _DRAWS and not any(True for _ in tensors_in(given))


def guarded(x: Any, condition: Any, outcome: Any, place: str) -> Any:
    """An activation, where a decision on the data is the one that was recorded.

    Raises:
        EvaluationError: If it is another one, with the line that takes it.
    """
    if isinstance(x, fx.Proxy):  # a part that is read from a file
        given = (x, condition, outcome, place)
        return x.tracer.create_proxy("call_function", guarded, given, {})
    if torch.compiler.is_compiling() or (x.is_cuda and torch.cuda.is_current_stream_capturing()):
        return x  # a run before has checked it
    found = condition.item() if isinstance(condition, Tensor) else condition
    if type(outcome)(found) != outcome:
        advice = "leave such inputs out, or take the network apart with an example of them"
        if place.endswith(_OF_IDS):
            advice = (
                "where this is padding that it looks for among the ids, pass attention_mask beside "
                "input_ids, by name, to decompose and in the data"
            )
        raise EvaluationError(
            f"the network decides on the data ({place}): {outcome} for the example, {found} for "
            f"this batch, which would run other operations; {advice}"
        )
    return x


def calling_line(ids: bool = False) -> str:
    """The line of the user's code that runs now, as "file.py, line 3".

    Args:
        ids: Whether what it reads is made of whole numbers alone, which is then said.
    """
    frame = inspect.currentframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_OURS):
            return f"{Path(name).name}, line {frame.f_lineno}{_OF_IDS if ids else ''}"
        frame = frame.f_back
    return "its forward"


class UndecidedError(DecompositionError):
    """A model reads numbers out of an activation, which no batch has again.

    Attributes:
        routed: The module that does, where these follow from what a router chose; else "".
    """

    routed = ""


def undecided(model: nn.Module, scope: str, what: str, read: fx.Node, ids: bool) -> UndecidedError:
    """The error of a model that reads numbers out of a value, in the line that runs now."""
    if what in ("numpy", "tolist"):
        rest = "numbers that leave torch are not followed, so compute with torch's functions alone"
    else:
        rest = "expected the same operations for all images"
    error = UndecidedError(
        f"{type(model).__name__} decides on the data in {scope or 'its forward'} ({what} of a "
        f"tensor), {calling_line(ids)}; {rest}"
    )
    error.routed = scope if is_routed(read) else ""
    return error


def is_routed(node: fx.Node) -> bool:
    """Whether a value follows from what a router chose: a ``topk`` is among what it is made of."""
    return any(
        one.op in ("call_function", "call_method") and name_of(one.target) == "topk"
        for one in (node, *ancestors(node))
    )


def ancestors(node: fx.Node) -> Iterator[fx.Node]:
    """The nodes that a node is made from, the nearest first."""
    seen = {node}
    waiting = [node]
    while waiting:
        for source in waiting.pop(0).all_input_nodes:
            if source not in seen:
                seen.add(source)
                waiting.append(source)
                yield source


def settle(
    graph: fx.Graph,
    decisions: Iterable[Decision],
    active: Iterable[fx.Node],
    shapes: dict[fx.Node, tuple[int, ...] | None],
) -> bool:
    """Hang guards on activations that are used, where what they hang on is used no more.

    Args:
        graph: The graph.
        decisions: What was decided.
        active: The nodes whose value depends on the images.
        shapes: The shape of each node's value.

    Returns:
        Whether all guards hang on something.
    """
    order = {node: place for place, node in enumerate(graph.nodes)}
    streams = set(active)
    for guard, _, _ in decisions:
        if guard.users:
            continue
        later = next(
            (
                (source, user)
                for user in graph.nodes
                if order[user] > order[guard] and user.op != "output" and user in streams
                for source in user.all_input_nodes
                if source in streams and order[source] < order[guard] and shapes.get(source)
            ),
            None,
        )
        if later is None:
            return False
        source, _ = later
        shapes[guard] = shapes.get(source)
        guard.meta |= {key: source.meta[key] for key in ("real", "dtype") if key in source.meta}
        users = [user for user in source.users if order[user] > order[guard]]
        guard.args = (source, *guard.args[1:])
        for user in users:
            user.replace_input_with(source, guard)
    return True


def without_guards(part: nn.Module) -> nn.Module:
    """A part that decides nothing, for derivatives; itself where it does not."""
    if not isinstance(part, fx.GraphModule):
        return part
    if not any(node.target is guarded for node in part.graph.nodes):
        return part
    graph = fx.Graph()
    graph.output(graph.graph_copy(part.graph, {}))
    bare = QuietGraph(part, graph, type(part).__name__).eval()
    for node in list(bare.graph.nodes):
        if node.target is guarded:
            node.replace_all_uses_with(node.args[0])
    bare.graph.eliminate_dead_code()
    bare.recompile()
    bare.meta = dict(part.meta)
    return bare
