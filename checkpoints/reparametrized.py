"""Weights that training kept as masks or parametrisations, written out as evaluation uses them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ensembles.errors import CheckpointError

__all__ = ["written_out"]

_PARAMETRIZED = re.compile(r"(?P<owner>(?:.*\.)?)parametrizations\.(?P<name>\w+)\.(?P<part>.+)")


def written_out(state: Mapping[str, Tensor], origin: str) -> tuple[dict[str, Tensor], list[str]]:
    """Replace pruning masks, weight and spectral norms by the weights that they make.

    The forms of ``torch.nn.utils`` are known: ``prune`` (``weight_orig`` times ``weight_mask``),
    ``weight_norm`` (``weight_g * weight_v / ||weight_v||``), ``spectral_norm`` (``weight_orig``
    over ``u^T W v``), and the same as ``parametrizations``.

    Args:
        state: Tensors by name.
        origin: What to call them in an error.

    Returns:
        Tensors by name, and the names of the weights that were made.

    Raises:
        CheckpointError: When a parametrisation needs code that the file does not hold.
    """
    result = dict(state)
    made: list[str] = []
    for owner, name, parts in _parametrized(state):
        for part in parts:
            del result[f"{owner}parametrizations.{name}.{part}"]
        tensors = {part: state[f"{owner}parametrizations.{name}.{part}"] for part in parts}
        found = _of_parts(tensors)
        if found is None:
            raise CheckpointError(
                f"{origin} holds {owner}{name} as a parametrisation ({', '.join(parts)}) whose "
                "code it does not hold: where it was made, call "
                f"torch.nn.utils.parametrize.remove_parametrizations(module, {name!r}) and save it "
                "again"
            )
        result[owner + name] = found
        made.append(owner + name)
    for key in [key for key in result if key.endswith(("_mask", "_g", "_u"))]:
        if key not in result:
            continue
        stem, _, ending = key.rpartition("_")
        built = _OLD[ending](result, stem)
        if built is not None:
            result[stem] = built
            made.append(stem)
    return result, made


def _parametrized(state: Mapping[str, Tensor]) -> list[tuple[str, str, list[str]]]:
    """Owner, name and parts of each parametrised tensor."""
    found: dict[tuple[str, str], list[str]] = {}
    for key in state:
        match = _PARAMETRIZED.fullmatch(key) if "parametrizations." in key else None
        if match:
            found.setdefault((match["owner"], match["name"]), []).append(match["part"])
    return [(owner, name, parts) for (owner, name), parts in found.items()]


def _of_parts(parts: Mapping[str, Tensor]) -> Tensor | None:
    """The tensor that known parametrisations make of their parts; nothing for others."""
    names = set(parts)
    if names == {"original0", "original1"}:
        return _normed(parts["original0"], parts["original1"])
    if names == {"original", "0._u", "0._v"}:
        return _spectral(parts["original"], parts["0._u"], parts["0._v"])
    if names == {"original", "0.mask"} and parts["0.mask"].shape == parts["original"].shape:
        return parts["original"] * parts["0.mask"]
    return None


def _masked(state: dict[str, Tensor], stem: str) -> Tensor | None:
    mask, weight = state.get(f"{stem}_mask"), state.get(f"{stem}_orig")
    if mask is None or weight is None or mask.shape != weight.shape:
        return None
    del state[f"{stem}_mask"], state[f"{stem}_orig"]
    return weight * mask.to(weight.dtype)


def _weight_norm(state: dict[str, Tensor], stem: str) -> Tensor | None:
    size, direction = state.get(f"{stem}_g"), state.get(f"{stem}_v")
    if size is None or direction is None or size.ndim not in (0, direction.ndim):
        return None
    del state[f"{stem}_g"], state[f"{stem}_v"]
    return _normed(size, direction)


def _spectral_norm(state: dict[str, Tensor], stem: str) -> Tensor | None:
    weight, left = state.get(f"{stem}_orig"), state.get(f"{stem}_u")
    right = state.get(f"{stem}_v")
    if weight is None or left is None or right is None:
        return None
    for ending in ("orig", "u", "v"):
        del state[f"{stem}_{ending}"]
    return _spectral(weight, left, right)


_OLD = {"mask": _masked, "g": _weight_norm, "u": _spectral_norm}


def _normed(size: Tensor, direction: Tensor) -> Tensor:
    """``g v / ||v||``, the norm over all dimensions but the one that ``g`` has.

    PyTorch's own kernel, so that the rounding is that of the network in training.
    """
    size, direction = size.detach().float(), direction.detach().float()
    kept = [place for place, side in enumerate(size.shape) if side != 1]
    if size.ndim and len(kept) <= 1:
        found: Tensor = torch._weight_norm(direction, size, kept[0] if kept else 0)
    else:
        found = direction * (size / torch.linalg.vector_norm(direction))
    return found


def _spectral(weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The weight over its largest singular value, as the vectors of the last step estimate it."""
    place = next((p for p, side in enumerate(weight.shape) if side == len(left)), 0)
    if weight.shape[0] == len(left):
        place = 0
    matrix = weight.movedim(place, 0).flatten(1)
    if matrix.shape != (len(left), len(right)):
        raise CheckpointError(
            f"a spectral norm has vectors of {len(left)} and {len(right)} values for a weight of "
            f"{'x'.join(map(str, weight.shape))}"
        )
    return weight / torch.dot(left, torch.mv(matrix, right))
