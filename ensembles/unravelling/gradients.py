"""The three measures of gradient by path length, for a batch of images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ensembles.decomposition import Decomposition, walk
from ensembles.unravelling.length_rows import LengthRows, log2_norm
from ensembles.unravelling.linearization import Linearized
from ensembles.unravelling.parameters import ParameterGradients
from ensembles.unravelling.path_draws import path_norms
from ensembles.unravelling.places import Place
from ensembles.unravelling.spectra import Signs, backward, head_cotangent
from ensembles.unravelling.sum_checks import check_gradient, reference_gradients

__all__ = ["Coherent", "GradientSource", "coherent", "sampled", "signed"]


@dataclass(frozen=True)
class GradientSource:
    """A network at a batch of images, with the derivative of each image's loss at its logits.

    Attributes:
        net: The network.
        linear: Its first-order maps at the images.
        cotangent: The derivative of the cross-entropy, near 1, (N, classes).
        exponent: Its power of two for each image, (N,).
    """

    net: Decomposition
    linear: Linearized
    cotangent: Tensor
    exponent: Tensor

    @classmethod
    def of(cls, net: Decomposition, linear: Linearized, labels: Tensor) -> GradientSource:
        """The source for the cross-entropy of each single image at its label."""
        cotangent, exponent = head_cotangent(linear.logits, labels)
        return cls(net, linear, cotangent, exponent)


class Coherent(NamedTuple):
    """Sums of the gradients of all paths of each length, at some places.

    Attributes:
        norms: Base-2 logarithms of their norms, (lengths, N), for each place.
        cancellation: The sum over lengths of the norms over the norm of their sum, (N,), for each
            place at which an image has a gradient of its own.
        error: The greatest relative error of the sum over lengths.
    """

    norms: dict[Place, Tensor]
    cancellation: dict[Place, Tensor]
    error: float


def coherent(source: GradientSource, places: Collection[Place]) -> Coherent:
    """The norm of the sum of the gradients of all paths of each length.

    The sum over lengths is compared with autograd's gradient at every place.

    Raises:
        PathError: If the lengths do not add up to autograd's gradient.
    """
    images = source.linear.images
    expected = reference_gradients(source.net, images, source.cotangent, places)
    found, cancelling, worst = {}, {}, 0.0
    with torch.no_grad():
        for place, data, exponent in _arrivals(source, places, None):
            norms = log2_norm(data, exponent)
            worst = max(worst, check_gradient(data, exponent, norms, expected[place], place))
            found[place] = norms + source.exponent
            if not place.is_learned:
                whole = torch.linalg.vector_norm(expected[place].flatten(1).double(), dim=1)
                cancelling[place] = torch.exp2(norms).sum(0) / whole
    return Coherent(found, cancelling, worst)


def signed(source: GradientSource, places: Collection[Place], signs: Signs) -> dict[Place, Tensor]:
    """Norms with a random sign for every branch: their mean square is that of single paths, summed.

    Args:
        source: The network at N images.
        places: Where.
        signs: Of every branch, draw and image.

    Returns:
        Base-2 logarithms of the norms, (lengths, draws, N), for each place.
    """
    found = {}
    with torch.no_grad():
        for place, data, exponent in _arrivals(source, places, signs):
            found[place] = torch.unflatten(log2_norm(data, exponent), 1, signs.values.shape[1:])
            found[place] += source.exponent
    return found


def sampled(source: GradientSource, place: Place, taken: Tensor) -> Tensor:
    """Norms of the gradients of single paths; see `path_draws.path_norms`."""
    with torch.no_grad():
        learned = _parameter_maps(source, [place]).get(place.block)
        return path_norms(
            source.linear, source.cotangent, source.exponent, taken, place, learned=learned
        )


def _arrivals(
    source: GradientSource, places: Collection[Place], signs: Signs | None
) -> Iterable[tuple[Place, Tensor, Tensor]]:
    """The places as the recursion reaches them: the place, rows, and powers of two.

    The power of two of the loss's derivative is left out.
    """
    last = min(place.block for place in places)
    learned = _parameter_maps(source, places)
    numbers = _choice_numbers(source.linear)
    for place, state in backward(source.linear, source.cotangent, signs):
        wanted = Place("parameters", place.block) if place.is_output else place
        if wanted in places:
            if wanted.is_learned:
                block = source.linear.blocks[place.block - 1]
                number = numbers.get(place.block)
                sign = None if signs is None or number is None else signs.at(number)[0]
                data, exponent = learned[place.block](state, block, sign)
                yield wanted, data, exponent
            else:
                yield wanted, *_used(state)
        if last and place == Place("block", last):
            return


def _used(state: LengthRows) -> tuple[Tensor, Tensor]:
    return state.data[: state.count], state.exponent[: state.count]


def _choice_numbers(linear: Linearized) -> Mapping[int, int]:
    choosing = [block.index for block in linear.blocks if block.branch is not None]
    return {index: number for number, index in enumerate(choosing)}


def _parameter_maps(
    source: GradientSource, places: Collection[Place]
) -> dict[int, ParameterGradients]:
    wanted = {place.block for place in places if place.is_learned}
    found: dict[int, ParameterGradients] = {}
    if not wanted:
        return found
    for block, x, _ in walk(source.net, source.linear.images):
        if block.index in wanted:
            found[block.index] = ParameterGradients(block, x)
    return found
