"""Hooks that change nothing for the example: they may do for other data, or other batches."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from ensembles.decomposition.inputs import Inputs, called, cloned, mapped
from ensembles.decomposition.original import Original
from ensembles.decomposition.private_copy import hooks_of, private_copy
from ensembles.decomposition.trace import Traced, trace
from ensembles.decomposition.verification import equal
from ensembles.errors import DecompositionError

__all__ = ["with_hooks"]

_KINDS = ("_forward_hooks", "_forward_pre_hooks")
_TIMES = (10, 100)


def with_hooks(original: Original, twin: nn.Module, example: Inputs) -> tuple[nn.Module, Traced]:
    """Record a model with its hooks, so that what they decide by is known.

    Hooks that give back nothing else than they are given and that cannot be recorded, such as those
    that write numbers to a log, are left out.

    Args:
        original: The user's model.
        twin: A private copy that computes the same for the example.
        example: A batch of inputs.

    Returns:
        A copy with all hooks that change values, or may, and the recording.

    Raises:
        DecompositionError: If the model cannot be recorded.
    """
    quiet = not hooks_of(twin) and any("forward" in what for _, what, _ in original.hooks)
    if not quiet:
        return twin, trace(twin, example)
    try:
        hooked = private_copy(original.given, hooks=True)
    except DecompositionError:
        return twin, trace(twin, example)
    try:
        return hooked, trace(hooked, example)
    except DecompositionError as error:
        hooked = private_copy(original.given, hooks=True)
        if _give_something(hooked, example):
            raise
        _require_quiet(hooked, twin, example, original, error)
    traced = trace(twin, example)
    weights = dict(twin.named_parameters())
    for name, weight in hooked.named_parameters():
        if name in weights:
            weight.data = weights[name].data
    return hooked, traced


def _require_quiet(
    hooked: nn.Module,
    twin: nn.Module,
    example: Inputs,
    original: Original,
    error: DecompositionError,
) -> None:
    """Refuse hooks that change values of greater inputs, if they are left out."""
    for times in _TIMES:
        greater = mapped(partial(_greater, times=times), example)
        try:
            found, wanted = called(twin, cloned(greater)), called(hooked, cloned(greater))
        except Exception:  # the user's code runs here
            return
        if bool(found.isfinite().all() & wanted.isfinite().all()) and not equal(wanted, found):
            raise DecompositionError(
                f"{' and '.join(original.hook_names)} of {type(original.given).__name__} changes "
                f"values for {times} times the example, as no recording can follow ({error})"
            ) from error


def _greater(numbers: Tensor, times: int) -> Tensor:
    return numbers * times if numbers.is_floating_point() else numbers


def _give_something(model: nn.Module, example: Inputs) -> bool:
    """Whether a hook gives back something else than it is given."""
    found: list[bool] = []

    def noting(hook: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            out = hook(*args, **kwargs)
            found.append(out is not None and not _is_given(out, args))
            return out

        return call

    kept = []
    for module in model.modules():
        for kind in _KINDS:
            hooks = getattr(module, kind, {})
            kept.append((hooks, hooks.copy()))
            hooks.update({key: noting(hook) for key, hook in hooks.items()})
    try:
        called(model, cloned(example))
    finally:
        for hooks, before in kept:
            hooks.update(before)
    return any(found)


def _is_given(out: Any, args: Any) -> bool:
    """Whether what a hook gives back is what it was given, or holds the same tensors."""
    if any(out is one for one in args):
        return True
    parts = out if isinstance(out, tuple) else (out,)
    given = [item for one in args for item in (one if isinstance(one, tuple) else (one,))]
    return all(any(part is one for one in given) for part in parts if isinstance(part, Tensor))
