"""A state dict becomes a model: names and shapes are compared first, then all of it is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.errors import CheckpointError, ModelError
from ensembles.models import Architecture, architecture, create_model

__all__ = ["build_with_weights", "check_values"]

_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.")
_RENAMINGS = (
    (re.compile(r"^fc\."), "linear."),
    (re.compile(r"^linear\."), "fc."),
    (re.compile(r"\.downsample\."), ".shortcut."),
    (re.compile(r"\.shortcut\."), ".downsample."),
)
_WITH_AUXILIARY = ("googlenet", "inception_v3")
_AUXILIARY = re.compile(r"(^|\.)(aux\d|AuxLogits)\.")
_MOST_NAMED = 4
_MANY_CLASSES = 100_000


def build_with_weights(
    name: str,
    state: Mapping[str, Tensor],
    *,
    num_classes: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    origin: str = "the checkpoint",
) -> tuple[nn.Module, int]:
    """Build an architecture and give it weights, all of them or none.

    Args:
        name: As for :func:`ensembles.create_model`.
        state: Tensors by name; half and double precision are converted. Prefixes and a few names
            that are usual elsewhere (``fc`` for ``linear``, ``downsample`` for ``shortcut``) are
            understood, and so are Inception networks saved without their auxiliary heads.
        num_classes: Width of the classifier; by default that of the weights.
        arguments: Further ones of the architecture.
        origin: What to call the weights in an error.

    Returns:
        The model in evaluation mode, and its number of classes.

    Raises:
        CheckpointError: When names or shapes do not fit, or a value is not finite; what is
            missing, unexpected and of another shape is listed.
        ModelError: When there is no such architecture.
    """
    entry = architecture(name)
    arguments = _without_lost_heads(entry, state, arguments or {})
    classes = entry.num_classes if num_classes is None else num_classes
    if classes > _MANY_CLASSES and classes not in {v.shape[0] for v in state.values() if v.ndim}:
        raise CheckpointError(f"{origin} has no layer for {classes:,} classes")
    model = _untrained(name, classes, arguments)
    state = _renamed(state, model.state_dict())
    widths = _other_widths(state, model.state_dict(), classes)
    if num_classes is None and len(widths) == 1:
        classes = widths.pop()
        model = _untrained(name, classes, arguments)
    expected = model.state_dict()
    _compare(state, expected, entry, num_classes, origin)
    check_values(state, origin)
    model.load_state_dict({key: state.get(key, value) for key, value in expected.items()})
    return model.eval(), classes


def check_values(state: Mapping[str, Tensor], origin: str = "the checkpoint") -> None:
    """Refuse weights that no trained network has.

    Args:
        state: Tensors by name.
        origin: What to call them in an error.

    Raises:
        CheckpointError: When a value is not finite in single precision, or the running variance of
            a BatchNorm is negative; the first tensors are named.
    """
    wrong = []
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        single = value.detach().float()
        finite = torch.isfinite(single)
        if not bool(finite.all()):
            wrong.append(f"{name} has {_count_of(~finite)} NaN or infinite")
        elif name.endswith("running_var") and bool((single < 0).any()):
            wrong.append(f"{name} has {_count_of(single < 0)} negative variances")
    if wrong:
        raise CheckpointError(f"{origin} is refused: {_some(wrong)}")


def _count_of(mask: Tensor) -> str:
    return f"{int(mask.sum())} of {mask.numel()} values" if mask.ndim else "its value"


def _without_lost_heads(
    entry: Architecture, state: Mapping[str, Tensor], arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Arguments for weights saved without the auxiliary heads, which only training reads."""
    own = entry.name.removeprefix("torchvision:")
    has_heads = entry.library == "torchvision" and own in _WITH_AUXILIARY
    if not has_heads or any(_AUXILIARY.search(key) for key in state):
        return arguments
    return {"aux_logits": False, **arguments}


def _untrained(name: str, num_classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return create_model(name, num_classes, **arguments)


def _renamed(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict under the model's names, where prefixes or usual names are the difference."""
    result = dict(state)
    for prefix in _PREFIXES * 2:
        if not result or expected.keys() & result.keys():
            break
        if all(key.startswith(prefix) for key in result):
            result = {key.removeprefix(prefix): value for key, value in result.items()}
    for pattern, replacement in _RENAMINGS:
        other = {pattern.sub(replacement, key): value for key, value in result.items()}
        better = len(expected.keys() & other.keys()) > len(expected.keys() & result.keys())
        if better and len(other) == len(result):
            result = other
    return result


def _other_widths(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], classes: int
) -> set[int]:
    """First dimensions of tensors that differ from the model's in their number of classes alone."""
    widths = set()
    for key in state.keys() & expected.keys():
        found, wanted = state[key].shape, expected[key].shape
        if found == wanted:
            continue
        if not found or not wanted or wanted[0] != classes or found[1:] != wanted[1:]:
            return set()
        widths.add(found[0])
    return widths


def _compare(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    entry: Architecture,
    num_classes: int | None,
    origin: str,
) -> None:
    """Refuse a state dict whose names, shapes or kinds of numbers are not the model's."""
    missing = [
        key for key in expected if key not in state and not key.endswith("num_batches_tracked")
    ]
    unexpected = [key for key in state if key not in expected]
    both = [key for key in expected if key in state]
    shapes = [key for key in both if state[key].shape != expected[key].shape]
    kinds = [
        key for key in both if state[key].is_floating_point() != expected[key].is_floating_point()
    ]
    if not (missing or unexpected or shapes or kinds):
        return
    if shapes and num_classes is not None and not (missing or unexpected):
        _refuse_classes(state, expected, num_classes, origin)
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_some(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({_some(unexpected)})")
    if shapes:
        pairs = [f"{k} {_size(state[k])}, the model {_size(expected[k])}" for k in shapes]
        parts.append(f"{len(shapes)} of another shape ({_some(pairs)})")
    if kinds:
        pairs = [f"{k} {str(state[k].dtype).removeprefix('torch.')}" for k in kinds]
        parts.append(f"{len(kinds)} of another kind of number ({_some(pairs)})")
    raise CheckpointError(
        f"{origin} does not fit {entry.name}: {'; '.join(parts)}{_hint(unexpected, entry)}"
    )


def _refuse_classes(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], classes: int, origin: str
) -> None:
    widths = _other_widths(state, expected, classes)
    if len(widths) != 1:
        return
    found = widths.pop()
    key = next(k for k in expected if k in state and state[k].shape != expected[k].shape)
    raise CheckpointError(
        f"{origin} has {found} classes ({key} {_size(state[key])}), the model {classes}: pass "
        f"num_classes={found}, or none"
    )


def _hint(unexpected: list[str], entry: Architecture) -> str:
    if not any(".shortcut." in key or ".downsample." in key for key in unexpected):
        return ""
    try:
        other = architecture(f"{entry.name}_b").name
    except ModelError:
        return ""
    return f"; its shortcuts have weights, as in {other}"


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"


def _some(parts: list[str]) -> str:
    rest = len(parts) - _MOST_NAMED
    return ", ".join(parts[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
