"""One forward pass becomes a graph of pure operations.

The model runs for real, on real images; each call of a torch function, and each module of torch.nn,
becomes a node. Sizes are numbers then, so that control flow on shapes needs no tracing, and updates
in place are written down as the pure operations that they stand for.
"""

from __future__ import annotations

import inspect
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode

from ensembles.decomposition.inputs import Inputs, called
from ensembles.decomposition.private_copy import Sealed
from ensembles.errors import DecompositionError

__all__ = ["Recorder", "UnfollowableError", "assigned"]

_READS_DATA = {
    "__bool__", "__int__", "__float__", "__index__", "__complex__", "__contains__", "item",
    "tolist", "numpy", "equal", "allclose", "is_nonzero",
}  # fmt: skip
_PLAIN_TYPES = (
    bool, int, float, complex, str, type(None), type(Ellipsis),
    torch.dtype, torch.device, torch.memory_format, torch.layout,
)  # fmt: skip
_ADDS: set[Any] = {torch.add, torch.ops.aten.add.Tensor}
_CONCATS: set[Any] = {torch.concat, torch.concatenate, torch.ops.aten.cat.default}


_Written = tuple[str, Any, Any, Any]


class UnfollowableError(Exception):
    """The model does what a recording cannot write down; exporting may."""


class _Known(NamedTuple):
    """A tensor that was seen: held, so that its id stays its own."""

    tensor: Tensor
    node: fx.Node
    version: int
    source: Tensor | None


def assigned(x: Tensor, index: Any, value: Any) -> Tensor:
    """``x`` with ``x[index] = value`` done to a copy."""
    out = x.clone()
    out[index] = value
    return out


