"""A decomposition is accepted only when it computes what the model computes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from ensembles.decomposition.gradient_tape import GradientTape
from ensembles.decomposition.inputs import (
    Inputs,
    called,
    cloned,
    described,
    mapped,
    named_tensors,
    rows_of,
    take,
)
from ensembles.errors import DecompositionError, EvaluationError, ModelError

__all__ = [
    "altered",
    "check_finite",
    "check_logits",
    "equal",
    "noun_of",
    "other_with_gradients",
    "parting",
    "reason_of",
    "run_of",
    "still_training",
    "turned",
    "verify",
]

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
        values = _values(tensor)
        if not _any_bad(values, free):
            continue
        bad = int((values.isnan() if free else ~values.isfinite()).sum())
        if bad:
            raise ModelError(
                f"{name} holds {bad} values that are not finite (of {tensor.numel()}); "
                "expected finite weights, load another checkpoint"
            )


def _values(tensor: Tensor) -> Tensor:
    """The numbers that a tensor holds; of a sparse one those that it stores."""
    if tensor.layout is torch.strided or tensor.is_mkldnn:
        return tensor.detach().to_dense() if tensor.is_mkldnn else tensor
    coo = tensor.layout is torch.sparse_coo
    return (tensor.detach().coalesce() if coo else tensor.detach()).values()


def _any_bad(tensor: Tensor, free: bool) -> bool:
    """Whether a tensor may hold what is not finite, from its ends: it is not copied for that."""
    try:
        ends = torch.stack(tensor.detach().aminmax())  # not a number where any entry is none
    except RuntimeError:  # it is empty, or of a type that has no order
        return True
    return bool((ends.isnan() if free else ~ends.isfinite()).any())


def check_logits(model: nn.Module, inputs: Inputs) -> Tensor:
    """Refuse a model that does not turn its inputs into finite logits.

    Returns:
        The logits (rows, ..., classes).

    Raises:
        DecompositionError: If it does not take the inputs, or returns something else.
        ModelError: If its logits are not finite.
    """
    out, rows = run_of(model, inputs), rows_of(inputs)
    if not isinstance(out, Tensor) or out.ndim < 2 or len(out) != rows or not out.numel():
        shape = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else ""
        raise DecompositionError(
            f"{type(model).__name__} returns {shape or f'a {type(out).__name__}'}; "
            f"expected logits of shape ({rows}, classes), or ({rows}, ..., classes) where a row "
            "has several answers"
        )
    if not out.is_floating_point():
        raise DecompositionError(
            f"{type(model).__name__} returns numbers of type {out.dtype}; expected logits"
        )
    bad = int((~out.isfinite()).flatten(1).any(-1).sum())
    if bad:
        raise ModelError(
            f"the intact network gives logits that are not finite for {bad} of {rows} "
            f"{noun_of(inputs)}; check the weights and the normalisation of the {noun_of(inputs)}"
        )
    return out


def noun_of(inputs: Inputs) -> str:
    """What the rows are called in messages."""
    return "images" if isinstance(inputs, Tensor) and inputs.ndim == 4 else "inputs"


def run_of(model: nn.Module, inputs: Inputs) -> Any:
    """What a model makes of inputs.

    Raises:
        DecompositionError: If it does not take them.
    """
    try:
        return called(model, cloned(inputs))
    except Exception as error:  # the user's code runs here
        what = described(inputs).replace("a tensor", "an input", 1)
        images = noun_of(inputs) == "images"
        fitting = "images of the size and channels" if images else "inputs"
        how = " (on the command line --image-size sets the size)" if images else ""
        raise DecompositionError(
            f"{type(model).__name__} does not accept {what}: {reason_of(error)}; "
            f"give {fitting} that it was made for{how}" + _of_ids(inputs) + still_training(model)
        ) from error


def reason_of(error: BaseException) -> str:
    """The first line of an error of the user's code."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return reason[:200].rstrip("!. ")


def _of_ids(inputs: Inputs) -> str:
    """What to look at where windows of ids were given."""
    if not isinstance(inputs, Tensor) or inputs.is_floating_point() or inputs.ndim != 2:
        return ""
    return (
        f": of ids, those below its vocabulary (the highest is {int(inputs.max())}), in windows no "
        f"longer than its positions ({inputs.shape[1]} tokens were given)"
    )


def turned(inputs: Inputs, *, whole: bool = True) -> Inputs:
    """Other inputs of the same shapes: each row back to front.

    Args:
        inputs: The inputs.
        whole: Whether whole numbers are turned round too.
    """

    def flipped(tensor: Tensor) -> Tensor:
        turn = tensor.ndim > 1 and (whole or tensor.is_floating_point())
        return tensor.flip(-1) if turn else tensor

    return mapped(flipped, inputs)


