"""The parts of a decomposition made fast, without changing what they compute.

A block becomes one graph; BatchNorm is folded into the convolution before it; additions and
activations write into a tensor that nobody else reads.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Collection, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ensembles.decomposition import Block

__all__ = ["compile_block", "compile_bypass", "compile_dropped", "compile_part"]

_FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_FRESH = (*_FOLDABLE, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
_RELUS = {F.relu, torch.relu}
_NEW = {operator.add, torch.add, torch.cat, torch.Tensor.add_}


def compile_part(part: nn.Module) -> nn.Module:
    """Make a stem, a head or what stands between blocks fast."""
    if isinstance(part, nn.Identity):
        return part
    return _compile(part, [("", part)])


def compile_block(block: Block) -> nn.Module:
    """Make a whole block one fast graph."""
    if not block.has_shortcut:
        return _compile(block, [("branch", block.branch)])
    graph, x = _start()
    entry = _inline(graph, block.pre, "pre", x)
    branch = _inline(graph, block.branch, "branch", entry)
    if block.kind == "dense":
        joined = graph.call_function(torch.cat, ([entry, branch], 1))
    else:
        joined = _joined(graph, block, entry, branch)
    graph.output(_inline(graph, block.post, "post", joined))
    return _finish(block, graph)


def _joined(graph: fx.Graph, block: Block, entry: fx.Node, branch: fx.Node) -> fx.Node:
    """The sum of branch and shortcut, through a gate where there is one."""
    carried = _inline(graph, block.shortcut, "shortcut", entry)
    if block.gate is not None:
        gate = _inline(graph, block.gate, "gate", entry)
        made = graph.call_function(operator.mul, (gate, branch)) if block.gates_branch else branch
        closing = graph.call_function(operator.sub, (1, gate))
        carried = graph.call_function(operator.mul, (closing, carried))
        return graph.call_function(operator.add, (made, carried))
    fresh = block.aligned and _makes_new(block, branch) and len(branch.users) == 0
    join = torch.Tensor.add_ if fresh else operator.add
    return graph.call_function(join, (branch, carried))


def compile_dropped(block: Block, dropped: Collection[int]) -> nn.Module:
    """Make a block without some of its roads fast; see `Block.dropped`."""
    roads = block.roads
    assert roads is not None
    graph, x = _start()
    entry = _inline(graph, block.pre, "pre", x)
    kept = [
        _inline(graph, road, f"roads.roads.{number - 1}", entry)
        for number, road in roads.kept(dropped)
    ]
    total = kept[0]
    for value in kept[1:]:
        total = graph.call_function(operator.add, (total, value))
    if roads.mean:
        total = graph.call_function(torch.div, (total, len(kept)))
    if block.has_shortcut:
        carried = _inline(graph, block.shortcut, "shortcut", entry)
        total = graph.call_function(operator.add, (total, carried))
        total = _inline(graph, block.post, "post", total)
    else:
        total = _inline(graph, roads.post, "roads.post", total)
    graph.output(total)
    return _finish(block, graph)


def compile_bypass(block: Block) -> nn.Module | None:
    """Make a block without its branch fast; None where nothing is left to do."""
    if block.kind == "dense":
        return _Bypass(block)
    if not block.has_shortcut:
        return block.adapter
    parts = [("pre", block.pre), ("shortcut", block.shortcut), ("post", block.post)]
    left = [(name, part) for name, part in parts if part is not None]
    return _compile(block, left) if left else None


class _Bypass(nn.Module):
    """A dense block whose branch contributes zeros."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block.deleted(x)


def _start() -> tuple[fx.Graph, fx.Node]:
    graph = fx.Graph()
    return graph, graph.placeholder("x")


def _compile(root: nn.Module, parts: Iterable[tuple[str, nn.Module]]) -> nn.Module:
    graph, x = _start()
    for name, part in parts:
        x = _inline(graph, part, name, x)
    graph.output(x)
    return _finish(root, graph)


def _finish(root: nn.Module, graph: fx.Graph) -> nn.Module:
    module = fx.GraphModule(root, graph, "Compiled")
    _fold(module)
    _write_in_place(module)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return copy.deepcopy(module).eval()


def _inline(graph: fx.Graph, part: nn.Module | None, name: str, x: fx.Node) -> fx.Node:
    """Copy the nodes of a part into a graph; the part is the identity where it is None."""
    if part is None:
        return x
    assert isinstance(part, fx.GraphModule)
    placed: dict[fx.Node, fx.Node] = {}
    for node in part.graph.nodes:
        if node.op == "placeholder":
            placed[node] = x
        elif node.op == "output":
            end = node.args[0]
            assert isinstance(end, fx.Node)
            return placed[end]
        else:
            placed[node] = graph.node_copy(node, placed.__getitem__)
            if node.op in ("call_module", "get_attr") and name:
                placed[node].target = f"{name}.{node.target}"
    raise AssertionError("a graph without output")


def _fold(module: fx.GraphModule) -> None:
    """Fold each BatchNorm into the convolution or linear layer that alone feeds it."""
    for node in list(module.graph.nodes):
        if node.op != "call_module" or not isinstance(node.args[0], fx.Node):
            continue
        norm = module.get_submodule(str(node.target))
        source = node.args[0]
        if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or source.op != "call_module":
            continue
        layer = module.get_submodule(str(source.target))
        if len(source.users) != 1 or norm.running_mean is None:
            continue
        folded = _folded(layer, norm)
        if folded is None:
            continue
        name = f"folded_{node.name}"
        module.add_submodule(name, folded)
        source.target = name
        node.replace_all_uses_with(source)
        module.graph.erase_node(node)


def _folded(layer: nn.Module, norm: nn.modules.batchnorm._BatchNorm) -> nn.Module | None:
    """Fold in double precision, so that rounding enters once."""
    dtype = next(norm.buffers()).dtype
    if isinstance(layer, _FOLDABLE):
        wide = copy.deepcopy(layer).double(), copy.deepcopy(norm).double()
        return fuse_conv_bn_eval(*wide).to(dtype)
    if isinstance(layer, nn.Linear):
        wide_linear = copy.deepcopy(layer).double(), copy.deepcopy(norm).double()
        return fuse_linear_bn_eval(*wide_linear).to(dtype)
    return None


def _write_in_place(module: fx.GraphModule) -> None:
    """Let activations overwrite an operand that is fresh and read by nobody else."""
    fresh: set[fx.Node] = set()
    for node in module.graph.nodes:
        if _makes_new(module, node):
            fresh.add(node)
        first = node.args[0] if node.args else None
        if not isinstance(first, fx.Node) or first not in fresh or len(first.users) != 1:
            continue
        if node.op == "call_function" and node.target in _RELUS:
            node.target, node.args, node.kwargs = torch.relu_, (first,), {}
            fresh.add(node)
        elif node.op == "call_module":
            activation = module.get_submodule(str(node.target))
            if getattr(activation, "inplace", None) is False:
                overwriting = copy.deepcopy(activation)
                overwriting.inplace = True  # type: ignore[assignment]
                name = f"in_place_{node.name}"
                module.add_submodule(name, overwriting)
                node.target = name
                fresh.add(node)


def _makes_new(module: nn.Module, node: fx.Node) -> bool:
    """Whether a node's value is a tensor of its own, no view and no input."""
    if node.op == "call_module":
        return isinstance(module.get_submodule(str(node.target)), _FRESH)
    return node.op == "call_function" and node.target in _NEW
