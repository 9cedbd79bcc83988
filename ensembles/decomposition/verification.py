"""A decomposition is accepted only when it computes what the model computes."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from ensembles.errors import DecompositionError, ModelError

__all__ = ["check_finite", "verify"]

_TOLERANCE = 1e-4


def check_finite(model: nn.Module) -> None:
    """Refuse a model with weights or statistics that are not finite.

    Raises:
        ModelError: Naming the first such tensor.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise ModelError(
                f"{name} holds {bad} values that are not finite (of {tensor.numel()}); "
                "expected finite weights, load another checkpoint"
            )


def verify(model: nn.Module, net: nn.Module, images: Tensor) -> None:
    """Compare a decomposition with its model on real images.

    The greatest difference must stay under 1e-4 of the scale of the output, and the decisions must
    be the same.

    Args:
        model: A private copy of the model, in evaluation mode.
        net: Its decomposition, with the functional graph as `traced`.
        images: A batch of images.

    Raises:
        DecompositionError: Where they differ; the message names the first module that does.
        ModelError: If the model's own logits are not finite.
    """
    expected = model(images.clone())
    if not torch.isfinite(expected).all():
        raise ModelError(
            f"the intact network gives logits that are not finite for {_rows(expected)} of "
            f"{len(expected)} images; check the weights and the normalisation of the images"
        )
    found = net(images.clone())
    if _equal(expected, found):
        return
    place = _parting(model, net, images)
    raise DecompositionError(
        f"the parts do not compute what the model computes: {place}; the greatest difference of "
        f"the logits is {float((expected - found).abs().max()):.2g}, their scale "
        f"{float(expected.abs().max()):.2g}; name the blocks by hand"
    )


def _rows(logits: Tensor) -> int:
    return int((~torch.isfinite(logits)).flatten(1).any(1).sum())


def _equal(expected: Tensor, found: Tensor) -> bool:
    if expected.shape != found.shape:
        return False
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    gap = (expected - found).abs().max()
    margin = expected.gather(-1, found.argmax(-1, keepdim=True)).squeeze(-1)
    ties = expected.amax(-1) - margin  # nought where the decisions agree
    return bool(gap < _TOLERANCE * scale and (ties <= 2 * gap).all())


def _parting(model: nn.Module, net: nn.Module, images: Tensor) -> str:
    """Find the first module whose output in the model differs from that in the graph."""
    original: dict[str, list[Tensor]] = {}

    def keep(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                original.setdefault(name, []).append(output.detach().clone())

        return hook

    handles = [
        module.register_forward_hook(keep(name))  # type: ignore[arg-type]
        for name, module in model.named_modules()
        if name
    ]
    try:
        model(images.clone())
    finally:
        for handle in handles:
            handle.remove()
    traced = net.traced
    assert isinstance(traced, fx.GraphModule)
    walker = _Walker(traced, original)
    walker.run(images.clone())
    return walker.place or "every traced module agrees, their order or connection differs"


class _Walker(fx.Interpreter):
    """Runs the graph and remembers the first module that departs from a record."""

    def __init__(self, traced: fx.GraphModule, original: dict[str, list[Tensor]]) -> None:
        super().__init__(traced)
        self.original, self.place = original, ""

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        calls = self.original.get(str(n.target), []) if n.op == "call_module" else []
        if calls and isinstance(value, Tensor) and not self.place:
            expected = calls.pop(0)
            if expected.shape != value.shape or not torch.allclose(
                expected, value, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
            ):
                self.place = f"they part at the module {n.target}"
        return value
