"""Custom functions of autograd whose derivative is another one beyond what an example gives them.

A straight-through clamp agrees with its values as long as nothing is clamped. So each function is
called again by itself, on what it read and on multiples of that, and its derivative is held against
differences of its values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function

from ensembles.decomposition.gradient_tape import GradientTape
from ensembles.numerics import differentiable

__all__ = ["CustomCalls", "differs_beyond"]

_SCALES = (10, 100, 1000, 0.1)
_ROWS = 64
"""Rows for which a function is called too."""
_STEP = 1e-6
_TOLERANCE = 1e-3
_MOST = 3
"""Calls of one function that are looked at."""


class _Call(NamedTuple):
    cls: Any
    args: tuple[Any, ...]

    def repeated(self, times: int) -> _Call:
        """The same for so many times the rows of its activations."""

        def more(arg: Any) -> Any:
            if not (isinstance(arg, Tensor) and arg.requires_grad and arg.ndim):
                return arg
            return torch.cat([arg.detach()] * times).requires_grad_()

        return self._replace(args=tuple(map(more, self.args)))


class CustomCalls:
    """What custom functions are given while a model runs.

    Args:
        names: Names of the functions.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.classes = [cls for cls in _subclasses(Function) if cls.__name__ in names]
        self.calls: list[_Call] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take note of the arguments of each call; the classes are as before afterwards."""
        kept = [(cls, cls.__dict__.get("forward")) for cls in self.classes]
        try:
            for cls in self.classes:
                cls.forward = staticmethod(self._noting(cls))
            yield
        finally:
            for cls, forward in kept:
                if forward is None:
                    del cls.forward
                else:
                    cls.forward = forward

    def _noting(self, cls: Any) -> Any:
        whole, skipped = cls.forward, int(_takes_context(cls))

        def forward(*args: Any, **kwargs: Any) -> Any:
            if not kwargs and sum(call.cls is cls for call in self.calls) < _MOST:
                self.calls.append(_Call(cls, tuple(map(_held, args[skipped:]))))
            return whole(*args, **kwargs)

        return forward


def differs_beyond(model: nn.Module, row: Tensor, names: Collection[str]) -> tuple[str, str]:
    """Find a custom function whose derivative is not that of its values.

    Args:
        model: The user's model.
        row: What it is run on.
        names: Names of the custom functions that it calls.

    Returns:
        The name of the first, and what it was called with; ("", "") where there is none.
    """
    watched = CustomCalls(names)
    with watched.watched():
        GradientTape.of(model, row)
    for call in watched.calls:
        for scale in _SCALES:
            if _differs(call, scale):
                return call.cls.__name__, f"its input is {scale:g} times that of the example"
        if _differs(call.repeated(_ROWS), 1):
            return call.cls.__name__, f"it is given {_ROWS} rows"
    return "", ""


def _subclasses(cls: Any) -> Iterator[Any]:
    for one in cls.__subclasses__():
        yield one
        yield from _subclasses(one)


def _takes_context(cls: Any) -> bool:
    """Whether the forward of a function takes the context first, as without `setup_context`."""
    return bool(cls.setup_context is Function.setup_context)


def _held(value: Any) -> Any:
    """An argument as it was; of an activation a copy that asks for a gradient."""
    if not isinstance(value, Tensor):
        return value
    asked = value.requires_grad and value.is_floating_point()
    asked = asked and not isinstance(value, nn.Parameter)
    return value.detach().clone().requires_grad_(asked)


def _differs(call: _Call, scale: float) -> bool:
    """Whether the derivative of a call is not that of its values, at a multiple of what it read."""
    fixed = torch.Generator().manual_seed(0)
    given = [_double(arg) for arg in call.args]
    places = [i for i, arg in enumerate(given) if isinstance(arg, Tensor) and arg.requires_grad]
    if not places:
        return False
    steps = {}
    for i in places:
        given[i] = (given[i].detach() * scale).requires_grad_()
        drawn = torch.randn(given[i].shape, generator=fixed, dtype=torch.float64)
        steps[i] = drawn.to(given[i].device) * _STEP * scale
    try:
        with torch.enable_grad(), differentiable():
            out = _first(call.cls.apply(*given))
            weights = torch.randn(out.shape, generator=fixed, dtype=torch.float64).to(out.device)
            asked = [given[i] for i in places]
            found = torch.autograd.grad((out * weights).sum(), asked, materialize_grads=True)
        sides = [_first(call.cls.apply(*_moved(given, steps, sign))).detach() for sign in (1, -1)]
    except Exception:  # the user's code runs here, and may insist on a type or a size
        return False
    wanted = ((sides[0] - sides[1]) * weights).sum() / 2
    slope = sum((g * steps[i]).sum() for g, i in zip(found, places, strict=True))
    size = sum((g * steps[i]).abs().sum() for g, i in zip(found, places, strict=True))
    moved = ((sides[0] - sides[1]) * weights).abs().sum() / 2
    gap = abs(float(wanted - slope))
    return gap > _TOLERANCE * max(float(size), float(moved))  # false where one is no number


def _double(arg: Any) -> Any:
    real = isinstance(arg, Tensor) and arg.is_floating_point()
    return arg.detach().double().requires_grad_(arg.requires_grad) if real else arg


def _moved(given: list[Any], steps: dict[int, Tensor], sign: int) -> list[Any]:
    return [arg.detach() + sign * steps[i] if i in steps else arg for i, arg in enumerate(given)]


def _first(out: Any) -> Tensor:
    """The first output of a function."""
    found = out if isinstance(out, Tensor) else out[0]
    assert isinstance(found, Tensor)
    return found