def altered(model: nn.Module, inputs: Inputs) -> Inputs:
    """Other inputs of the same shapes that a model takes: each row back to front.

    Whole numbers may be ids whose order cannot be turned round; then they stay as they are.
    """
    other = turned(inputs)
    if all(tensor.is_floating_point() for tensor in named_tensors(inputs).values()):
        return other
    try:
        called(model, cloned(other))
    except Exception:  # the user's code runs here
        return turned(inputs, whole=False)
    return other


def still_training(model: nn.Module) -> str:
    """Name a part that the user's `eval` did not reach."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    for name, module in model.named_modules():
        if module.training and isinstance(module, kinds):
            return (
                f"; {name} is in training mode, as it is no registered module: call its eval(), "
                "or keep it in an nn.ModuleList"
            )
    return ""


def verify(
    model: nn.Module,
    net: nn.Module,
    inputs: Inputs,
    logits: Tensor,
    alone: Tensor,
    *,
    followed: bool = False,
) -> GradientTape | None:
    """Compare a decomposition with its model on real inputs.

    The greatest difference must stay under 1e-4 of the scale of the output, and the decisions must
    be the same.

    Args:
        model: A private copy of the model, in evaluation mode.
        net: Its decomposition, with the functional graph as `traced`.
        inputs: A batch of inputs; the first row is also compared alone.
        logits: What the model makes of them.
        alone: What it makes of the first row alone.
        followed: Whether a gradient will be asked for, so that autograd follows the first row.

    Returns:
        The pass of the first row, where autograd followed it.

    Raises:
        DecompositionError: Where they differ; the message names the first module that does.
    """
    for expected in (logits, alone) if len(logits) > 1 else (logits,):
        batch = take(inputs, slice(len(expected)))
        if followed and len(expected) == 1 and isinstance(batch, Tensor):
            tape = GradientTape.of(net, batch)
            if tape is not None and equal(expected, tape.logits.detach()):
                return tape
        try:
            found = net(cloned(batch))
        except EvaluationError:  # the first row alone is decided upon otherwise than the example
            if expected is logits:
                raise
            continue
        if equal(expected, found):
            continue
        _check_mode(model, batch, expected)
        _check_rows(model, net, batch)
        walker = _Walker(net.traced, _Calls.of(model, batch))  # type: ignore[arg-type]
        walker.run(cloned(batch))
        gap = float((expected - found).abs().max()) if expected.shape == found.shape else math.nan
        raise DecompositionError(
            "the parts do not compute what the model computes: they part "
            f"{walker.place or 'where its modules are joined'}; the greatest difference of the "
            f"logits is {gap:.2g}, their scale {float(expected.abs().max()):.2g}; "
            "name the blocks by hand"
        )
    return None


def _check_mode(model: nn.Module, inputs: Inputs, logits: Tensor) -> None:
    """Refuse a model that computes something else where gradients are recorded."""
    with torch.enable_grad():
        other = called(model, cloned(inputs))
    if isinstance(other, Tensor) and not equal(logits, other.detach()):
        raise other_with_gradients(model)


def other_with_gradients(model: nn.Module) -> DecompositionError:
    """The error of a model that computes something else where gradients are recorded."""
    return DecompositionError(
        f"{type(model).__name__} gives other logits where gradients are recorded "
        "(torch.is_grad_enabled() or requires_grad decides in it, or in a hook); expected the "
        "same with and without gradients"
    )


def _check_rows(model: nn.Module, net: nn.Module, inputs: Inputs) -> None:
    """Refuse a model that does other operations for many rows than for the few recorded."""
    few = take(inputs, slice(3))
    if rows_of(inputs) > 3 and equal(run_of(model, few), net(cloned(few))):
        raise DecompositionError(
            f"{type(model).__name__} does other operations for {rows_of(inputs)} rows than for "
            "three (it may divide a batch); expected the same operations for any number of rows"
        )


def equal(expected: Tensor, found: Tensor, tolerance: float = _TOLERANCE) -> bool:
    """Whether logits agree to a part of their scale, and in their decisions."""
    if expected.shape != found.shape:
        return False
    tolerance = max(tolerance, 8 * torch.finfo(expected.dtype).eps)
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
    return (
        first.shape == second.shape
        and first.dtype == second.dtype
        and torch.allclose(first, second, rtol=1e-3, atol=1e-4 * scale, equal_nan=True)
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
    def of(cls, model: nn.Module, inputs: Inputs) -> _Calls:
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
            called(model, cloned(inputs))
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


def parting(model: nn.Module, inputs: Inputs, others: Inputs) -> str:
    """Say where two runs first differ for their first rows."""
    runs = _Calls.of(model, inputs).calls, _Calls.of(model, others).calls
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
