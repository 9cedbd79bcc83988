"""The gradient of the parts is held against autograd's gradient of the user's own model."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ensembles.decomposition.gradient_tape import GradientTape, gradient_of
from ensembles.decomposition.guards import guarded
from ensembles.decomposition.inputs import Inputs, take
from ensembles.decomposition.network import Decomposition
from ensembles.decomposition.original import Original, weight_gradients_of
from ensembles.errors import EvaluationError

__all__ = ["other_gradient", "other_weights"]

_TOLERANCE = {torch.float64: 1e-6}
_OF_OTHERS = 1e-3
_GREATER = 1e4
_MOST = 8
"""Rows whose gradients are compared, at most."""


def other_gradient(
    original: Original,
    net: Decomposition,
    inputs: Inputs,
    custom: Mapping[str, str],
    tape: GradientTape | None = None,
) -> str:
    """Say whether autograd gives a model another gradient than its parts have.

    The gradient of one row is compared: that of a fixed random sum of the logits at the input; that
    of others too where a function or a hook may treat rows otherwise, and of a greater sum, as
    gradients may be clipped; custom functions are also called on greater numbers. Where they
    differ, rounding is ruled out in double precision.

    Args:
        original: The user's model.
        net: Its decomposition.
        inputs: A batch.
        custom: The custom functions of autograd that the model calls, each with the module.
        tape: A pass of a row through the decomposition, if autograd has followed one.

    Returns:
        A message for whom paths are asked of; "" where the gradients agree, or autograd cannot
        follow the user's model.
    """
    rows = _rows(net, inputs)
    found = _other(original, net, rows[:1], custom, tape=tape)
    if found or not (custom or original.changes_gradients):
        return found
    if len(rows) > 1:
        found = _other(original, net, rows[1:], custom)
    found = found or _other(original, net, rows[:1], custom, size=_GREATER)  # they may be clipped
    return found or _beyond(original, rows[:1], custom)


def _beyond(original: Original, row: Tensor, custom: Mapping[str, str]) -> str:
    """Say whether a custom function has another derivative than its values beyond the example."""
    name, where = original.custom_beyond(row, custom)
    if not name:
        return ""
    return (
        f"the custom function {name} in {custom[name] or 'its forward'} of "
        f"{type(original.given).__name__} has another derivative than its values have, seen where "
        f"{where}; paths follow the derivatives of the parts, so take that out of the model first "
        "(lesions do not need it)"
    )


def _other(
    original: Original,
    net: Decomposition,
    rows: Tensor,
    custom: Mapping[str, str],
    *,
    tape: GradientTape | None = None,
    size: float = 1,
) -> str:
    """Hold the gradients of some rows against those of the user's model; see `other_gradient`."""
    fixed = torch.Generator().manual_seed(0)
    drawn = torch.randn(len(rows), *net.output_shape, generator=fixed, dtype=torch.float64) * size
    cotangent = drawn.to(rows)
    wanted = original.gradient(rows, cotangent)
    if wanted is None:
        return ""
    kept = tape is not None and torch.equal(tape.probe, rows)
    found = tape.gradient(cotangent) if tape is not None and kept else None
    if found is None:
        found = gradient_of(net, rows, cotangent)
    if found is not None and _agree(wanted, found):
        return ""
    if rows.dtype != torch.float64:
        try:
            model, parts = original.double(), copy.deepcopy(net).double()
            wanted_64 = model.gradient(rows.double(), drawn.to(rows.device))
            found_64 = gradient_of(parts, rows.double(), drawn.to(rows.device))
        except Exception:  # the user's code runs here, and may insist on a precision
            wanted_64 = found_64 = None
        if wanted_64 is not None and found_64 is not None:
            if _agree(wanted_64, found_64):
                return ""
            wanted, found = wanted_64, found_64
    return _message(original, wanted, found, custom)


def other_weights(
    original: Original, net: Decomposition, inputs: Inputs, custom: Mapping[str, str]
) -> str:
    """Say whether autograd gives a model's weights other gradients than those of its parts.

    They are compared only where the model calls custom functions or hangs hooks on its weights:
    what else changes the gradient of a weight changes that of the input, or is written down.

    Returns:
        A message for whom the gradients of parameters are asked of; "" where they agree.
    """
    weights = dict(original.given.named_parameters())
    hooked = [name for name, weight in weights.items() if weight._backward_hooks]
    if not custom and not hooked:
        return ""
    row = _rows(net, inputs)[:1]
    wanted = original.weight_gradients(row)
    found = weight_gradients_of(net.traced, row) if wanted is not None else None
    if wanted is None or found is None:
        return ""
    for name in wanted.keys() & found.keys():
        if (wanted[name] - found[name]).norm() > _OF_OTHERS * wanted[name].norm():
            causes = [f"the custom function {kind}" for kind in custom] or ["a hook on a weight"]
            return (
                f"autograd gives {type(original.given).__name__} another gradient of {name} than "
                f"its parts have ({' and '.join(causes)}); expected weights with the derivatives "
                "of the operations that read them"
            )
    return ""


def _rows(net: Decomposition, inputs: Inputs) -> Tensor:
    """Some rows, of which the first one alone is always taken; those that guards let pass."""
    rows = take(inputs, slice(_MOST))
    assert isinstance(rows, Tensor)
    if not any(node.target is guarded for node in net.traced.graph.nodes):  # type: ignore[union-attr]
        return rows
    passing: list[Tensor] = []
    for number in range(len(rows)):
        row = rows[number : number + 1]
        try:
            net(row)
        except EvaluationError:
            continue
        passing.append(row)
    try:
        together = torch.cat(passing or [rows[:1]])
        net(together)
    except EvaluationError:  # what is decided on them together
        return passing[0]
    return together


def _agree(wanted: Tensor, found: Tensor) -> bool:
    """Whether the gradients of each row agree."""
    tolerance = _TOLERANCE.get(wanted.dtype, _OF_OTHERS)
    gap, norm = (part.flatten(1).norm(dim=1) for part in (wanted - found, wanted))
    return bool((gap <= tolerance * norm).all())


def _message(
    original: Original, wanted: Tensor, found: Tensor | None, custom: Mapping[str, str]
) -> str:
    name = type(original.given).__name__
    causes = [f"the custom function {c} in {m or 'its forward'}" for c, m in custom.items()]
    causes += original.hook_names
    cause = " and ".join(causes[:3]) or (
        "a hook on a tensor, a derivative of its own, or a value changed unseen, as in "
        "x.detach().mul_(2)"
    )
    norm = float(wanted.norm())
    if not math.isfinite(norm):
        return (
            f"autograd gives {name} a gradient at the input that is not finite (where() lets the "
            "derivative of a branch that is not chosen through, as a root's at 0); paths follow "
            "derivatives, so keep such numbers out of what is differentiated (lesions do not need "
            "it)"
        )
    gap = "" if found is None else f", norm {float(found.norm()):.3g} for {norm:.3g}"
    return (
        f"autograd gives {name} another gradient at the input than its parts have{gap}: the model "
        f"changes it ({cause}); paths follow the derivatives of the parts, so take that out of the "
        "model first (lesions do not need it)"
    )
