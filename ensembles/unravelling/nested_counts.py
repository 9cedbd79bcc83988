"""How many paths lead through blocks beside and inside each other, and how long they are.

Each tensor that is alive has a polynomial: the number of ways to it, by branches and by weight
layers on them. A block adds its branch's, one longer, to its shortcut's; what is computed of
several tensors has the sum of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import fx, nn

from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.simplification import operation
from ensembles.decomposition.state import Closing, Opening, Passage

__all__ = ["nested_joint_lengths", "nested_lengths"]

_Counts = dict[tuple[int, int], int]
_SIZES = ("size_affine", "made_beside", "blank")


def nested_lengths(net: Decomposition) -> dict[int, int]:
    """Number of paths by the number of branches on them, 0 to n."""
    choices = sum(block.has_shortcut for block in net)
    found = dict.fromkeys(range(choices + 1), 0)
    for (length, _), number in nested_joint_lengths(net).items():
        found[length] += number
    return found


def nested_joint_lengths(net: Decomposition) -> _Counts:
    """Number of paths by (branches, weight layers of the blocks' roads)."""
    stem = net.stem
    assert isinstance(stem, Opening)
    alive: dict[str, _Counts] = {"": {(0, 0): 1}}
    alive = _computed(alive, stem.takes, stem.makes, stem.computed)
    entry, keeps = stem.entry, stem.keeps
    for block in net:
        passage = block.before
        if isinstance(passage, Passage):
            alive = _computed(alive, passage.takes, passage.makes, passage.computed)
            entry, keeps = passage.entry, passage.keeps
        given = [alive[entry], *(alive[name] for name in block.reads)]
        left = _through(block, given)
        following = _next(net, block)
        alive = {name: alive[name] for name in keeps} | {following: left}
    head = net.head
    assert isinstance(head, Closing)
    (reached,) = _reached(head.computed)
    return _sum(alive[head.takes[place]] for place in reached)


def _next(net: Decomposition, block: Block) -> str:
    """What a block's output is called after it."""
    after = net.head if block.index == len(net) else net.block(block.index + 1).before
    assert isinstance(after, Closing | Passage)
    return after.left


def _computed(
    alive: Mapping[str, _Counts],
    takes: Sequence[str],
    makes: Sequence[str],
    graph: fx.GraphModule | None,
) -> dict[str, _Counts]:
    made = {}
    if graph is not None:
        for name, reached in zip(makes, _reached(graph), strict=True):
            made[name] = _sum(alive[takes[place]] for place in reached)
    return {**alive, **made}


def _through(block: Block, given: Sequence[_Counts]) -> _Counts:
    """The counts of a block's output, from those of its input and of what it reads beside."""
    given = [_part(block.pre, given), *given[1:]]
    branch = _part(block.branch, given)
    if not block.has_shortcut:
        return _longer(branch, 0, block.weight_layers)
    carried = _longer(_part(block.shortcut, given), 0, block.shortcut_layers)
    met = _sum([carried, _longer(branch, 1, block.weight_layers)])
    return _part(block.post, [met, *given[1:]])


def _part(part: nn.Module | None, given: Sequence[_Counts]) -> _Counts:
    if not isinstance(part, fx.GraphModule):
        return given[0]
    (reached,) = _reached(part)
    return _sum(given[place] for place in reached)


def _reached(graph: fx.GraphModule) -> list[list[int]]:
    """For each output of a graph the places of the inputs whose gradient it carries.

    What is learned of whole numbers, as an embedding of ids is, begins there.
    """
    carried: dict[fx.Node, set[int]] = {}
    fed: dict[fx.Node, set[int]] = {}
    place = 0
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            carried[node] = fed[node] = {place}
            place += 1
        elif node.op == "output":
            ends = node.args[0] if isinstance(node.args[0], tuple) else (node.args[0],)
            return [sorted(carried[end]) for end in ends if isinstance(end, fx.Node)]
        else:
            sized = operation(node) in _SIZES
            sources = [] if sized else node.all_input_nodes
            fed[node] = set[int]().union(*(fed[one] for one in sources))
            real = bool(node.meta.get("real", True))
            found = set[int]().union(*(carried[one] for one in sources)) if real else set[int]()
            carried[node] = found or (fed[node] if real and _is_learned(graph, node) else set())
    return []


def _is_learned(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node uses a weight."""
    if node.op == "call_module":
        return any(True for _ in graph.get_submodule(str(node.target)).parameters())
    fetched = [str(one.target) for one in node.all_input_nodes if one.op == "get_attr"]
    names = {name for name, _ in graph.named_parameters()}
    return any(name in names for name in fetched)


def _longer(counts: _Counts, branches: int, layers: int) -> _Counts:
    return {(k + branches, w + layers): number for (k, w), number in counts.items()}


def _sum(several: Iterable[_Counts]) -> _Counts:
    total: _Counts = {}
    for counts in several:
        for key, number in counts.items():
            total[key] = total.get(key, 0) + number
    return total
