"""One forward pass becomes a graph of pure operations.

The model runs for real, on real images; each call of a torch function, and each module of torch.nn,
becomes a node. Sizes are numbers then, so that control flow on shapes needs no tracing, and updates
in place are written down as the pure operations that they stand for.
"""

from __future__ import annotations

import operator
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from ensembles.decomposition.guards import (
    READS_DATA,
    Decision,
    ancestors,
    calling_line,
    draws,
    guarded,
    settle,
    undecided,
)  # fmt: skip
from ensembles.decomposition.hidden import tensor_names
from ensembles.decomposition.inputs import Inputs, given_by, rows_of
from ensembles.decomposition.outputs import answer_of
from ensembles.decomposition.private_copy import hooks_of, is_leaf
from ensembles.decomposition.pure_forms import (
    UnfollowableError,
    Written,
    assigned,
    described,
    name_of,
    pure,
    settled,
    unpacked,
)  # fmt: skip
from ensembles.decomposition.tensor_state import (
    Known,
    codes_of,
    custom_function,
    forget,
    is_among,
    runs_in,
    storage,
    tensors_in,
    version,
)  # fmt: skip
from ensembles.decomposition.watched_numbers import WatchedNumber
from ensembles.errors import DecompositionError

__all__ = ["Recorder"]

_PLAIN_TYPES = (
    bool, int, float, complex, str, type(None), type(Ellipsis),
    torch.dtype, torch.device, torch.memory_format, torch.layout,
)  # fmt: skip
_DERIVES = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}
_BARE = "a tensor is changed through its .data"
_At = tuple[str, bool]  # the name of a module, and whether it is taken whole
_COMPARES = {"equal", "allclose", "__contains__"}


