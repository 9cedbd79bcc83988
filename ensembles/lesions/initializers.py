"""Modules that can draw their weights anew, as they did when they were made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["draw_again", "undrawn"]


def draw_again(branch: nn.Module) -> None:
    """Let every module of a branch draw its own weights, the inner ones first."""
    for module in reversed(list(branch.modules())):
        reset = _reset_of(module)
        if reset is not None and _own(module):
            reset()


def undrawn(branch: nn.Module) -> str:
    """Name of the first weight that belongs to no module that can draw it; "" for none."""
    for name, module in branch.named_modules():
        if _reset_of(module) is None:
            for own in _own(module):
                return f"{name}.{own}" if name else own
    return ""


def _own(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters(recurse=False)]


def _reset_of(module: nn.Module) -> Callable[[], Any] | None:
    """How a module draws its weights; attention and transformers of torch hide theirs."""
    for name in ("reset_parameters", "_reset_parameters"):
        found = getattr(module, name, None)
        if callable(found):
            return found  # type: ignore[no-any-return]
    return None
