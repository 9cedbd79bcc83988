"""The tensors of a file become a model: its weights are found among them, then all are loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ensembles.errors import CheckpointError, UsageError
from ensembles.models import Architecture, architecture
from ensembles.models.normalized import Normalized

from .blueprint import blueprint, untrained
from .covers import Cover, covers_of, same_weights
from .disguised_averages import disguised_averages
from .inner_normalizer import inner_normalizer
from .misfit import compared, fitting, refused, size, some
from .order_match import in_order
from .reparametrized import written_out
from .tensor_sets import TensorSets, flattened
from .weight_names import bare, renamed
from .weight_values import check_values

__all__ = ["Fitted", "build_with_weights", "fit"]

_WITH_AUXILIARY = ("googlenet", "inception_v3")
_AUXILIARY = re.compile(r"(^|\.)(aux\d|AuxLogits)\.")
_MANY_CLASSES = 100_000
_MATCHES = ("names", "order")
# Networks of a family differ in more names than one: a single one is no sign of another.
_OF_ANOTHER = 2


@dataclass(frozen=True)
class Fitted:
    """A network with its weights, and how they were found.

    Attributes:
        model: The network, in evaluation mode.
        num_classes: Width of its classifier.
        arguments: Of the architecture, those that follow from the weights among them.
        notes: What was chosen, made or left over, a line each.
        chosen: Which of several sets of weights these are; empty where there was one.
    """

    model: nn.Module
    num_classes: int
    arguments: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    chosen: str = ""


def build_with_weights(
    name: str,
    state: Mapping[str, Tensor],
    *,
    num_classes: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    origin: str = "the checkpoint",
) -> tuple[nn.Module, int]:
    """Build an architecture and give it weights, all of them or none; see :func:`fit`.

    Args:
        name: As for :func:`ensembles.create_model`.
        state: Tensors by name.
        num_classes: Width of the classifier; by default that of the weights.
        arguments: Further ones of the architecture.
        origin: What to call the weights in an error.

    Returns:
        The model in evaluation mode, and its number of classes.

    Raises:
        CheckpointError: As :func:`fit` raises it.
        ModelError: When there is no such architecture.
    """
    found = fit(
        name, {"": dict(state)}, num_classes=num_classes, arguments=arguments, origin=origin
    )
    return found.model, found.num_classes


def fit(
    name: str,
    sets: TensorSets,
    *,
    num_classes: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    weights: str | None = None,
    match: str = "names",
    origin: str = "the checkpoint",
    hint: str = "",
) -> Fitted:
    """Build an architecture with the tensors in a file that are its weights, all of them or none.

    The tensors are found under any prefix; what wrappers put into names is taken out, names that
    are usual elsewhere (``fc`` for ``linear``, ``downsample`` for ``shortcut``) are understood, and
    so are Inception networks saved without their auxiliary heads. Masks and parametrisations are
    written out, half and double precision converted. The number of classes and of input channels
    are those of the weights. A normaliser in the file, as robustness libraries wrap one around
    the network, becomes part of the model.

    Args:
        name: As for :func:`ensembles.create_model`.
        sets: Tensors by name in each place of the file.
        num_classes: Width of the classifier; by default that of the weights.
        arguments: Further ones of the architecture.
        weights: Which set, where there are several: ``"raw"``, ``"ema"`` or its prefix; by default
            the raw one.
        match: ``"names"``, or ``"order"`` for weights under foreign names whose number, order and
            shapes agree with the network's.
        origin: What to call the weights in an error.
        hint: What to do where tensors are missing, in words.

    Raises:
        CheckpointError: When names or shapes do not fit, several sets do and none is named, or a
            value is not finite; what is missing, unexpected and of another shape is listed.
        UsageError: When ``weights`` or ``match`` cannot be meant.
        ModelError: When there is no such architecture.
    """
    if match not in _MATCHES:
        raise UsageError(f"weights are matched by {' or '.join(_MATCHES)}, not by {match!r}")
    return _Fit(name, sets, num_classes, arguments or {}, origin).fitted(weights, match, hint)


class _Fit:
    def __init__(
        self,
        name: str,
        sets: TensorSets,
        num_classes: int | None,
        arguments: Mapping[str, Any],
        origin: str,
    ) -> None:
        self.hint = ""
        self.name, self.sets, self.origin, self.num_classes = name, sets, origin, num_classes
        self.entry = architecture(name)
        self.notes: list[str] = []
        self.chosen = ""
        self.flat = self._bare(flattened(sets))
        self.arguments = dict(_without_lost_heads(self.entry, self.flat, arguments))
        classes = self.entry.num_classes if num_classes is None else num_classes
        widths = {value.shape[0] for value in self.flat.values() if value.ndim}
        if classes > _MANY_CLASSES and classes not in widths:
            raise CheckpointError(f"{origin} has no layer for {classes:,} classes")
        self.classes = classes
        self.expected = self._blueprint()
        self.stem = _stem(self.expected, self.entry.input_size[0])

    def fitted(self, weights: str | None, match: str, hint: str) -> Fitted:
        self.hint = hint
        self.flat = renamed(self.flat, _needed(self.expected))
        covers = covers_of(self.flat, self.expected)
        whole = [cover for cover in covers if not cover.missing]
        whole += [other for cover in whole for other in disguised_averages(self.flat, cover)]
        if match == "order" and not whole:
            beside: list[str] = []
            state = self._in_order()
        else:
            cover = self._chosen(whole, weights) if whole else next(iter(covers), Cover("", {}))
            state = cover.chosen(self.flat)
            wrong, beside = cover.left_over(self.flat, self.expected)
            self._follow(state)
            self._compare(state, cover, wrong)
            self._tell_split(cover)
        check_values(state, self.origin)
        model = self._model(state, beside)
        return Fitted(model.eval(), self.classes, self.arguments, tuple(self.notes), self.chosen)

    def _bare(self, flat: dict[str, Tensor]) -> dict[str, Tensor]:
        """Names without what wrappers put in, and weights without what training keeps of them."""
        found = {bare(name): value for name, value in flat.items()}
        found, made = written_out(found if len(found) == len(flat) else flat, self.origin)
        if made:
            self.notes.append(f"masks or parametrisations were written out: {some(made)}")
        return found

    def _blueprint(self) -> dict[str, Tensor]:
        return blueprint(self.name, self.classes, self.arguments, self.flat, origin=self.origin)

    def _chosen(self, covers: Sequence[Cover], weights: str | None) -> Cover:
        """One of several sets of weights."""
        fits = [cover for cover in covers if self._fits(cover)] or list(covers)
        known = [cover for cover in fits if not cover.is_aside] or fits
        if weights is not None:
            return self._named(fits, weights)
        raw = self._distinct([cover for cover in known if not cover.averaged])
        averaged = self._distinct([cover for cover in known if cover.averaged])
        if len(raw) > 1 or (not raw and len(averaged) > 1):
            titles = [cover.title for cover in raw or averaged]
            raise CheckpointError(
                f"{self.origin} holds {len(titles)} sets of weights of {self.entry.name}: "
                f"{', '.join(titles)}; name one of them with --weights {titles[0]!r}"
            )
        if raw and averaged:
            self.chosen = raw[0].title
            self.notes.append(
                f"two sets of weights are there, the raw ones ({raw[0].title}) and averaged ones "
                f"({', '.join(cover.title for cover in averaged)}): the raw ones were taken, as "
                "nothing else was asked for; --weights ema takes the averaged ones"
            )
        elif averaged:
            self.notes.append(f"the weights are an average over training ({averaged[0].title})")
        return (raw or averaged)[0]

    def _named(self, covers: Sequence[Cover], weights: str) -> Cover:
        kinds = {"raw": False, "ema": True}
        if weights in kinds:
            found = self._distinct([c for c in covers if c.averaged == kinds[weights]])
        else:
            found = [
                c for c in covers if weights in (c.title, c.prefix) or bare(weights) == c.prefix
            ]
        titles = [f"{c.title} ({'averaged' if c.averaged else 'raw'})" for c in covers]
        if len(found) != 1:
            several = "more than one set" if found else "no set"
            raise CheckpointError(
                f"{self.origin} holds {several} of weights that {weights!r} names; it holds "
                f"{', '.join(titles)}"
            )
        if len(covers) > 1:
            self.chosen = found[0].title
            self.notes.append(f"of {', '.join(titles)}, {found[0].title} was taken, as asked")
        return found[0]

    def _distinct(self, covers: Sequence[Cover]) -> list[Cover]:
        """Covers with different numbers; of those with equal ones, that with the shortest name."""
        kept: list[Cover] = []
        for cover in sorted(covers, key=lambda cover: cover.prefix.count(".")):
            own = cover.chosen(self.flat)
            if not any(same_weights(own, other.chosen(self.flat)) for other in kept):
                kept.append(cover)
        return kept

    def _fits(self, cover: Cover) -> bool:
        """Whether all shapes are the network's, numbers of classes and input channels apart."""
        state = cover.chosen(self.flat)
        widths, channels, wrong = self._differences(state)
        return not wrong and len(widths) <= 1 and len(channels) <= 1

    def _differences(self, state: Mapping[str, Tensor]) -> tuple[set[int], set[int], list[str]]:
        """Numbers of classes and of input channels that differ, and other differences of shape."""
        widths, channels, wrong = set(), set(), []
        for key in state:
            found, wanted = state[key].shape, self.expected[key].shape
            if found == wanted:
                continue
            if found and wanted and wanted[0] == self.classes and found[1:] == wanted[1:]:
                widths.add(found[0])
            elif key == self.stem and found[2:] == wanted[2:] and found[:1] == wanted[:1]:
                channels.add(found[1])
            else:
                wrong.append(key)
        return widths, channels, wrong

    def _follow(self, state: Mapping[str, Tensor]) -> None:
        """Take the numbers of classes and of input channels from the weights."""
        widths, channels, wrong = self._differences(state)
        if self.num_classes is not None and len(widths) == 1:
            if wrong:
                return
            (found,) = widths
            key = next(k for k in self.expected if k in state and self._widened(k, state[k]))
            raise CheckpointError(
                f"{self.origin} has {found} classes ({key} {size(state[key])}), the model "
                f"{self.classes}: pass num_classes={found}, or none"
            )
        if len(widths) > 1 or not (widths or channels):
            return
        if widths:
            self.classes = widths.pop()
        if channels and not wrong:
            self.arguments["in_channels"] = found = channels.pop()
            self.notes.append(f"the weights take images of {found} channels")
        self.expected = self._blueprint()

    def _widened(self, key: str, value: Tensor) -> bool:
        return key != self.stem and value.shape != self.expected[key].shape

    def _compare(self, state: Mapping[str, Tensor], cover: Cover, wrong: Sequence[str]) -> None:
        """Refuse weights whose names, shapes or kinds of numbers are not the model's."""
        missing = cover.missing
        if not cover.names:
            missing = tuple(_needed(self.expected))
            wrong = list(self.flat)
        misfit = compared(state, self.expected, missing, wrong)
        if not misfit:
            return
        used = set(cover.names.values())
        left = {name: value for name, value in self.flat.items() if name not in used}
        told = misfit.told(state, self.expected, left)
        advice = ""
        if missing and self.hint:
            advice = self.hint
        elif missing and in_order(self.sets, self.expected, self._other_shapes()) is not None:
            advice = (
                "; number, order and shapes of its tensors agree with the model's in one way: "
                "--match order takes them so"
            )
        elif (misfit.shapes or misfit.count >= _OF_ANOTHER) and (
            other := fitting(self.entry, self.flat)
        ):
            advice = f"; it fits {other}: name that as the model"
        raise refused(self.origin, self.entry, told, advice)

    def _other_shapes(self) -> dict[str, frozenset[tuple[int, ...]]]:
        """Shapes that the classifier may have for other numbers of classes."""
        widths = {v.shape[0] for v in self.flat.values() if v.ndim}
        return {
            name: frozenset((width, *value.shape[1:]) for width in widths)
            for name, value in self.expected.items()
            if value.ndim and value.shape[0] == self.classes and self.num_classes is None
        }

    def _in_order(self) -> dict[str, Tensor]:
        found = in_order(self.sets, self.expected, self._other_shapes())
        if found is None:
            raise CheckpointError(
                f"{self.origin} cannot be matched with {self.entry.name} by order: expected one "
                "set of tensors, not sorted by name, whose number, order and shapes are the model's"
            )
        place, state = found
        self._follow(state)
        misfit = compared(state, self.expected)
        if misfit:
            raise refused(self.origin, self.entry, misfit.told(state, self.expected, {}))
        self.notes.append(
            f"the tensors{f' of {place}' if place else ''} were matched by their order, as asked"
        )
        return state

    def _tell_split(self, cover: Cover) -> None:
        if cover.elsewhere:
            pairs = [f"{name} from {cover.names[name]}" for name in cover.elsewhere]
            self.notes.append(f"taken from under another name: {some(pairs)}")

    def _model(self, state: Mapping[str, Tensor], beside: Sequence[str]) -> nn.Module:
        """The network with its weights, and with the normaliser that the file wraps around it."""
        model = untrained(self.name, self.classes, self.arguments)
        own = model.state_dict()
        model.load_state_dict(
            {
                key: _converted(state[key], value) if key in state else value
                for key, value in own.items()
            }
        )
        channels = self.arguments.get("in_channels", self.entry.input_size[0])
        found = inner_normalizer({name: self.flat[name] for name in beside}, channels, self.origin)
        if found is not None:
            beside = [name for name in beside if name not in found.names]
            self.notes.append(f"the network normalises its images itself, by {found.text}")
            model = Normalized(model, found.mean, found.std)
        if beside:
            self.notes.append(f"left over in the file: {some(beside)}")
        return model


def _converted(value: Tensor, wanted: Tensor) -> Tensor:
    if value.is_floating_point() and not wanted.is_floating_point():
        value = value.double().nan_to_num(0.0, 0.0, 0.0).round()
    return value.to(wanted.dtype)


def _needed(expected: Mapping[str, Tensor]) -> list[str]:
    return [name for name in expected if not name.endswith("num_batches_tracked")]


def _stem(expected: Mapping[str, Tensor], channels: int) -> str | None:
    """The weight that sees the images: the first one of a convolution with their channels."""
    first = next(((key, value) for key, value in expected.items() if value.ndim == 4), None)
    return first[0] if first is not None and first[1].shape[1] == channels else None


def _without_lost_heads(
    entry: Architecture, state: Mapping[str, Tensor], arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Arguments for weights saved without the auxiliary heads, which only training reads."""
    own = entry.name.removeprefix("torchvision:")
    has_heads = entry.library == "torchvision" and own in _WITH_AUXILIARY
    if not has_heads or any(_AUXILIARY.search(key) for key in state):
        return arguments
    return {"aux_logits": False, **arguments}
