"""From a part's graph to a tape, where all its operations are known."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from ensembles.decomposition.sizes import size_affine
from ensembles.unravelling.operations import (
    Add,
    Affine,
    Concat,
    Convolve,
    Linear,
    MaxPool,
    Operation,
    Product,
    Slope,
    Stencil,
    Step,
    UnknownOperationError,
)
from ensembles.unravelling.tapes import Tape

__all__ = ["compile_part"]

_ELEMENTWISE_MODULES = (
    nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardtanh,
    nn.Hardsigmoid, nn.ELU, nn.SELU, nn.CELU, nn.LeakyReLU, nn.Mish, nn.Softplus, nn.PReLU,
)  # fmt: skip
_ELEMENTWISE: set[Any] = {
    F.relu, torch.relu, F.relu6, F.gelu, F.silu, F.sigmoid, torch.sigmoid, F.tanh, torch.tanh,
    F.hardswish, F.hardtanh, F.hardsigmoid, F.elu, F.selu, F.celu, F.leaky_relu, F.mish,
    F.softplus,
}  # fmt: skip
_ELEMENTWISE_METHODS: set[Any] = {"relu", "sigmoid", "tanh"}
_LINEAR: set[Any] = {
    operator.getitem, F.pad, F.avg_pool2d, F.adaptive_avg_pool2d, torch.flatten, torch.mean,
    torch.permute, torch.transpose, torch.reshape,
}  # fmt: skip
_LINEAR_METHODS: set[Any] = {
    "flatten",
    "mean",
    "permute",
    "transpose",
    "reshape",
    "view",
    "contiguous",
}
_LINEAR_MODULES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten)
_ADDS = {operator.add, torch.add}
_PRODUCTS = {operator.mul, torch.mul}


def compile_part(part: nn.Module) -> Tape | None:
    """Turn a part of a network into a tape.

    Args:
        part: A functional graph of one input, in evaluation mode.

    Returns:
        The tape, or None where an operation is not known: `maps.FunctionMap` takes any.
    """
    if isinstance(part, nn.Identity):
        return Tape([], 0)
    if not isinstance(part, fx.GraphModule):
        return None
    try:
        return _Compiler(part).tape()
    except UnknownOperationError:
        return None


class _Compiler:
    """Walks a graph once; each node becomes a step, a constant, or joins its neighbour."""

    def __init__(self, part: fx.GraphModule) -> None:
        self.part = part
        self.slots: dict[fx.Node, int] = {}
        self.steps: list[Step] = []
        self.joined: set[fx.Node] = set()

    def tape(self) -> Tape:
        nodes = list(self.part.graph.nodes)
        for node in nodes:
            if node.op == "placeholder":
                self.slots[node] = 0
            elif node.op == "output":
                result = node.args[0]
                if not isinstance(result, fx.Node) or result not in self.slots:
                    raise UnknownOperationError
                return Tape(self.steps, self.slots[result])
            elif node not in self.joined and self._is_active(node):
                self._add(node)
        raise UnknownOperationError

    def _is_active(self, node: fx.Node) -> bool:
        if node.target is size_affine or node.op == "get_attr":
            return False
        if any(source in self.slots for source in node.all_input_nodes):
            return True
        raise UnknownOperationError  # a constant computed from constants or sizes

    def _add(self, node: fx.Node) -> None:
        operation, inputs, last = self._operation(node)
        slot = len(self.steps) + 1
        self.steps.append(Step(operation, tuple(self.slots[source] for source in inputs), slot))
        self.slots[last] = slot

    def _operation(self, node: fx.Node) -> tuple[Operation, list[fx.Node], fx.Node]:
        """The operation, the activations it reads, and the node whose value it gives."""
        if node.op == "call_module":
            return self._module(node, self.part.get_submodule(str(node.target)))
        active = [n for n in _positional(node) if n in self.slots]
        if len(active) > 1 or node.target in (torch.cat, torch.concat):
            return self._several(node, active)
        if len(active) != 1 or node.all_input_nodes.count(active[0]) != 1:
            raise UnknownOperationError
        if node.target in _ADDS | _PRODUCTS or (
            node.op == "call_method" and node.target in ("add", "mul")
        ):
            return self._constant_arithmetic(node, active[0]), active, node
        forward = self._call(node, active[0])
        known = _ELEMENTWISE_METHODS if node.op == "call_method" else _ELEMENTWISE
        if node.target in known:
            is_relu = node.target in (F.relu, torch.relu, "relu")
            return Slope(forward, is_relu), active, node
        known = _LINEAR_METHODS if node.op == "call_method" else _LINEAR
        if node.target in known and _keeps_images(node):
            return Linear(forward, forward), active, node
        if node.target is F.max_pool2d:
            return MaxPool(forward, self._places(node, active[0])), active, node
        raise UnknownOperationError

    def _several(
        self, node: fx.Node, active: list[fx.Node]
    ) -> tuple[Operation, list[fx.Node], fx.Node]:
        if node.kwargs and node.target not in (torch.cat, torch.concat):
            raise UnknownOperationError
        name = node.target if node.op == "call_method" else None
        if len(active) == 2 and (node.target in _ADDS or name == "add"):
            return Add(torch.add), active, node
        if len(active) == 2 and (node.target in _PRODUCTS or name == "mul"):
            return Product(torch.mul), active, node
        parts = node.args[0] if node.args else None
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        all_active = isinstance(parts, (list, tuple)) and all(p in self.slots for p in parts)
        if node.target in (torch.cat, torch.concat) and all_active and dim == 1:
            return Concat(lambda *xs: torch.cat(xs, 1), 1), list(parts), node  # type: ignore[arg-type]
        raise UnknownOperationError

    def _module(self, node: fx.Node, module: nn.Module) -> tuple[Operation, list[fx.Node], fx.Node]:
        inputs = list(node.all_input_nodes)
        if len(inputs) != 1 or node.kwargs or module._forward_hooks or module._forward_pre_hooks:
            raise UnknownOperationError
        if type(module) is nn.Conv2d:
            return self._convolution(node, module)
        if type(module) is nn.BatchNorm2d:
            affine = _batch_norm(module)
            after = self._only_user(node)
            if after is not None and _is_relu(self.part, after):
                self.joined.add(after)
                return Slope(F.relu, True, affine), inputs, after
            return affine, inputs, node
        if isinstance(module, _ELEMENTWISE_MODULES):
            return Slope(module, type(module) is nn.ReLU), inputs, node
        return _linear_module(module), inputs, node

    def _convolution(
        self, node: fx.Node, module: nn.Conv2d
    ) -> tuple[Operation, list[fx.Node], fx.Node]:
        if module.padding_mode != "zeros" or isinstance(module.padding, str):
            raise UnknownOperationError
        weight: Tensor = module.weight.detach()
        bias = None if module.bias is None else module.bias.detach()
        forward: Callable[..., Any] = module.forward
        last, after = node, self._only_user(node)
        norm = self._batch_norm_at(after)
        if norm is not None and after is not None:
            self.joined.add(after)
            affine = _batch_norm(norm)
            assert affine.scale is not None and affine.shift is not None
            weight = weight * affine.scale[..., None]
            shift = affine.shift.flatten()
            bias = shift if bias is None else bias * affine.scale.flatten() + shift
            forward, last = nn.Sequential(module, norm).forward, after
        stencil = Stencil(module.stride, module.padding, module.dilation, module.groups)
        operation = Convolve(forward, weight, bias, stencil)
        return operation, list(node.all_input_nodes), last

    def _batch_norm_at(self, node: fx.Node | None) -> nn.BatchNorm2d | None:
        if node is None or node.op != "call_module":
            return None
        module = self.part.get_submodule(str(node.target))
        return module if type(module) is nn.BatchNorm2d else None

    def _only_user(self, node: fx.Node) -> fx.Node | None:
        users = list(node.users)
        return users[0] if len(users) == 1 and users[0].op != "output" else None

    def _constant_arithmetic(self, node: fx.Node, active: fx.Node) -> Operation:
        if node.kwargs or len(node.args) != 2:
            raise UnknownOperationError
        other = node.args[1] if node.args[0] is active else node.args[0]
        value = self._value(other)
        if not isinstance(value, (int, float, Tensor)):
            raise UnknownOperationError
        constant = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        forward = self._call(node, active)
        if node.target in _ADDS or node.target == "add":
            return Affine(forward, None, constant)
        return Affine(forward, constant, None)

    def _call(self, node: fx.Node, active: fx.Node) -> Callable[[Tensor], Any]:
        """A node as a function of its activation alone."""
        fixed = {n: self._value(n) for n in node.all_input_nodes if n is not active}

        def call(x: Tensor) -> Any:
            def resolve(n: fx.Node) -> Any:
                if n is active:
                    return x
                value = fixed[n]
                return value.at(len(x)) if isinstance(value, _Size) else value

            args, kwargs = map_arg(node.args, resolve), map_arg(node.kwargs, resolve)
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            return node.target(*args, **kwargs)  # type: ignore[operator]

        return call

    def _value(self, node: Any) -> Any:
        if not isinstance(node, fx.Node):
            return node
        if node.op == "get_attr":
            value: Any = self.part
            for name in str(node.target).split("."):
                value = getattr(value, name)
            return value.detach() if isinstance(value, Tensor) else value
        if node.target is size_affine:
            source, dim, per_image, factor, offset = node.args
            if self.slots.get(source) == 0 and dim == 0 and per_image == 1:  # type: ignore[arg-type]
                return _Size(factor, offset)  # type: ignore[arg-type]
        raise UnknownOperationError

    def _places(self, node: fx.Node, active: fx.Node) -> Callable[[Tensor], Tensor]:
        kwargs: dict[str, Any] = {k: v for k, v in node.kwargs.items() if k != "return_indices"}
        if node.kwargs.get("return_indices") or len(node.args) > 6:
            raise UnknownOperationError
        args: tuple[Any, ...] = node.args[1:]

        def places(x: Tensor) -> Tensor:
            found: Tensor = F.max_pool2d(x, *args, **kwargs, return_indices=True)[1]
            return found

        return places


class _Size:
    """A size that grows with the number of rows."""

    def __init__(self, factor: int, offset: int) -> None:
        self.factor, self.offset = factor, offset

    def at(self, rows: int) -> int:
        return self.factor * rows + self.offset


def _positional(node: fx.Node) -> list[fx.Node]:
    found: list[fx.Node] = []
    map_arg((node.args, node.kwargs), lambda n: found.append(n) or n)  # type: ignore[func-returns-value]
    return found


def _keeps_images(node: fx.Node) -> bool:
    """Whether an index, a reduction or a permutation leaves the dimension of the images alone."""
    rest = node.args[1:]
    if node.target is operator.getitem:
        index = rest[0] if isinstance(rest[0], tuple) else None
        whole = (
            index is not None
            and index[0] == slice(None)
            and all(isinstance(i, slice) for i in index)
        )
        return bool(whole)
    if node.target in ("mean", torch.mean):
        dims = rest[0] if rest else node.kwargs.get("dim")
        dims = dims if isinstance(dims, (list, tuple)) else [dims]
        return all(isinstance(d, int) and d != 0 for d in dims)
    if node.target in ("permute", torch.permute):
        order = rest[0] if isinstance(rest[0], (list, tuple)) else rest
        return bool(order and order[0] == 0)
    if node.target in ("transpose", torch.transpose, "flatten", torch.flatten):
        dims = list(rest) + list(node.kwargs.values())
        return bool(dims) and all(isinstance(d, int) and d != 0 for d in dims)
    if node.target in ("view", "reshape", torch.reshape):
        return any(isinstance(n, fx.Node) for n in node.all_input_nodes[1:])
    return True


def _is_relu(part: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return type(part.get_submodule(str(node.target))) is nn.ReLU
    return node.target in (F.relu, torch.relu, "relu")


def _batch_norm(module: nn.BatchNorm2d) -> Affine:
    mean, variance = module.running_mean, module.running_var
    if mean is None or variance is None or module.training:
        raise UnknownOperationError
    scale = torch.rsqrt(variance + module.eps)
    if module.weight is not None:
        scale = scale * module.weight.detach()
    shift = -mean * scale
    if module.bias is not None:
        shift = shift + module.bias.detach()
    return Affine(module, scale[:, None, None], shift[:, None, None])


def _linear_module(module: nn.Module) -> Operation:
    """A matrix, or a pooling or view, that does not depend on the images (but for a maximum)."""
    if type(module) is nn.Linear:
        return _matrix(module)
    if isinstance(module, _LINEAR_MODULES) and getattr(module, "start_dim", 1) == 1:
        return Linear(module, module)
    if type(module) is nn.MaxPool2d and not module.return_indices:
        return MaxPool(module, _module_places(module))
    raise UnknownOperationError


def _matrix(module: nn.Linear) -> Linear:
    weight = module.weight.detach()
    bias = None if module.bias is None else module.bias.detach()
    return Linear(
        module,
        lambda rows: F.linear(rows, weight),
        bias,
        lambda rows, _shape: rows @ weight,
    )


def _module_places(module: nn.MaxPool2d) -> Callable[[Tensor], Tensor]:
    def places(x: Tensor) -> Tensor:
        found: Tensor = F.max_pool2d(
            x, module.kernel_size, module.stride, module.padding, module.dilation,
            module.ceil_mode, return_indices=True,
        )[1]  # fmt: skip
        return found

    return places
