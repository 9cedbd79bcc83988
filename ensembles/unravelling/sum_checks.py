"""All paths together must be what autograd and the network itself give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.decomposition import Block, Decomposition
from ensembles.decomposition.state import State
from ensembles.decomposition.walk import last_output, states
from ensembles.errors import PathError, RoundingError
from ensembles.unravelling.length_rows import chunks
from ensembles.unravelling.places import Place
from ensembles.unravelling.plain_norms import PlainNorms
from ensembles.unravelling.spectra import Logits

__all__ = ["check_gradient", "check_logits", "reference_gradients", "total"]

_OF_TOTAL = {torch.float32: 1e-3, torch.float64: 1e-9}
_OF_PARTS = {torch.float32: 0.0, torch.float64: 1e-13}
_CANCELLING = 1e5
_MOST_OF_PARTS = 1e-6


def reference_gradients(
    net: Decomposition, images: Tensor, cotangent: Tensor, places: Iterable[Place]
) -> dict[Place, Tensor]:
    """Autograd's gradient at each place, for a given derivative at the logits; gates are held.

    Args:
        net: The network.
        images: (N, *input_shape).
        cotangent: (N, classes).
        places: Where; parameters give one vector, summed over the images.
    """
    wanted = tuple(places)
    learned = {place.block for place in wanted if place.is_learned}
    leaves: dict[Place, list[Tensor]] = {}

    def run(block: Block, x: Any) -> Any:
        if isinstance(x, State):
            return x.with_x(block.bound(x.beside(block.reads)).held(x.x))
        if not x.requires_grad:
            x = x.detach().requires_grad_()
        leaves[Place("block", block.index)] = [x]
        if block.index not in learned:
            return block.held(x)
        parameters = {k: v.detach().requires_grad_() for k, v in block.named_parameters()}
        leaves[Place("parameters", block.index)] = list(parameters.values())
        out: Tensor = torch.func.functional_call(_Held(block), _within(parameters), (x,))
        return out

    with torch.enable_grad(), PlainNorms():
        probe = images.detach().requires_grad_()
        leaves[Place("input")] = [probe]
        logits = net.head(last_output(states(net, probe, run)))
        flat = [leaf for place in wanted for leaf in leaves[place]]
        gradients = iter(torch.autograd.grad(logits, flat, cotangent, materialize_grads=True))
    found = {}
    for place in wanted:
        parts = [next(gradients) for _ in leaves[place]]
        found[place] = torch.cat([g.flatten() for g in parts]) if place.is_learned else parts[0]
    return found


class _Held(nn.Module):
    """A block whose gate has no derivative."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block.held(x)


def _within(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"block.{name}": value for name, value in parameters.items()}


def total(data: Tensor, exponent: Tensor) -> Tensor:
    """The sum over lengths of rows ``data * 2**exponent``, (lengths, images, *shape), float64."""
    summed = torch.zeros(data.shape[1:], dtype=torch.float64, device=data.device)
    for start, stop in chunks(len(data), data[0]):
        factor = torch.exp2(exponent[start:stop])
        spread = factor.view(*factor.shape, *[1] * (data.ndim - 2))
        summed += (data[start:stop].to(torch.float64) * spread).sum(0)
    return summed


def check_gradient(
    data: Tensor, exponent: Tensor, norms: Tensor, expected: Tensor, place: Place
) -> float:
    """Compare the sum over all lengths with autograd's gradient.

    Args:
        data: (lengths, N, *shape).
        exponent: Powers of two less that of the loss, (lengths, N).
        norms: Base-2 logarithms of the norms, less that of the loss, (lengths, N).
        expected: What autograd gives: (N, *shape), or a vector summed over the images.
        place: Where.

    Returns:
        The greatest error of an image, relative to the norm of its gradient.

    Raises:
        PathError: If they differ by more than rounding explains.
    """
    found = total(data, exponent)
    sizes = torch.exp2(norms).sum(0)
    if place.is_learned:
        found, sizes, expected = found.sum(0)[None], sizes.sum()[None], expected[None]
    return _compare(
        found, expected, sizes, data.dtype, ("gradients at " + place.text, "autograd's")
    )


def check_logits(spectrum: Logits, logits: Tensor) -> float:
    """Compare the sum over all lengths with the network's logits; see `check_gradient`."""
    found = spectrum.parts.sum(0) + spectrum.constant
    sizes = torch.exp2(spectrum.log2_norms).sum(0) + spectrum.constant.norm(dim=1)
    return _compare(found, logits, sizes, logits.dtype, ("logits", "the network's"))


def _compare(
    found: Tensor, expected: Tensor, sizes: Tensor, dtype: torch.dtype, names: tuple[str, str]
) -> float:
    what, whose = names
    error = (found - expected.to(torch.float64)).flatten(1).norm(dim=1)
    norm = expected.to(torch.float64).flatten(1).norm(dim=1)
    tiny = torch.finfo(torch.float64).tiny
    allowed = _OF_TOTAL[dtype] * norm + (_OF_PARTS[dtype] * sizes).minimum(_MOST_OF_PARTS * norm)
    if bool((error <= allowed).all()):
        return float((error / norm.clamp_min(tiny)).max())
    worst = int((error / allowed.clamp_min(tiny)).nan_to_num(torch.inf).argmax())
    missed = (
        f"the {what} of all paths do not add up to {whose} (image {worst}: they differ by "
        f"{float(error[worst]):.2g}, norm {float(norm[worst]):.2g})"
    )
    ratio = float(sizes[worst] / norm[worst])
    cancel = f"the norms of the lengths sum to {ratio:.2g} times the norm of their sum"
    if not norm[worst]:
        cancel = f"the norms of the lengths sum to {float(sizes[worst]):.2g}, and their sum is 0"
    if dtype == torch.float64 and not ratio < _CANCELLING:
        raise PathError(
            f"{missed}: lengths cancel, {cancel}, which double precision cannot tell apart; what "
            "a length carries has no meaning for this network"
        )
    if dtype == torch.float64:
        raise PathError(
            f"{missed}, though {cancel}: a part has another derivative alone than in the network"
        )
    raise RoundingError(f"{missed}; {cancel}; compute in fp64")
