"""The user's own model as it stands, hooks and all: what a decomposition is held against."""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from ensembles.decomposition.custom_derivatives import differs_beyond
from ensembles.decomposition.gradient_tape import GradientTape, gradient_of
from ensembles.decomposition.independence import check_independence
from ensembles.decomposition.inputs import Inputs, called, cloned, take
from ensembles.decomposition.private_copy import hooks_of, private_copy, uncompiled
from ensembles.decomposition.verification import check_logits, equal, other_with_gradients
from ensembles.errors import DecompositionError, EnsemblesError
from ensembles.numerics import differentiable, exact_attention, tf32

__all__ = ["Original", "exact_execution"]

_OF_GRADIENTS = {Tensor.register_hook, Tensor.retain_grad}
_GLOBAL = (
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)


@contextmanager
def exact_execution(device: torch.device) -> Iterator[None]:
    """Run models as they are written, without gradients and in the precision of their weights."""
    with (
        torch.inference_mode(False), torch.no_grad(), exact_attention(), tf32(False),
        _plain_execution(device.type),
    ):  # fmt: skip
        yield


@contextmanager
def _plain_execution(device: str) -> Iterator[None]:
    """Run modules as they are written: not compiled, without hooks on all modules or autocast."""
    hooks = [(getattr(torch_module, name), getattr(torch_module, name).copy()) for name in _GLOBAL]
    try:
        for live, _ in hooks:
            live.clear()
        with _uncompiled(), torch.autocast(device, enabled=False), _WithoutTensorHooks():
            yield
    finally:
        for live, kept in hooks:
            live.update(kept)


class _WithoutTensorHooks(TorchFunctionMode):
    """Lets a model that hooks on to gradients run without them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Leave out what takes a gradient that is not there."""
        if func in _OF_GRADIENTS and not args[0].requires_grad:
            return RemovableHandle(OrderedDict())
        return func(*args, **(kwargs or {}))


class _SeesTensorHooks(TorchFunctionMode):
    """Remembers whether a model hangs hooks on tensors."""

    seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at each call."""
        self.seen = self.seen or func is Tensor.register_hook
        return func(*args, **(kwargs or {}))


def _uncompiled() -> AbstractContextManager[Any]:
    """Let compiled functions run as they are written; there are none where nothing compiled."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    if set_stance is None or "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = set_stance("force_eager")
    return stance