class Recorder(TorchFunctionMode):
    """Writes down what a model does to a batch of images.

    Args:
        model: A private copy, in evaluation mode.

    Attributes:
        graph: What was recorded.
        active: The nodes whose value depends on the images.
        shapes: The shape of each node's value; None where it is no tensor.
        constants: Tensors that the model uses and does not register, by name.
        custom: The custom functions of autograd that ran, each with the module that called it.
        decisions: What the model read out of activations, in order.
        answer: What the logits are called in what the model gives; "" for a tensor by itself.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.graph = model, fx.Graph()
        self.active: set[fx.Node] = set()
        self.shapes: dict[fx.Node, tuple[int, ...] | None] = {}
        self.constants: dict[str, Tensor] = {}
        self.custom: dict[str, str] = {}
        self.decisions: list[Decision] = []
        self.answer, self.scopes = "", [""]
        self._known: dict[int, Known] = {}
        self._views: dict[int, tuple[Tensor, Any]] = {}
        self._registered = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self._names = {id(tensor): name for name, tensor in self._registered.items()}
        self._hidden = tensor_names(model)
        self._hook_codes = codes_of(hook for _, _, hook in hooks_of(model))
        self._leaf: nn.Module | None = None
        self._call: tuple[Any, Any] = ((), {})
        self._ids, self._calls = False, Counter[str]()

    def run(self, inputs: Inputs) -> None:
        """Run the model and record it.

        Raises:
            UnfollowableError: If it does what cannot be written down.
            DecompositionError: If what it does depends on the data.
        """
        self.begin(inputs)
        handles = list(self._hooks())
        try:
            with torch.enable_grad(), self:  # nothing requires it, but a model may switch it off
                given = given_by(self.model, inputs)
        finally:
            for handle in handles:
                handle.remove()
        self.answer, out = answer_of(given, rows_of(inputs))
        self.finish(out)

    def begin(self, inputs: Inputs) -> None:
        """Open the graph with the inputs: one node, and one for each tensor of several."""
        self._ids = isinstance(inputs, Tensor) and not inputs.is_floating_point()
        node = self.graph.placeholder("x")
        node.meta["several"] = not isinstance(inputs, Tensor)
        self.active.add(node)
        with torch.enable_grad():
            self._remember(inputs, node)

    def finish(self, out: Any) -> None:
        """Close the graph with what the model returned."""
        if not isinstance(out, Tensor) or id(out) not in self._known:
            raise UnfollowableError("the output was not made by an operation that can be seen")
        self.graph.output(self.node_of(out))
        self._known.clear()
        self._views.clear()
        if not settle(self.graph, self.decisions, self.active, self.shapes):
            raise DecompositionError(
                f"{type(self.model).__name__} decides on the data ({self.decisions[-1].place}) "
                "after all else; expected the same operations for all images"
            )

    def _hooks(self) -> Iterator[torch.utils.hooks.RemovableHandle]:
        for name, module in self.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # takes no hooks; what seals it does
            inner = is_leaf(module)  # the user's hooks lie outside a layer that is taken whole

            def enter(module: nn.Module, args: Any, kwargs: Any, at: _At = (name, inner)) -> None:
                with torch._C.DisableTorchFunction():
                    self._enter(module, at, args, kwargs)

            def leave(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
                with torch._C.DisableTorchFunction():
                    self._leave(module, out)

            yield module.register_forward_pre_hook(enter, prepend=not inner, with_kwargs=True)
            yield module.register_forward_hook(leave, prepend=inner, with_kwargs=True)

    def _enter(self, module: nn.Module, at: _At, args: Any, kwargs: Any) -> None:
        if self._leaf is None:
            self.scopes.append(at[0])
            self._calls[at[0]] += 1
            if at[1] and self._holds_its_own(module):
                self._leaf, self._call = module, self._arguments(args, kwargs)

    def _holds_its_own(self, module: nn.Module) -> bool:
        """Whether a layer runs with the weights that it registers, as in no `functional_call`."""
        return all(id(weight) in self._names for weight in module.parameters(recurse=False))

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
        if self._leaf is not None or draws(func, (args, named)):
            return func(*args, **named)
        return self.observe(func, args, named)

    def observe(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run a function and record it, unless it gives no tensor.

        Raises:
            DecompositionError: If it takes a number out of the data.
        """
        name, target = name_of(func), kwargs.get("out")
        read = {key: value for key, value in kwargs.items() if key != "out"}
        tensors = list(tensors_in((args, read)))
        self._require_followable(func, name, tensors)
        try:
            written = self._arguments(args, read)
        except UnfollowableError:
            if any(self.node_of(tensor) in self.active for tensor in tensors):
                raise
            return func(*args, **kwargs)
        before = [version(tensor) for tensor in tensors]
        out = func(*args, **kwargs)
        if name in READS_DATA and any(self.node_of(t) in self.active for t in tensors):
            return self._decide(func, name, written, out)
        changed = [t for t, v in zip(tensors, before, strict=True) if version(t) != v]
        if target is not None:
            self.write(described(func, name, *written), out)
        elif changed:
            first = args[0] if args else None
            if any(storage(tensor) is not storage(first) for tensor in changed):
                raise UnfollowableError(f"{name} changes another tensor than its first")
            if self._is_bare(first):
                raise UnfollowableError(_BARE)
            if name != "__setitem__" or not self._holds(written[0], first):
                self.write(pure(func, name, *written), first)
                self._write_back(first)
        elif any(True for _ in tensors_in(out)):
            if isinstance(out, Tensor) and name != "contiguous" and is_among(out, tensors):
                return out
            func, name, written = settled(func, name, written, out)
            self.write(described(func, name, *written), out, args[0] if args else None)
        return out

    def _require_followable(self, func: Any, name: str, tensors: list[Tensor]) -> None:
        if func in _DERIVES:
            raise UnfollowableError("it takes gradients within its forward")
        put = name == "__set__" and func.__self__ is Tensor.data
        if put and any(self.node_of(tensor) in self.active for tensor in tensors):
            raise UnfollowableError(_BARE)

    def _is_bare(self, tensor: Any) -> bool:
        """Whether a tensor is the `.data` of another, which does not count its changes."""
        known = self._known.get(id(tensor))
        if known is None or known.node.target is not getattr:
            return False
        return str(known.node.args[1]) == "data"

    def _write_back(self, view: Any) -> None:
        """Write down that a tensor holds what an entry of it, a view, was changed to."""
        source, index = self._views.get(id(view), (None, None))
        whole = self._known.get(id(source))
        if whole is not None:
            call: Written = (
                "call_function", assigned, (whole.node, index, self.node_of(view)), {}
            )  # fmt: skip
            self.write(call, source, whole.source)
            self._write_back(source)

    def _holds(self, written: Any, whole: Any) -> bool:
        """Whether a tensor holds already what is written into an entry of it."""
        known = self._known.get(id(whole))
        told = None if known is None or known.node.target is not assigned else known.node.args[1:]
        if told != tuple(written[1:]):
            return False
        view = whole
        while known is not None:  # what it is a view of holds what it held, too
            self._remember(view, known.node, known.source)
            view, _ = self._views.get(id(view), (None, None))
            known = self._known.get(id(view))
        return True

    def _decide(self, func: Any, name: str, written: tuple[Any, Any], outcome: Any) -> Any:
        """Write down what the model reads out of an activation, as a guard of that."""
        condition = written[0][0]
        if type(outcome) not in (bool, int):  # a real number is another one for each batch
            if name == "item" and runs_in(self._hook_codes):
                return WatchedNumber(outcome, condition, self._compared)
            raise undecided(self.model, self.scopes[-1], name.strip("_"), condition, self._ids)
        if name in _COMPARES:
            condition = self._condition(func, *written)
        self._guard(condition, outcome)
        return outcome

    def _compared(self, func: Any, node: fx.Node, other: Any, outcome: bool) -> None:
        """Write down a decision by a number that a hook took out of an activation."""
        if self._known:  # it is still being recorded
            self._guard(self._condition(func, (node, other), {}), outcome)

    def _condition(self, func: Any, args: Any, kwargs: Any) -> fx.Node:
        condition = self.graph.create_node("call_function", func, args, kwargs)
        condition.meta["scope"] = self.scopes[-1]
        self.active.add(condition)
        return condition

    def _guard(self, condition: fx.Node, outcome: Any) -> None:
        place = calling_line(self._ids)
        carrier = next(
            one
            for one in (condition, *ancestors(condition))
            if one in self.active
            and (one.op == "placeholder" or len(self.shapes.get(one) or ()) > 1)
        )
        call: Written = ("call_function", guarded, (carrier, condition, outcome, place), {})
        held = [(k.tensor(), k) for k in self._known.values() if k.node is carrier]
        current = [one for one, k in held if one is not None and k.version == version(one)]
        guard = self.write(call, current[0] if current else None)
        guard.meta |= {key: carrier.meta[key] for key in ("real", "dtype") if key in carrier.meta}
        self.shapes[guard] = self.shapes.get(carrier)
        self.decisions.append(Decision(guard, outcome, place))

    def write(self, call: Written, out: Any, source: Any = None) -> fx.Node:
        """Add a node, and remember which tensors are its value."""
        node = self.graph.create_node(*call)
        node.meta |= {"scope": self.scopes[-1], "hook": runs_in(self._hook_codes)}
        node.meta["calls"] = {scope: self._calls[scope] for scope in self.scopes}
        if any(origin in self.active for origin in node.all_input_nodes):
            self.active.add(node)
        if isinstance(out, Tensor) and torch.is_autocast_enabled(out.device.type):
            raise DecompositionError(
                f"{type(self.model).__name__} computes under autocast "
                f"({torch.get_autocast_dtype(out.device.type)}) in "
                f"{self.scopes[-1] or 'its forward'}, which rounds as no copy of its parts does; "
                "take torch.autocast out of the forward, and choose the precision of the run"
            )
        if not torch.is_grad_enabled():
            custom = custom_function()
            node.meta["no_grad"] = custom is None
            if custom is not None:
                self.custom.setdefault(custom, self.scopes[-1])
        self._remember(out, node, source)
        return node

    def _remember(self, out: Any, node: fx.Node, source: Any = None) -> None:
        if isinstance(out, Tensor) and out.is_nested:
            raise UnfollowableError("a nested tensor has no size for a recording")
        self.shapes[node] = tuple(out.shape) if isinstance(out, Tensor) else None
        if isinstance(out, Tensor):
            real = out.is_floating_point() or out.is_complex()
            node.meta |= {"real": real, "dtype": out.dtype}
            base = source if isinstance(source, Tensor) and out._is_view() else None
            held = weakref.ref(out, partial(forget, self._known, self._views, id(out)))
            self._known[id(out)] = Known(held, node, version(out), base)
            if base is not None and node.target is operator.getitem:
                self._views[id(out)] = base, node.args[1]
            return
        if not isinstance(out, (dict, tuple, list)):
            return  # nothing, or what holds no tensors
        items = out.items() if isinstance(out, dict) else enumerate(out)
        for key, item in items:
            if any(True for _ in tensors_in(item)):
                self.write(("call_function", operator.getitem, (node, key), {}), item)

    def _arguments(self, args: Any, kwargs: Any) -> tuple[Any, Any]:

        def written(value: Any) -> Any:
            if isinstance(value, Tensor):
                return self.node_of(value)
            if type(value) in _PLAIN_TYPES:
                return value
            if isinstance(value, WatchedNumber) and self._known:
                raise undecided(self.model, self.scopes[-1], "item", value.node, self._ids)
            if isinstance(value, Real):
                return int(value) if isinstance(value, Integral) else float(value)
            raise UnfollowableError(f"an argument is a {type(value).__name__}")

        found: tuple[Any, Any] = fx.node.map_aggregate(unpacked(args, kwargs), written)
        return found

    def node_of(self, tensor: Tensor) -> fx.Node:
        """The node whose value a tensor is now."""
        known = self._known.get(id(tensor))
        if known is None:
            return self._outside(tensor)
        if known.version == version(tensor):
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
            if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
                raise UnfollowableError("it computes within a transformation such as vmap")
            name = self._hidden.get(id(tensor), f"_constant{len(self.constants)}")
            name = "_".join(name.split("."))
            if name in self.constants or hasattr(self.model, name):
                name = f"{name}_{len(self.constants)}"
            self.constants[name] = tensor.detach().clone()
        node = self.graph.create_node("get_attr", name)
        node.meta["scope"] = self.scopes[-1]
        self._remember(tensor, node)
        return node
