"""A decomposition is accepted only when it computes what the model computes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from ensembles.errors import DecompositionError, ModelError

__all__ = ["check_finite", "check_independence", "check_logits", "verify"]

_TOLERANCE = 1e-4


def check_finite(model: nn.Module) -> None:
    """Refuse a model with weights or statistics that are missing or not finite.

    Other buffers may hold infinities, as masks and bounds do, but nothing that is no number.

    Raises:
        ModelError: Naming the first such tensor.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta or is_lazy(tensor):
            raise ModelError(f"{name} has no values yet; expected an initialised model")
        if not tensor.is_floating_point():
            continue
        free = not isinstance(tensor, nn.Parameter) and "running_" not in name
        bad = int((tensor.isnan() if free else ~tensor.isfinite()).sum())
        if bad:
            raise ModelError(
                f"{name} holds {bad} values that are not finite (of {tensor.numel()}); "
                "expected finite weights, load another checkpoint"
            )


def check_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Refuse a model that does not turn images into finite logits.

    Returns:
        The logits (images, classes).

    Raises:
        DecompositionError: If it does not take the images, or returns something else.
        ModelError: If its logits are not finite.
    """
    out = _run(model, images)
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(images):
        shape = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else ""
        raise DecompositionError(
            f"{type(model).__name__} returns {shape or f'a {type(out).__name__}'}; "
            f"expected logits of shape ({len(images)}, classes)"
        )
    bad = int((~out.isfinite()).any(-1).sum())
    if bad:
        raise ModelError(
            f"the intact network gives logits that are not finite for {bad} of {len(out)} images; "
            "check the weights and the normalisation of the images"
        )
    return out


def _run(model: nn.Module, images: Tensor) -> Any:
    try:
        return model(images.clone())
    except Exception as error:  # the user's code runs here
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DecompositionError(
            f"{type(model).__name__} does not accept an input of shape {tuple(images.shape)}: "
            f"{reason[:200].rstrip('!. ')}; give images of the size and channels that it was made "
            "for"
        ) from error


def check_independence(model: nn.Module, images: Tensor, logits: Tensor) -> None:
    """Refuse a model that is random in evaluation mode, or that lets images influence each other.

    Args:
        model: A private copy of the model, in evaluation mode.
        images: A batch of images.
        logits: What the model makes of them.

    Raises:
        DecompositionError: The message names the module where the outputs part.
    """
    name, one = type(model).__name__, images[:1]
    alone = _run(model, one)
    if len(images) > 1 and _equal(alone, logits[:1]):
        return
    if not _equal(alone, _run(model, one)):
        raise DecompositionError(
            f"{name} gives other logits for the same image when it runs again: it is random "
            f"{_parting(model, one, one)}; expected a network without chance in evaluation mode"
        )
    two = torch.cat([one, images[-1:].flip(-1)])
    if len(images) > 1 or not _equal(alone, _run(model, two)[:1]):
        raise DecompositionError(
            f"{name} gives other logits for an image when another one is beside it: they part "
            f"{_parting(model, one, images if len(images) > 1 else two)}; expected images that do "
            "not influence each other (BatchNorm needs its running statistics)"
        )


def verify(model: nn.Module, net: nn.Module, images: Tensor, logits: Tensor) -> None:
    """Compare a decomposition with its model on real images.

    The greatest difference must stay under 1e-4 of the scale of the output, and the decisions must
    be the same.

    Args:
        model: A private copy of the model, in evaluation mode.
        net: Its decomposition, with the functional graph as `traced`.
        images: A batch of images; the first is also compared alone.
        logits: What the model makes of them.

    Raises:
        DecompositionError: Where they differ; the message names the first module that does.
    """
    for count in {len(images), 1}:
        batch, expected = images[:count], logits[:count]
        found = net(batch.clone())
        if _equal(expected, found):
            continue
        walker = _Walker(net.traced, _Calls.of(model, batch))  # type: ignore[arg-type]
        walker.run(batch.clone())
        gap = float((expected - found).abs().max()) if expected.shape == found.shape else math.nan
        raise DecompositionError(
            "the parts do not compute what the model computes: they part "
            f"{walker.place or 'where its modules are joined'}; the greatest difference of the "
            f"logits is {gap:.2g}, their scale {float(expected.abs().max()):.2g}; "
            "name the blocks by hand"
        )


def _equal(expected: Tensor, found: Tensor) -> bool:
    if expected.shape != found.shape:
        return False
    tolerance = max(_TOLERANCE, 8 * torch.finfo(expected.dtype).eps)
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    gap = (expected - found).abs().max()
    margin = expected.gather(-1, found.argmax(-1, keepdim=True)).squeeze(-1)
    ties = expected.amax(-1) - margin  # nought where the decisions agree
    return bool(gap < tolerance * scale and (ties <= 2 * gap).all())


def _close(expected: Tensor, found: Tensor) -> bool:
    """Whether the first rows agree."""
    rows = min(len(expected), len(found)) if expected.ndim and found.ndim else 1
    first, second = (t[:rows] if t.ndim else t for t in (expected, found))
    scale = float(first.abs().max()) if first.numel() else 0.0
    return first.shape == second.shape and torch.allclose(
        first, second, rtol=1e-3, atol=1e-4 * scale, equal_nan=True
    )


class _Call(NamedTuple):
    name: str
    inputs: list[Tensor]
    output: Tensor


class _Calls:
    """What each module of a model takes and gives in one run, in the order in which they end."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.given: list[list[Tensor]] = []

    @classmethod
    def of(cls, model: nn.Module, images: Tensor) -> _Calls:
        """Run a model and keep what its modules do."""
        found = cls()
        handles = [
            handle
            for name, module in model.named_modules()
            if name and not isinstance(module, torch.jit.ScriptModule)
            for handle in (
                module.register_forward_pre_hook(found._enter),
                module.register_forward_hook(found._leave(name)),
            )
        ]
        try:
            model(images.clone())
        finally:
            for handle in handles:
                handle.remove()
        return found

    def _enter(self, _module: nn.Module, args: Any) -> None:
        self.given.append([x.detach().clone() for x in args if isinstance(x, Tensor)])

    def _leave(self, name: str) -> Any:
        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            given = self.given.pop()
            if isinstance(output, Tensor) and output.is_floating_point():
                self.calls.append(_Call(name, given, output.detach().clone()))

        return keep