class Original:
    """A user's model, which is run but never changed.

    In training mode it is a copy that is run, in evaluation mode the model itself.

    Args:
        model: The model.

    Attributes:
        seconds: How long the last forward pass of its copy took.
    """

    def __init__(self, model: nn.Module) -> None:
        self.seconds = 0.0
        outside = model._forward_hooks or model._forward_pre_hooks  # on what a compiler wraps
        self.given = model if outside else uncompiled(model)
        self.hooks = hooks_of(self.given)
        self._everywhere = {name: getattr(torch_module, name).copy() for name in _GLOBAL}
        self._copied: nn.Module | None = None
        self._compared = False
        self._tape: GradientTape | None = None
        self._on_tensors = _SeesTensorHooks()

    def twin(self, inputs: Inputs) -> tuple[nn.Module, Tensor]:
        """A private copy that computes what the model computes, and its logits.

        Hooks that change no value are left out of it.

        Raises:
            DecompositionError: If no copy does, or the model does not take the inputs.
            ModelError: If its logits are not finite.
        """
        everywhere = any(self._everywhere.values())
        twin = private_copy(self.given)
        if not self.hooks and not everywhere:
            logits = self._timed(twin, inputs)
            if any(module.training for module in self.given.modules()):
                self._copied, self._compared = twin, True  # the copy is all there is to run
            return twin, logits
        try:
            logits = self._timed(twin, inputs)
        except EnsemblesError:
            if not self.hooks:
                raise
        else:  # a hook may come to change values later, so that one row is compared besides
            wanted = self.logits(inputs)
            if torch.equal(wanted, logits) or equal(wanted, logits, 1e-6):
                return twin, logits
        twin = private_copy(self.given, hooks=True)
        logits = self._timed(twin, inputs)
        if everywhere and not equal(self.logits(inputs), logits):
            raise DecompositionError(
                f"a hook on all modules ({self._names()}) changes what "
                f"{type(self.given).__name__} computes; remove it, or register it on the modules "
                "that it is meant for"
            )
        return twin, logits

    def _timed(self, twin: nn.Module, inputs: Inputs) -> Tensor:
        started = time.perf_counter()
        logits = check_logits(twin, inputs)
        self.seconds = time.perf_counter() - started
        return logits

    def alone(self, twin: nn.Module, inputs: Inputs, logits: Tensor) -> Tensor:
        """The logits of the first row alone, held against those beside others and the model's own.

        Args:
            twin: A copy of the model.
            inputs: A batch of inputs.
            logits: What the copy makes of them.

        Raises:
            DecompositionError: If they differ.
        """
        try:
            wanted = None if self._compared else self._of_one(take(inputs, slice(1)), logits[:1])
        except DecompositionError:  # a part in training mode, that the copy can name
            check_independence(twin, inputs, logits)
            raise
        alone = check_independence(twin, inputs, logits, wanted)
        if wanted is not None and not equal(wanted, alone):
            by = f"its hooks ({', '.join(self.hook_names)})" if self.hook_names else "its state"
            raise DecompositionError(
                f"{type(self.given).__name__} gives other logits than a copy of it (by "
                f"{float((wanted - alone).abs().max()):.2g} at a scale of "
                f"{float(wanted.abs().max()):.2g}): {by} cannot be copied; expected a model that "
                "computes with its own weights alone"
            )
        return alone

    @property
    def hook_names(self) -> list[str]:
        """Its hooks, and those on all modules, in words."""
        own = [f"a {what} on {name or 'the model'}" for name, what, _ in self.hooks]
        kinds = [name for name, hooks in self._everywhere.items() if hooks]
        return own + [
            f"a {kind.removeprefix('_global_').removesuffix('s').replace('_', ' ')} on all modules"
            for kind in kinds
        ]

    def _names(self) -> str:
        hooks = (hook for hooks in self._everywhere.values() for hook in hooks.values())
        return ", ".join(getattr(hook, "__name__", type(hook).__name__) for hook in hooks)

    def logits(self, inputs: Inputs) -> Tensor:
        """What the model gives, its hooks and those on all modules included."""
        found: Tensor = self._run(lambda model: check_logits(model, inputs))
        return found

    def _of_one(self, row: Inputs, logits: Tensor) -> Tensor:
        """The logits of a row; of a real one a pass that autograd follows gives them, if it can."""
        single = isinstance(row, Tensor) and row.is_floating_point() and logits.ndim == 2
        if isinstance(row, Tensor) and single and not self.hooks:
            with self._on_tensors:
                tape: GradientTape | None = self._run(lambda model: GradientTape.of(model, row))
            if tape is not None and equal(tape.logits.detach(), logits):
                self._tape = tape
                return tape.logits.detach()
        followed = self._followed(row)
        if followed is not None and equal(followed, logits):
            return followed
        plain = self.logits(row)
        if followed is not None and equal(plain, logits):
            again = self._followed(row)
            if again is not None and equal(followed, again):
                raise other_with_gradients(self.given)
        return plain

    def _followed(self, row: Inputs) -> Tensor | None:
        """The logits of a row where autograd follows; None where it does not run so."""
        try:
            with torch.enable_grad():
                found = self._run(lambda model: called(model, cloned(row)))
        except Exception:  # the user's code runs here
            return None
        return found.detach() if isinstance(found, Tensor) else None

    def gradient(self, inputs: Tensor, cotangent: Tensor) -> Tensor | None:
        """The gradient of its logits at the inputs by autograd; None where it has none to give."""
        found: Tensor | None = None
        tape, self._tape = self._tape, None
        with self._on_tensors:
            if tape is not None and torch.equal(tape.probe, inputs):
                found = self._run(lambda _: tape.gradient(cotangent))
            if found is None:
                found = self._run(lambda model: gradient_of(model, inputs, cotangent))
        if found is None:  # reentrant checkpoints take a whole backward pass alone
            copied = private_copy(self.given, hooks=True)
            found = gradient_of(copied, inputs, cotangent, whole=True)
        return found

    @property
    def changes_gradients(self) -> bool:
        """Whether hooks may change its gradients, as far as has been seen."""
        return self._on_tensors.seen or any("backward" in what for what in self.hook_names)

    def weight_gradients(self, inputs: Tensor) -> dict[str, Tensor] | None:
        """The gradients of the sum of its logits at its weights, by their names."""
        found: dict[str, Tensor] | None = self._run(lambda m: weight_gradients_of(m, inputs))
        return found

    def custom_beyond(self, row: Tensor, names: Collection[str]) -> tuple[str, str]:
        """The first custom function with a derivative of its own; see `differs_beyond`."""
        found: tuple[str, str] = self._run(lambda model: differs_beyond(model, row, names))
        return found

    def _run(self, work: Callable[[nn.Module], Any]) -> Any:
        model = self._evaluated()
        buffers = [(b, b._version, b.clone()) for b in model.buffers() if not b.is_inference()]
        try:
            for name, hooks in self._everywhere.items():
                getattr(torch_module, name).update(hooks)
            return work(model)
        finally:
            for name in self._everywhere:
                getattr(torch_module, name).clear()
            for buffer, version, value in buffers:
                if buffer._version != version:
                    buffer.copy_(value)

    def double(self) -> Original:
        """A copy of it in double precision."""
        twin = Original(private_copy(self.given, hooks=True).double())
        twin._everywhere = self._everywhere
        return twin

    def _evaluated(self) -> nn.Module:
        if not any(module.training for module in self.given.modules()):
            return self.given
        if self._copied is None:
            self._copied = private_copy(self.given, hooks=True)
        return self._copied


def weight_gradients_of(model: nn.Module, inputs: Tensor) -> dict[str, Tensor] | None:
    """The gradients of the sum of logits at weights of real numbers; None where autograd fails."""
    named = {name: w for name, w in model.named_parameters() if w.is_floating_point()}
    learned = [weight.requires_grad for weight in named.values()]
    try:
        with torch.enable_grad(), differentiable():
            for weight in named.values():
                weight.requires_grad_(True)
            total = called(model, inputs * 1).sum()
            found = torch.autograd.grad(total, [*named.values()], materialize_grads=True)
    except RuntimeError:
        return None
    finally:
        for weight, asked in zip(named.values(), learned, strict=True):
            weight.requires_grad_(asked)
    return dict(zip(named, found, strict=True))