class Recorder(TorchFunctionMode):
    """Writes down what a model does to a batch of images.

    Args:
        model: A private copy, in evaluation mode.

    Attributes:
        graph: What was recorded.
        active: The nodes whose value depends on the images.
        shapes: The shape of each node's value; None where it is no tensor.
        constants: Tensors that the model uses and does not register, by name.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.graph = fx.Graph()
        self.active: set[fx.Node] = set()
        self.shapes: dict[fx.Node, tuple[int, ...] | None] = {}
        self.constants: dict[str, Tensor] = {}
        self.scopes = [""]
        self._calls: Counter[str] = Counter()
        self._known: dict[int, _Known] = {}
        self._registered = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self._names = {id(tensor): name for name, tensor in self._registered.items()}
        self._leaf: nn.Module | None = None
        self._call: tuple[Any, Any] = ((), {})

    def run(self, inputs: Inputs) -> None:
        """Run the model and record it.

        Raises:
            UnfollowableError: If it does what cannot be written down.
            DecompositionError: If what it does depends on the data.
        """
        self.begin(inputs)
        handles = list(self._hooks())
        try:
            with self:
                out = called(self.model, inputs)
        finally:
            for handle in handles:
                handle.remove()
        self.finish(out)

    def begin(self, inputs: Inputs) -> None:
        """Open the graph with the inputs: one node, and one for each tensor of several."""
        node = self.graph.placeholder("x")
        node.meta["several"] = not isinstance(inputs, Tensor)
        self.active.add(node)
        self._remember(inputs, node)

    def finish(self, out: Any) -> None:
        """Close the graph with what the model returned."""
        if not isinstance(out, Tensor) or id(out) not in self._known:
            raise UnfollowableError("the output was not made by an operation that can be seen")
        self.graph.output(self.node_of(out))

    def _hooks(self) -> Iterator[torch.utils.hooks.RemovableHandle]:
        for name, module in self.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # takes no hooks; what seals it does

            def enter(module: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                with torch._C.DisableTorchFunction():
                    self._enter(module, name, args, kwargs)

            def leave(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
                with torch._C.DisableTorchFunction():
                    self._leave(module, out)

            yield module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True)
            yield module.register_forward_hook(leave, with_kwargs=True)

    def _enter(self, module: nn.Module, name: str, args: Any, kwargs: Any) -> None:
        if self._leaf is None:
            self.scopes.append(name)
            self._calls[name] += 1
            if _is_leaf(module):
                self._leaf, self._call = module, self._arguments(args, kwargs)

    def _leave(self, module: nn.Module, out: Any) -> None:
        if self._leaf is None or self._leaf is module:
            if self._leaf is module:
                self._leaf = None
                self.write(("call_module", self.scopes[-1], *self._call), out)
            self.scopes.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a torch function and record it."""
        named = dict(kwargs or {})
        if self._leaf is not None:
            return func(*args, **named)
        return self.observe(func, args, named)

    def observe(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run a function and record it, unless it gives no tensor.

        Raises:
            DecompositionError: If it takes a number out of the data.
        """
        name = _name(func)
        tensors = list(_tensors((args, kwargs)))
        try:
            written = self._arguments(args, kwargs, stale=name == "__setitem__")
        except UnfollowableError:
            if any(self.node_of(tensor) in self.active for tensor in tensors):
                raise
            return func(*args, **kwargs)
        before = [tensor._version for tensor in tensors]
        if name in _READS_DATA and any(self.node_of(t) in self.active for t in tensors):
            raise DecompositionError(
                f"{type(self.model).__name__} decides on the data in "
                f"{self.scopes[-1] or 'its forward'} ({name.strip('_')} of a tensor); "
                "expected the same operations for all images"
            )
        out = func(*args, **kwargs)
        changed = [t for t, v in zip(tensors, before, strict=True) if t._version != v]
        if changed:
            first = args[0] if args else None
            if any(tensor is not first for tensor in changed):
                raise UnfollowableError(f"{name} changes another tensor than its first")
            self.write(_pure(func, name, *written), first)
        elif any(True for _ in _tensors(out)):
            if isinstance(out, Tensor) and name != "contiguous" and _is_among(out, tensors):
                return out
            if name == "to":
                written = (written[0][0], out.dtype), {}
            self.write(_described(func, name, *written), out, args[0] if args else None)
        return out

    def write(self, call: _Written, out: Any, source: Any = None) -> None:
        """Add a node, and remember which tensors are its value."""
        node = self.graph.create_node(*call)
        node.meta["scope"] = self.scopes[-1]
        node.meta["calls"] = {scope: self._calls[scope] for scope in self.scopes}
        if any(origin in self.active for origin in node.all_input_nodes):
            self.active.add(node)
        self._remember(out, node, source)

    def _remember(self, out: Any, node: fx.Node, source: Any = None) -> None:
        self.shapes[node] = tuple(out.shape) if isinstance(out, Tensor) else None
        if isinstance(out, Tensor):
            node.meta["real"] = out.is_floating_point() or out.is_complex()
        if isinstance(out, Tensor):
            base = source if isinstance(source, Tensor) and out._is_view() else None
            self._known[id(out)] = _Known(out, node, out._version, base)
            return
        items = out.items() if isinstance(out, dict) else enumerate(out)
        for key, item in items:
            if any(True for _ in _tensors(item)):
                self.write(("call_function", operator.getitem, (node, key), {}), item)

    def _arguments(self, args: Any, kwargs: Any, *, stale: bool = False) -> tuple[Any, Any]:
        first = args[0] if stale and args else None

        def written(value: Any) -> Any:
            if isinstance(value, Tensor):
                return self.node_of(value, stale=value is first)
            if type(value) in _PLAIN_TYPES:
                return value
            if isinstance(value, Integral):
                return int(value)
            if isinstance(value, Real):
                return float(value)
            raise UnfollowableError(f"an argument is a {type(value).__name__}")

        return map_aggregate(tuple(args), written), map_aggregate(dict(kwargs), written)

    def node_of(self, tensor: Tensor, *, stale: bool = False) -> fx.Node:
        """The node whose value a tensor is now."""
        known = self._known.get(id(tensor))
        if known is None:
            return self._outside(tensor)
        if stale or known.version == tensor._version:
            return known.node
        if known.source is None or known.node.op == "call_module":
            raise UnfollowableError(f"{known.node.name} is changed through a view of it")
        again = self.graph.node_copy(known.node, lambda node: node)
        again.replace_input_with(known.node.all_input_nodes[0], self.node_of(known.source))
        if known.node in self.active:
            self.active.add(again)
        self._remember(tensor, again, known.source)
        return again

    def tensor(self, node: fx.Node) -> Tensor:
        """The weight, buffer or constant that a node fetches."""
        name = str(node.target)
        return self.constants[name] if name in self.constants else self._registered[name]

    def _outside(self, tensor: Tensor) -> fx.Node:
        """A weight, a buffer, or a constant."""
        name = self._names.get(id(tensor))
        if name is None:
            name = f"_constant{len(self.constants)}"
            self.constants[name] = tensor.detach().clone()
        node = self.graph.create_node("get_attr", name)
        node.meta["scope"] = self.scopes[-1]
        self._remember(tensor, node)
        return node


def _is_leaf(module: nn.Module) -> bool:
    """Whether a module is taken whole: torch's own layers, but for those made of others."""
    if isinstance(module, (nn.MultiheadAttention, Sealed)):
        return True
    own = type(module).__module__.startswith(("torch.nn.", "torch.ao.nn."))
    own = own and not isinstance(module, nn.Sequential)
    return own and not any(True for _ in module.children())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def _is_among(tensor: Tensor, others: list[Tensor]) -> bool:
    return any(tensor is other for other in others)


def _name(func: Any) -> str:
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        return str(func.__self__.__name__)
    return name.partition(".")[0] if isinstance(func, torch._ops.OpOverload) else name


def _described(func: Any, name: str, args: Any, kwargs: Any) -> _Written:
    """How a call without side effects is written into a graph."""
    adds = func in _ADDS or (_is_method(func) and name in ("add", "__add__", "__radd__"))
    if adds and not kwargs and len(args) == 2:
        return "call_function", operator.add, args, kwargs
    if func in _CONCATS:
        return "call_function", torch.cat, args, kwargs
    if getattr(func, "__name__", "") == "__get__":
        return "call_function", getattr, (args[0], name), {}
    if name == "__getitem__":
        return "call_function", operator.getitem, args, kwargs
    if _is_method(func):
        if name == "view" and not any(isinstance(arg, torch.dtype) for arg in args):
            name = "reshape"  # the same without the demand on the layout in memory
        return "call_method", name, args, kwargs
    return "call_function", func, args, kwargs


def _is_method(func: Any) -> bool:
    owner = str(getattr(func, "__qualname__", "")).rpartition(".")[0]
    return owner in ("Tensor", "TensorBase", "_TensorBase")


def _pure(func: Any, name: str, args: Any, kwargs: Any) -> _Written:
    """The operation that gives as a new tensor what this one does in place."""
    if name == "__setitem__":
        return "call_function", assigned, args, kwargs
    if inspect.isfunction(func) and "inplace" in inspect.signature(func).parameters:
        bound = inspect.signature(func).bind(*args, **kwargs)
        bound.arguments["inplace"] = False
        return "call_function", func, bound.args, bound.kwargs
    bare = f"__{name[3:]}" if name.startswith("__i") else name.removesuffix("_")
    pure = _out_of_place(func, bare)
    if bare == name or pure is None:
        raise UnfollowableError(f"{name} works in place and has no pure form")
    return _described(pure, _name(pure), args, kwargs)


def _out_of_place(func: Any, bare: str) -> Callable[..., Any] | None:
    if isinstance(func, torch._ops.OpOverload):
        packet = getattr(torch.ops.aten, bare, None)
        return getattr(packet, func._overloadname, None)
    homes: tuple[Any, ...] = (Tensor,) if _is_method(func) else (torch, F)
    for home in (*homes, torch):
        found: Callable[..., Any] | None = getattr(home, bare, None)
        if found is not None:
            return found
    return None