def _parting(model: nn.Module, images: Tensor, others: Tensor) -> str:
    """Say where two runs first differ for their first images."""
    runs = _Calls.of(model, images).calls, _Calls.of(model, others).calls
    for one, two in zip(*runs, strict=False):
        if one.name != two.name:
            break
        if not all(_close(a, b) for a, b in zip(one.inputs, two.inputs, strict=False)):
            return f"before the module {one.name}"
        if not _close(one.output, two.output):
            return f"in the module {one.name}"
    return "after the last module"


class _Walker(fx.Interpreter):
    """Runs a graph and remembers the first module that departs from a run of the model."""

    def __init__(self, traced: fx.GraphModule, calls: _Calls) -> None:
        super().__init__(traced)
        self.expected: dict[str, list[_Call]] = {}
        for call in calls.calls:
            self.expected.setdefault(call.name, []).append(call)
        self.place = ""

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a module as the graph does, and compare."""
        given = [x.clone() for x in args if isinstance(x, Tensor)]
        value = super().call_module(target, args, kwargs)
        calls = self.expected.get(str(target), [])
        if calls and isinstance(value, Tensor) and not self.place:
            call = calls.pop(0)
            if not all(_close(a, b) for a, b in zip(call.inputs, given, strict=False)):
                self.place = f"before the module {target}"
            elif not _close(call.output, value):
                self.place = f"in the module {target}"
        return value
