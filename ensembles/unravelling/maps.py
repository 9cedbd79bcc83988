"""Parts of a network, linearised at the images' own activations.

Rows are tangents or cotangents of many path lengths at once, stacked in the batch dimension:
(rows, *shape). Row r belongs to image ``r % N`` of the N images, unless ``images`` names the image
of each row.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor, nn

from ensembles.errors import PathError
from ensembles.unravelling.plain_norms import with_plain_norms

__all__ = ["FunctionMap", "LinearMap", "chain", "pack"]

_FORWARD_MODE = Lock()
"""PyTorch's forward mode has one stack of levels for all threads of the process."""


_Vjp = Callable[..., tuple[Tensor, ...]]


class LinearMap(Protocol):
    """The first-order map of a part of a network at N images.

    At each image the part is ``x -> A x + constant``, exact at the image's own activation.
    """

    def push(self, rows: Tensor) -> Tensor:
        """Apply A to rows (R, *in_shape): (R, *out_shape)."""

    def pull(self, rows: Tensor, images: Tensor | None = None, owned: bool = False) -> Tensor:
        """Apply the transpose of A to rows (R, *out_shape): (R, *in_shape).

        Args:
            rows: Cotangents.
            images: The image of each row, (R,); by default row r belongs to image r % N.
            owned: Whether `rows` may be overwritten.
        """

    def constant(self) -> Tensor | None:
        """What A leaves out, (N, *out_shape); None where it is zero."""

    def release(self) -> None:
        """Give back memory that is held to pass rows; what comes later is held anew."""


class FunctionMap:
    """Any differentiable function of a batch, by `torch.func` and `vmap`.

    It is the fall-back for what `tapes` does not know, and its oracle. Tangents pass by the
    transpose of the derivative backward, which needs the activations of one run for all rows; where
    an operation has none, by forward mode, which runs the function anew for each call.

    Args:
        function: Maps (N, *in_shape) to (N, *out_shape), each image by itself.
        x: The images' activations (N, *in_shape).
        name: What the part is called in messages.

    Raises:
        PathError: If the function has no derivative.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], x: Tensor, name: str) -> None:
        self.function, self.x, self.name = function, x, name
        self._written = with_plain_norms(function)
        self._has_transpose = True
        check_differentiable(function, x, name)
        with _named(name, function), torch.no_grad():
            self.value = self._written(x)
        self.release()

    def release(self) -> None:
        """Forget the activations of the run that rows pass through."""
        self._back: _Vjp | None = None
        self._transposed: _Vjp | None = None

    def _vjp(self) -> _Vjp:
        if self._back is None:
            self._back = torch.func.vjp(self._written, self.x)[1]
        return self._back

    def _jvp(self) -> _Vjp:
        """The transpose of the derivative backward, which is linear in the cotangent."""
        if self._transposed is None:
            back = self._vjp()
            self._transposed = torch.func.vjp(back, torch.zeros_like(self.value))[1]
            if not _is_transpose(self._transposed, back, self.value):
                raise RuntimeError("the derivative backward is not one that can be derived again")
        return self._transposed

    def push(self, rows: Tensor) -> Tensor:
        """Tangents through the function."""
        tangents = torch.unflatten(rows.to(self.x), 0, (-1, len(self.x)))
        if self._has_transpose:
            try:
                transposed = self._jvp()
                found: Tensor = torch.vmap(lambda tangent: transposed((tangent,))[0])(tangents)
                return found.flatten(0, 1)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                self._has_transpose = False
                self.release()
        with _named(self.name, self.function):
            return self._forward_mode(tangents).flatten(0, 1)

    def _forward_mode(self, tangents: Tensor) -> Tensor:
        def one(tangent: Tensor) -> Tensor:
            out: Tensor = torch.func.jvp(self._written, (self.x,), (tangent,))[1]
            return out

        with _FORWARD_MODE, warnings.catch_warnings():
            # PyTorch loads its forward mode now, and warns of a way of its own.
            warnings.filterwarnings("ignore", ".*torch.jit.script. is deprecated")
            found: Tensor = torch.vmap(one)(tangents)
        return found

    def pull(self, rows: Tensor, images: Tensor | None = None, owned: bool = False) -> Tensor:
        """Cotangents back through the function."""

        def one(cotangent: Tensor) -> Tensor:
            out: Tensor = self._vjp()(cotangent)[0]
            return out

        count, rows = len(self.x), rows.to(self.value)
        if images is None:
            with _named(self.name, self.function):
                self._vjp()
                found: Tensor = torch.vmap(one)(torch.unflatten(rows, 0, (-1, count)))
            return found.flatten(0, 1)
        place, depth = pack(images, count)
        packed = rows.new_zeros(depth * count, *rows.shape[1:])
        packed[place] = rows
        with _named(self.name, self.function):
            self._vjp()
            grid: Tensor = torch.vmap(one)(torch.unflatten(packed, 0, (depth, count)))
        picked: Tensor = grid.flatten(0, 1)[place]
        return picked

    def constant(self) -> Tensor:
        """The value less the first-order map of the activation."""
        rest: Tensor = self.value - self.push(self.x)
        return rest


def _is_transpose(forward: _Vjp, back: _Vjp, value: Tensor) -> bool:
    """Whether a map forward is the transpose of one backward: <u, A v> is <A^T u, v>.

    That of a custom function whose derivative can be taken once alone is nought without a word.
    """
    draws = torch.Generator().manual_seed(0)
    u = torch.randn(value.shape, generator=draws, dtype=value.dtype).to(value.device)
    (v,) = back(u)
    (moved,) = forward((v,))
    size = float(v.detach().double().square().sum())
    return abs(float((u.double() * moved.detach().double()).sum()) - size) <= 1e-4 * size


@contextmanager
def _named(name: str, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Say which part torch cannot differentiate for many rows at once, and what it holds.

    Raises:
        PathError: In place of torch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        kinds = [type(m).__name__ for m in getattr(function, "modules", list)() if _fused(m)]
        holds = f" with {' and '.join(dict.fromkeys(kinds))}" if kinds else ""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise PathError(
            f"{name}{holds} has no derivative that torch.func can take for many paths at once "
            f"({reason}); expected operations with derivatives in both directions"
        ) from error


def _fused(module: nn.Module) -> bool:
    """Whether a module is one kernel of torch's, such as an LSTM."""
    return isinstance(module, nn.RNNBase)


