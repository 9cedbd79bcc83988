"""The parts of a decomposition made fast, without changing what they compute.

A block becomes one graph; BatchNorm is folded into the convolution before it; additions and
activations write into a tensor that nobody else reads.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ensembles.decomposition import Block
from ensembles.decomposition.writer import Written

__all__ = ["compile_block", "compile_bypass", "compile_dropped", "compile_part"]

_FOLDABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_FRESH = (*_FOLDABLE, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
_RELUS = {F.relu, torch.relu}
_NEW = {operator.add, torch.add, torch.cat, torch.Tensor.add_}


def compile_part(part: nn.Module) -> nn.Module:
    """Make a stem, a head or what stands between blocks fast."""
    if isinstance(part, nn.Identity):
        return part
    writer = _GraphWriter(part)
    return writer.module(writer.part(part, "", writer.x))


def compile_block(block: Block) -> nn.Module:
    """Make a whole block one fast graph."""
    writer = _GraphWriter(block)
    return writer.module(block.write(writer, writer.x))


def compile_dropped(block: Block, dropped: Collection[int]) -> nn.Module:
    """Make a block without some of its roads fast; see `Block.dropped`."""
    writer = _GraphWriter(block)
    return writer.module(block.write_without(writer, writer.x, dropped))


def compile_bypass(block: Block) -> nn.Module | None:
    """Make a block without its branch fast; None where nothing is left to do, or nothing fits."""
    if not block.deletable:
        return None
    writer = _GraphWriter(block)
    end = block.write_bypass(writer, writer.x)
    return None if end is writer.x else writer.module(end)


class _GraphWriter:
    """Takes down what a module computes as a graph, its parts inlined."""

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.graph = fx.Graph()
        self.x = self.graph.placeholder("x")

    def part(self, module: nn.Module | None, name: str, x: fx.Node) -> fx.Node:
        """Inline a part; what is no graph is called."""
        if module is None:
            return x
        if isinstance(module, Written):
            return module.write(self, name, x)
        if isinstance(module, fx.GraphModule):
            return _inline(self.graph, module, name, x)
        return self.graph.call_module(name, (x,))

    def add(self, made: fx.Node, other: fx.Node, *, alike: bool = False) -> fx.Node:
        """Add, in place where the value is new and nobody else reads it."""
        fresh = alike and _makes_new(self.root, made) and len(made.users) == 0
        return self.call(torch.Tensor.add_ if fresh else operator.add, made, other)

    def call(self, function: Callable[..., Any], *args: Any) -> fx.Node:
        """Call a function."""
        return self.graph.call_function(function, args)

    def module(self, end: fx.Node) -> nn.Module:
        """What was written, as a fast module."""
        self.graph.output(end)
        module = fx.GraphModule(self.root, self.graph, "Compiled")
        _fold(module)
        _write_in_place(module)
        module.graph.eliminate_dead_code()
        module.delete_all_unused_submodules()
        module.recompile()
        return copy.deepcopy(module).eval()


def _inline(graph: fx.Graph, part: fx.GraphModule, name: str, x: fx.Node) -> fx.Node:
    """Copy the nodes of a part into a graph."""
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
