"""Batches of other sizes than the example's, for which parts must compute what the model does.

A hook, or a forward, may decide by the number of rows (``if len(x) > 4``), or hold as many rows as
the example has. So the first batch of a new size is held against the model once. Modules of
well-known libraries do nothing of the kind, and are taken at their word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from ensembles.decomposition.inputs import (
    Inputs,
    called,
    cloned,
    named_tensors,
    placed,
    rows_of,
    take,
)
from ensembles.decomposition.original import exact_execution
from ensembles.decomposition.private_copy import hooks_of, private_copy
from ensembles.decomposition.verification import equal, reason_of
from ensembles.errors import EnsemblesError, EvaluationError

__all__ = ["BatchSizes"]

_MOST = 1 << 27
"""Numbers in the answers to a batch, at most, for which a model is run once more."""

_OF_LIBRARIES = {"ensembles", "timm", "torch", "torchvision"}
"""Packages whose modules do not decide by the number of rows."""

_FAR, _NEAR = 1e-2, 1e-3
"""Differences, as parts of the scale of the logits: no rounding; as rounding may make them."""


class BatchSizes:
    """Holds batches of new sizes against the model.

    Args:
        model: A private copy of the model, hooks and all; it is kept.
        example: What it was taken apart by.
        seen: Numbers of rows for which its parts were held against it.

    Attributes:
        seen: See above.
    """

    def __init__(self, model: nn.Module, example: Inputs, seen: Iterable[int]) -> None:
        self.model, self.seen = model, set(seen)
        self._kinds, self._device = _kinds(example), _device(example)
        self._may_decide = not (_is_of_libraries(model) and not hooks_of(model))

    def __deepcopy__(self, _: Any) -> BatchSizes:
        twin = BatchSizes.__new__(BatchSizes)
        vars(twin).update(vars(self) | {"seen": self.seen.copy()})
        return twin

    def __reduce__(self) -> Any:
        return (_none, ())  # a model of the user's own may not be picklable

    def answers(self, inputs: Inputs, parts: Callable[[Inputs], Tensor]) -> Tensor:
        """What the parts make of a batch; a batch of a new size is held against the model.

        Parts that were changed since, which give something else for a size that is known, too, are
        held against nothing.

        Args:
            inputs: A batch.
            parts: The decomposition.

        Raises:
            EvaluationError: If the model gives something else, or takes no batch of this size.
        """
        if not self._comparable(inputs) or rows_of(inputs) in self.seen:
            return parts(inputs)
        try:
            found = parts(inputs)
        except EnsemblesError:
            raise
        except Exception:  # operations that hold as many rows as the example had
            self._hold(inputs, parts, None)
            raise
        if found.numel() <= _MOST:
            self._hold(inputs, parts, found.detach())
        self.seen.add(rows_of(inputs))
        return found

    def _hold(
        self, inputs: Inputs, parts: Callable[[Inputs], Tensor], found: Tensor | None
    ) -> None:
        with exact_execution(self._device):
            wanted = _answers(self.model, inputs)
            if isinstance(wanted, Tensor) and found is not None and _alike(wanted, found):
                return
            few = take(inputs, slice(self._below(rows_of(inputs))))
            known, same = _answers(self.model, few), _answers(parts, few)
            if isinstance(known, Exception) or isinstance(same, Exception):
                return
            if _alike(known, same):
                self._require(self.model, inputs, wanted, found)

    def require(self, inputs: Inputs, device: torch.device | None = None) -> None:
        """Refuse a model that treats the rows of a batch otherwise than those of a known size.

        It is run on a batch that is greater than all that it was seen with, and on the first and
        the last rows of it.

        Args:
            inputs: A batch.
            device: Where it is run; by default where the inputs are.

        Raises:
            EvaluationError: If it gives something else, or takes no batch of this size.
        """
        if not self._comparable(inputs, anywhere=device is not None):
            return
        rows, place = rows_of(inputs), device or self._device
        if rows <= max(self.seen):
            return
        with exact_execution(place):
            try:
                model = self.model if place == self._device else _moved(self.model, place)
            except Exception:  # it cannot be copied, or there is no room
                return
            given, few = placed(inputs, place), max(self.seen)
            wanted, found = _answers(model, given), _of_ends(model, given, few)
            if found is not None:
                ends = _ends(wanted, few) if isinstance(wanted, Tensor) else wanted
                self._require(model, given, ends, found)
        self.seen.add(rows)

    def _require(
        self, model: nn.Module, inputs: Inputs, wanted: Tensor | Exception, found: Tensor | None
    ) -> None:
        rows, name = rows_of(inputs), type(model).__name__
        most = self._below(rows)
        if isinstance(wanted, Exception):
            if _for_memory(wanted):
                return
            raise EvaluationError(
                f"{name} takes {most} rows at once, and not {rows} ({reason_of(wanted)}); give "
                f"batches of at most {most}, or take out what holds a number of rows"
            )
        if found is not None and (
            _alike(wanted, found) or self._is_rounding(model, inputs, wanted, found)
        ):
            return
        apart = ""
        if found is not None and found.shape == wanted.shape:
            gap, scale = _apart(wanted, found)
            apart = f" (by {gap:.2g} at a scale of {scale:.2g})"
        raise EvaluationError(
            f"{name} gives other logits for {rows} rows at once than for {most}{apart}: a hook or "
            "its forward decides by the number of rows, or holds something of so many; give "
            f"batches of at most {most}, or take that out of the model"
        )

    def _below(self, rows: int) -> int:
        """The greatest size below another for which parts and model were held together."""
        return max(size for size in self.seen if size < rows)

    def _is_rounding(self, model: nn.Module, inputs: Inputs, wanted: Tensor, found: Tensor) -> bool:
        """Whether nothing is left of a difference in double precision."""
        if wanted.shape != found.shape:
            return False
        gap, scale = _apart(wanted, found)
        gap /= scale or 1.0
        if not gap < _FAR:
            return False
        try:
            double = private_copy(model, hooks=True).double()
        except EnsemblesError:
            return gap < _NEAR
        given = placed(inputs, _device(inputs), torch.float64)
        few = self._below(rows_of(inputs))
        whole, ends = _answers(double, given), _of_ends(double, given, few)
        if isinstance(whole, Exception) or ends is None:
            return gap < _NEAR
        return _alike(_ends(whole, few), ends)

    def _comparable(self, inputs: Inputs, *, anywhere: bool = False) -> bool:
        """Whether inputs are such as the example, and plain numbers that are only computed with."""
        if not self._may_decide or torch.compiler.is_compiling() or torch._C._is_tracing():
            return False
        if torch._C._functorch.peek_interpreter_stack() is not None:
            return False
        tensors = named_tensors(inputs).values()
        if any(type(tensor) not in (Tensor, nn.Parameter) for tensor in tensors):
            return False
        device = _device(inputs)
        return (
            _get_current_dispatch_mode() is None
            and not torch.is_autocast_enabled(device.type)
            and not (device.type == "cuda" and torch.cuda.is_current_stream_capturing())
            and (anywhere or device == self._device)
            and _kinds(inputs) == self._kinds
            and rows_of(inputs) > 0
        )


def _alike(expected: Tensor, found: Tensor) -> bool:
    """Whether logits agree where they are finite, and are finite at the same places."""
    finite = expected.isfinite()
    if expected.shape != found.shape or not torch.equal(finite, found.isfinite()):
        return False
    return equal(expected.where(finite, 0), found.where(finite, 0))


def _apart(expected: Tensor, found: Tensor) -> tuple[float, float]:
    """The greatest difference between logits, and their scale."""
    finite = expected.isfinite()
    gap = (expected.where(finite, 0) - found.where(finite, 0)).nan_to_num(torch.inf).abs().max()
    return float(gap), float(expected.where(finite, 0).abs().max())


def _is_of_libraries(model: nn.Module) -> bool:
    """Whether all that runs in a model stands in modules of libraries, as these have it."""
    return all(
        type(module).__module__.partition(".")[0] in _OF_LIBRARIES and "forward" not in vars(module)
        for module in model.modules()
    )


def _none() -> None:
    return None


def _device(inputs: Inputs) -> torch.device:
    return next(iter(named_tensors(inputs).values())).device


def _kinds(inputs: Inputs) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    return {name: (one.dtype, tuple(one.shape[1:])) for name, one in named_tensors(inputs).items()}


def _answers(model: Callable[..., Any], inputs: Inputs) -> Tensor | Exception:
    try:
        found: Tensor = called(model, cloned(inputs))
    except Exception as error:  # the user's code runs here
        return error
    return found


def _ends(answers: Tensor, few: int) -> Tensor:
    """Those for the first and for the last rows."""
    return torch.cat([answers[:few], answers[-few:]])


def _of_ends(model: nn.Module, inputs: Inputs, few: int) -> Tensor | None:
    """The same where the model is given these rows alone; None where it does not take them."""
    parts = [_answers(model, take(inputs, rows)) for rows in (slice(few), slice(-few, None))]
    found = [part for part in parts if isinstance(part, Tensor)]
    return torch.cat(found) if len(found) == len(parts) else None


def _moved(model: nn.Module, device: torch.device) -> nn.Module:
    return private_copy(model, hooks=True).to(device)


def _for_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "memory" in str(error)
