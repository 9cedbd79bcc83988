"""A model must give each row the same, whatever runs before it or stands beside it."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ensembles.decomposition.inputs import (
    Inputs,
    called,
    cloned,
    mapped,
    named_tensors,
    placed,
    rows_of,
    take,
)
from ensembles.decomposition.verification import (
    altered,
    equal,
    noun_of,
    parting,
    reason_of,
    run_of,
    still_training,
)
from ensembles.errors import DecompositionError

__all__ = ["check_independence", "steady"]

_RUNS = 8
"""How often a model runs again before something else is blamed."""


def check_independence(
    model: nn.Module, inputs: Inputs, logits: Tensor, own: Tensor | None = None
) -> Tensor:
    """Refuse a model that is random in evaluation mode, or that lets rows influence each other.

    What rounding makes of one row when another is beside it is ruled out in double precision.

    Args:
        model: A private copy of the model, in evaluation mode.
        inputs: A batch of inputs.
        logits: What the model makes of them.
        own: What the user's own model makes of the first row alone, where that is known.

    Returns:
        The logits of the first row alone.

    Raises:
        DecompositionError: The message names the module where the outputs part.
    """
    name, one, rows = type(model).__name__, take(inputs, slice(1)), rows_of(inputs)
    steady = own is not None and equal(own, logits[:1])  # two runs gave the same
    alone: Tensor = own if own is not None and steady else _run_alone(model, one, logits)
    last = take(inputs, slice(rows - 1, rows))
    apart = rows > 1 and not equal(alone, logits[:1])
    if rows > 1 and not apart:
        if equal(run_of(model, last), logits[-1:]):
            return alone
        one = last
    noun = "image" if noun_of(inputs) == "images" else "input"
    again = alone if rows == 1 and steady else run_of(model, one)
    if again is not alone and not equal(again if one is last else alone, run_of(model, one)):
        raise _unsteady(model, one)
    two = inputs if apart else _beside(one, altered(model, one))
    if one is last:
        two = mapped(lambda tensor: tensor.flip(0), inputs)
    apart = rows > 1 or not equal(again, run_of(model, two)[:1])
    if apart and not _independent_in_double(model, two):
        raise DecompositionError(
            f"{name} gives other logits for an {noun} when another "
            f"one is beside it: they part {parting(model, one, two)}; expected {noun}s that do "
            "not influence each other (BatchNorm needs its running statistics)"
            + still_training(model)
        )
    return alone


@contextmanager
def steady(model: nn.Module, inputs: Inputs, logits: Tensor) -> Iterator[None]:
    """Look for chance in a model before anything else is blamed for what goes wrong within.

    Args:
        model: A private copy of the model, in evaluation mode.
        inputs: A batch of inputs.
        logits: What the model made of them.

    Raises:
        DecompositionError: Where it gives something else when it runs again, saying why.
    """
    try:
        yield
    except DecompositionError:
        if any(not equal(logits, run_of(model, inputs)) for _ in range(_RUNS)):
            raise _unsteady(model, inputs) from None
        if _remembers(model, inputs, logits):
            raise _keeping(model, inputs, "other inputs ran in between") from None
        raise


def _remembers(model: nn.Module, inputs: Inputs, logits: Tensor) -> bool:
    """Whether a model gives something else after it ran on other inputs."""
    for others in (altered(model, inputs), take(inputs, slice(1))):
        try:
            called(model, cloned(others))
            if not equal(logits, run_of(model, inputs)):
                return True
        except Exception:  # the user's code runs here
            return False
    return False


def _unsteady(model: nn.Module, inputs: Inputs) -> DecompositionError:
    """The error of a model that gave something else when it ran again."""
    runs = [run_of(model, inputs) for _ in range(_RUNS)]
    if all(equal(runs[0], run) for run in runs[1:]):
        return _keeping(model, inputs, "its first runs differ from those after them")
    place = parting(model, inputs, inputs)
    if not _repeats(lambda: run_of(model, inputs)):
        return _keeping(model, inputs, place)
    return DecompositionError(
        f"{_again(model, inputs)}: it is random {place}; expected a network without chance in "
        "evaluation mode" + still_training(model)
    )


def _keeping(model: nn.Module, inputs: Inputs, place: str) -> DecompositionError:
    """The error of a model that remembers what it ran on."""
    return DecompositionError(
        f"{_again(model, inputs)}: it keeps something from one run to the next ({place}); expected "
        "the same each time, so hold still what counts, observes or caches in evaluation mode"
    )


def _again(model: nn.Module, inputs: Inputs) -> str:
    noun = "image" if noun_of(inputs) == "images" else "input"
    return f"{type(model).__name__} gives other logits for the same {noun} when it runs again"


def _run_alone(model: nn.Module, one: Inputs, logits: Tensor) -> Tensor:
    """What a model that took several rows makes of one of them."""
    rows = len(logits)
    try:
        out: Tensor = run_of(model, one)
    except DecompositionError as error:
        if rows == 1:
            raise
        raise DecompositionError(
            f"{type(model).__name__} takes {rows} rows and not one alone "
            f"({reason_of(error.__cause__ or error)}); expected a network that takes any number of "
            "rows, each for itself (of an exported program: exported with a dynamic batch)"
            + still_training(model)
        ) from error
    if isinstance(out, Tensor) and out.shape == logits.shape[1:]:
        raise DecompositionError(
            f"{type(model).__name__} gives a tensor of shape {tuple(out.shape)} for one row alone, "
            f"and of {tuple(logits.shape)} for {rows}; expected logits of shape (1, classes), so "
            "let squeeze() say which dimensions it takes away, as flatten(1) does"
        )
    return out


def _independent_in_double(model: nn.Module, inputs: Inputs) -> bool:
    """Whether a row has the same logits alone and beside others, in double precision."""
    first = next(iter(named_tensors(inputs).values()))
    if first.dtype == torch.float64:
        return False
    try:
        twin, double = copy.deepcopy(model).double(), placed(inputs, first.device, torch.float64)
        alone, beside = called(twin, take(double, slice(1))), called(twin, cloned(double))[:1]
    except Exception:  # the user's code runs here, and may insist on a precision
        return False
    return alone.dtype == torch.float64 and equal(alone, beside)


def _beside(one: Inputs, other: Inputs) -> Inputs:
    """The rows of two batches in one."""
    others = iter(named_tensors(other).values())
    return mapped(lambda tensor: torch.cat([tensor, next(others)]), one)


def _repeats(run: Callable[[], Tensor]) -> bool:
    """Whether two runs agree where both draw the same random numbers."""
    with _same_chance():
        first = run()
    with _same_chance():
        return equal(first, run())


@contextmanager
def _same_chance() -> Iterator[None]:
    """Start the generators of torch, Python and NumPy alike, and put them back."""
    kept, numpy = random.getstate(), sys.modules.get("numpy")
    numpy_kept = None if numpy is None else numpy.random.get_state()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            random.seed(0)
            if numpy is not None:
                numpy.random.seed(0)
            yield
    finally:
        random.setstate(kept)
        if numpy is not None:
            numpy.random.set_state(numpy_kept)
