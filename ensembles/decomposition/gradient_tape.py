"""A forward pass that autograd follows: its logits, and their gradient at the inputs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ensembles.decomposition.inputs import called
from ensembles.numerics import differentiable

__all__ = ["GradientTape", "gradient_of"]


class GradientTape(NamedTuple):
    """What a network made of inputs; its gradient can be taken once.

    Attributes:
        probe: The inputs, as autograd knows them.
        logits: What the network made of them.
    """

    probe: Tensor
    logits: Tensor

    @classmethod
    def of(cls, model: nn.Module, inputs: Tensor) -> GradientTape | None:
        """Run a network; None where it does not run with gradients."""
        with torch.enable_grad(), differentiable():
            probe = inputs.detach().clone().requires_grad_()
            try:
                out = called(model, probe * 1)  # a model may overwrite what it is given
            except Exception:  # the user's code runs here
                return None
        return cls(probe, out) if isinstance(out, Tensor) else None

    def gradient(self, cotangent: Tensor, *, whole: bool = False) -> Tensor | None:
        """The gradient at the inputs, zeros where autograd finds none; None where it fails.

        Args:
            cotangent: What the logits are weighted with.
            whole: Whether a whole backward pass is made, as reentrant checkpoints take.
        """
        if not self.logits.requires_grad:
            return torch.zeros_like(self.probe)
        if self.logits.shape != cotangent.shape:
            return None
        with torch.enable_grad(), differentiable():
            total = (self.logits * cotangent).sum()  # for a cotangent itself autograd loads sympy
            try:
                if whole:
                    torch.autograd.backward(total)
                    found = self.probe.grad
                    return torch.zeros_like(self.probe) if found is None else found.detach()
                (found,) = torch.autograd.grad(total, self.probe, materialize_grads=True)
            except RuntimeError:  # such as values that autograd needs and the model overwrites
                return None
        return found.detach()


def gradient_of(
    model: nn.Module, inputs: Tensor, cotangent: Tensor, *, whole: bool = False
) -> Tensor | None:
    """The gradient of logits at inputs, zeros where autograd finds none; None where it fails."""
    tape = GradientTape.of(model, inputs)
    return None if tape is None else tape.gradient(cotangent, whole=whole)
