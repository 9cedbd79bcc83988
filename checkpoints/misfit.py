"""Why weights do not fit a network, in one line, with the nearest names and what fits instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from torch import Tensor

from ensembles.errors import CheckpointError, EnsemblesError
from ensembles.models import Architecture, architecture, list_models

from .blueprint import blueprint
from .covers import Cover, covers_of
from .weight_names import renamed

__all__ = ["Misfit", "compared", "fitting", "some"]

_MOST_NAMED = 4


@dataclass(frozen=True)
class Misfit:
    """What keeps weights from fitting.

    Attributes:
        missing: The network's tensors that are not there.
        unexpected: Tensors that the network does not have, and that do not lie beside it.
        shapes: Tensors of another shape.
        kinds: Whole numbers where there should be others, or the reverse.
    """

    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    shapes: Sequence[str] = ()
    kinds: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.count)

    @property
    def count(self) -> int:
        """How many tensors it is about."""
        return sum(map(len, (self.missing, self.unexpected, self.shapes, self.kinds)))

    def told(
        self,
        state: Mapping[str, Tensor],
        expected: Mapping[str, Tensor],
        left: Mapping[str, Tensor],
    ) -> str:
        """All of it in words.

        Args:
            state: The weights under the network's names.
            expected: The network's tensors.
            left: What else the file holds, among which the nearest of a missing one is looked for.
        """
        parts = []
        if self.missing:
            near = _nearest(self.missing, expected, left)
            parts.append(f"{len(self.missing)} missing ({some(self.missing)}{near})")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} unexpected ({some(self.unexpected)})")
        if self.shapes:
            pairs = [f"{k} {size(state[k])}, the model {size(expected[k])}" for k in self.shapes]
            parts.append(f"{len(self.shapes)} of another shape ({some(pairs)})")
        if self.kinds:
            pairs = [f"{k} {str(state[k].dtype).removeprefix('torch.')}" for k in self.kinds]
            parts.append(f"{len(self.kinds)} of another kind of number ({some(pairs)})")
        return "; ".join(parts)


def compared(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    missing: Sequence[str] = (),
    unexpected: Sequence[str] = (),
) -> Misfit:
    """Hold weights against a network's tensors."""
    both = [key for key in expected if key in state]
    return Misfit(
        missing,
        unexpected,
        [key for key in both if state[key].shape != expected[key].shape],
        [key for key in both if not _convertible(state[key], expected[key])],
    )


def _convertible(found: Tensor, wanted: Tensor) -> bool:
    """Whether numbers can become those that are wanted, without a loss that matters."""
    if found.is_floating_point() == wanted.is_floating_point():
        return found.is_complex() == wanted.is_complex()
    if not found.is_floating_point():
        return False
    if not wanted.ndim:  # a counter, which evaluation does not read
        return True
    single = found.detach().double()
    exact = {"torch.float16": 2**11, "torch.bfloat16": 2**8}.get(str(found.dtype), 2**24)
    return bool((single == single.round()).all()) and bool((single.abs() <= exact).all())


def _nearest(
    missing: Sequence[str], expected: Mapping[str, Tensor], left: Mapping[str, Tensor]
) -> str:
    """The tensor in the file that is most like the first missing one."""
    name = missing[0]
    last = name.rpartition(".")[2]
    shape = expected[name].shape
    alike = [k for k, v in left.items() if v.shape == shape and k.rpartition(".")[2] == last]
    if not alike:
        alike = [k for k, v in left.items() if v.shape[1:] == shape[1:] and k.endswith(last)]
    close = get_close_matches(name, alike, n=1, cutoff=0.3)
    if not close and len(alike) != 1:
        return ""
    found = close[0] if close else alike[0]
    return f"; nearest to {name} in the file: {found} {size(left[found])}"


_MOST_HINTED = 5_000  # tensors: each of them is looked at once for each architecture


def fitting(entry: Architecture, flat: Mapping[str, Tensor]) -> str | None:
    """Another architecture of the same kind that these weights fit whole, if there is one.

    Args:
        entry: The architecture that they do not fit.
        flat: All tensors of the file by their whole names.
    """
    if len(flat) > _MOST_HINTED:
        return None
    for name in list_models("ensembles") + list_models("torchvision"):
        try:
            other = architecture(name)
            if other.family != entry.family or other.name == entry.name:
                continue
            expected = blueprint(name, other.num_classes, {}, flat, most=len(flat))
        except EnsemblesError:
            continue
        if _fits(expected, renamed(flat, _needed(expected)), other.num_classes):
            return other.name
    return None


def _needed(expected: Mapping[str, Tensor]) -> list[str]:
    return [name for name in expected if not name.endswith("num_batches_tracked")]


def _fits(expected: Mapping[str, Tensor], flat: Mapping[str, Tensor], classes: int) -> bool:
    for cover in covers_of(flat, expected):
        wrong, _ = cover.left_over(flat, expected)
        if not cover.missing and not wrong and _same_shapes(cover, flat, expected, classes):
            return True
    return False


def _same_shapes(
    cover: Cover, flat: Mapping[str, Tensor], expected: Mapping[str, Tensor], classes: int
) -> bool:
    for name, whole in cover.names.items():
        found, wanted = flat[whole].shape, expected[name].shape
        widened = wanted and wanted[0] == classes and found[1:] == wanted[1:]
        if found != wanted and not widened:
            return False
    return True


def refused(origin: str, entry: Architecture, told: str, advice: str = "") -> CheckpointError:
    """The error that says so."""
    return CheckpointError(f"{origin} does not fit {entry.name}: {told}{advice}")


def size(value: Tensor) -> str:
    """A shape as 64x3x7x7."""
    return "x".join(map(str, value.shape)) or "scalar"


def some(parts: Sequence[str]) -> str:
    """The first few of many."""
    rest = len(parts) - _MOST_NAMED
    return ", ".join(parts[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