def check_differentiable(function: Callable[[Tensor], Tensor], x: Tensor, name: str) -> None:
    """Refuse a part that autograd cannot follow.

    Raises:
        PathError: Naming the part.
    """
    probe = x[:1].detach().clone().requires_grad_()
    try:
        with torch.enable_grad():
            out = function(probe)
            followed = out.requires_grad
            if out.is_complex() or probe.is_complex():
                raise PathError(
                    f"{name} reads or gives complex numbers; paths are followed through sums of "
                    "real ones (lesions need no derivative)"
                )
            if followed:
                torch.autograd.grad(out.sum(), probe, allow_unused=False)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0][:160]
        if not _runs(function, probe):
            raise PathError(
                f"{name} fails on a row of {str(probe.dtype)[6:]} ({reason}); expected a part that "
                "runs on a single row, in the precision of the paths, without casts to another type"
            ) from error
        raise PathError(
            f"{name} is not differentiable ({reason}); expected operations that autograd follows"
        ) from error
    if not followed:
        raise PathError(
            f"{name} is not differentiable: its value has no gradient; "
            "expected operations that autograd follows, without rounding or comparison, detach() "
            "or torch.no_grad()"
        )


def _runs(function: Callable[[Tensor], Tensor], probe: Tensor) -> bool:
    """Whether a part runs where nothing is differentiated."""
    try:
        with torch.no_grad():
            function(probe)
    except RuntimeError:
        return False
    return True


def pack(images: Tensor, count: int) -> tuple[Tensor, int]:
    """Places in a grid (depth, count) for rows that belong to given images.

    Returns:
        The flat place of each row, and the depth of the grid.

    >>> pack(torch.tensor([0, 1, 1]), 2)
    (tensor([0, 1, 3]), 2)
    """
    order = torch.argsort(images, stable=True)
    counts = torch.bincount(images, minlength=count)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(images)
    rank[order] = torch.arange(len(images), device=images.device) - starts[images[order]]
    return rank * count + images, int(counts.max())


def chain(maps: list[LinearMap]) -> LinearMap:
    """Several maps one after another as one map."""
    return maps[0] if len(maps) == 1 else _Chain(maps)


class _Chain:
    """The composition of maps, the first applied first."""

    def __init__(self, maps: list[LinearMap]) -> None:
        self.maps = maps

    def push(self, rows: Tensor) -> Tensor:
        for part in self.maps:
            rows = part.push(rows)
        return rows

    def pull(self, rows: Tensor, images: Tensor | None = None, owned: bool = False) -> Tensor:
        for part in reversed(self.maps):
            rows = part.pull(rows, images, owned)
            owned = False
        return rows

    def release(self) -> None:
        for part in self.maps:
            part.release()

    def constant(self) -> Tensor | None:
        total: Tensor | None = None
        for part in self.maps:
            total = None if total is None else part.push(total)
            own = part.constant()
            total = own if total is None else total if own is None else total + own
        return total
