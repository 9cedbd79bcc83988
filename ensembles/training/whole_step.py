"""A step of training as one function of tensors: forward, backward and update, to be replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from ensembles.cuda_graphs import Recorder, Replayed
from ensembles.models.parts import residual_blocks
from ensembles.numerics import fastest_convolutions
from ensembles.training.left_out import LeftOut, branch_tensors
from ensembles.training.stochastic_depth import drop_branches

__all__ = ["WholeStep"]

_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


class WholeStep:
    """One step of gradient descent on a batch.

    It computes what a step of automatic optimisation does. In bf16 the weights of all convolutions
    and linear layers are rounded at once, instead of one by one by automatic mixed precision.
    Dropped blocks are masks: every branch is computed, and where it is dropped the sum, the
    weights, the states of the optimiser and the running statistics stay as they were.

    Args:
        model: The network, in training mode, where it stays.
        optimizer: SGD or AdamW. Its learning rates are read before every step.
        loss: Takes a function that answers as the network does, and the tensors of a batch; gives
            the loss.
        recorder: What records the step.
        bf16: Whether forward and backward are in bf16.
        drops: Whether blocks are dropped.
        example: A small input of the network; which tensors are the branches' is found with it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[..., Tensor],
        recorder: Recorder,
        *,
        bf16: bool,
        drops: bool,
        example: Tensor,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.loss = loss
        self.bf16 = bf16
        self.device = example.device
        self.blocks = residual_blocks(model)
        self.rates = [
            torch.tensor(float(group["lr"]), device=self.device) for group in optimizer.param_groups
        ]
        _begin_states(optimizer)
        self.rounded = _Rounded(model) if bf16 else None
        self.left_out = None
        if drops:
            self.left_out = LeftOut(
                [
                    [*tensors, *_states(optimizer, tensors)]
                    for tensors in branch_tensors(model, self.blocks, example)
                ]
            )
        self.replayed = Replayed(self._step, recorder)

    @property
    def refused(self) -> str | None:
        """Why the step could not be recorded; None where it could."""
        return self.replayed.refused

    def __call__(self, *batch: Tensor, kept: Tensor | None = None, variant: object = None) -> None:
        """Take a step.

        Args:
            batch: Tensors on the device, as ``loss`` takes them.
            kept: bool (blocks,): which branches are in.
            variant: What else decides what is done to the batch.
        """
        for rate, group in zip(self.rates, self.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        masks = () if kept is None else (kept,)
        self.replayed(*masks, *batch, variant=variant)

    def _step(self, *arguments: Tensor) -> None:
        with fastest_convolutions():
            self._descend(*arguments)

    def _descend(self, *arguments: Tensor) -> None:
        kept = None
        if self.left_out is not None:
            kept, *rest = arguments
            arguments = tuple(rest)
            drop_branches(self.blocks, kept.unbind())
        before = self.left_out.copied() if self.left_out is not None else None
        self.optimizer.zero_grad()
        with self._precision():
            loss = self.loss(self._network(), *arguments)
        with torch.autocast(self.device.type, enabled=False):
            torch.autograd.backward(loss)
            if self.rounded is not None:
                self.rounded.hand_over()
            _lay_out_gradients(self.optimizer)
            with _rates_in_tensors(self.optimizer, self.rates):
                self.optimizer.step()
        if self.left_out is not None and before is not None and kept is not None:
            self.left_out.put_back(before, kept)

    def _network(self) -> Callable[..., Tensor]:
        if self.rounded is None:
            return self.model
        rounded = self.rounded.weights()

        def network(*inputs: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(self.model, rounded, inputs)
            return out

        return network

    def _precision(self) -> AbstractContextManager[object]:
        if not self.bf16:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)


class _Rounded:
    """The weights of convolutions and linear layers in bf16, and their gradients' way back."""

    def __init__(self, model: nn.Module) -> None:
        held = [
            (module, parameter)
            for module in model.modules()
            for parameter in module.parameters(recurse=False)
        ]
        others = {id(one) for module, one in held if not isinstance(module, _WEIGHTED)}
        chosen = {
            name: one
            for name, one in model.named_parameters()
            if one.dtype == torch.float32 and id(one) not in others
        }
        self.names = list(chosen)
        self.parameters: list[Tensor] = list(chosen.values())
        self.halves = [
            torch.empty_like(one, dtype=torch.bfloat16).requires_grad_() for one in self.parameters
        ]

    def weights(self) -> dict[str, Tensor]:
        """The rounded weights by name, as they are now."""
        for half in self.halves:
            half.grad = None
        with torch.no_grad():
            torch._foreach_copy_(self.halves, self.parameters)
        return dict(zip(self.names, self.halves, strict=True))

    def hand_over(self) -> None:
        """Give the parameters the gradients of their rounded values."""
        pairs = [
            (one, half.grad)
            for one, half in zip(self.parameters, self.halves, strict=True)
            if half.grad is not None
        ]
        gradients = [torch.empty_like(one) for one, _ in pairs]
        torch._foreach_copy_(gradients, [gradient for _, gradient in pairs])
        for (one, _), gradient in zip(pairs, gradients, strict=True):
            one.grad = gradient


def _begin_states(optimizer: torch.optim.Optimizer) -> None:
    """Make the states that the first step would make, as zeros, and bring step counts along."""
    momentum = isinstance(optimizer, torch.optim.SGD)
    for group in optimizer.param_groups:
        for one in group["params"]:
            state = optimizer.state[one]
            if momentum:
                if group["momentum"] and state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(one)
                continue
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"] = torch.zeros_like(one)
                state["exp_avg_sq"] = torch.zeros_like(one)
            state["step"] = state["step"].to(one.device)
        for one in group["params"]:
            state = optimizer.state[one]
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == one.shape:
                    state[key] = _laid_out(value, one)


def _lay_out_gradients(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for one in group["params"]:
            if one.grad is not None:
                one.grad = _laid_out(one.grad, one)


@torch.no_grad()
def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor with the strides of another, which fused updates ask for."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like).copy_(tensor)


def _states(optimizer: torch.optim.Optimizer, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The optimiser's states of some parameters."""
    return [
        value
        for tensor in tensors
        if tensor in optimizer.state
        for value in optimizer.state[tensor].values()
        if isinstance(value, Tensor)
    ]


@contextmanager
def _rates_in_tensors(optimizer: torch.optim.Optimizer, rates: Sequence[Tensor]) -> Iterator[None]:
    """Let the optimiser read its rates from tensors, and never wait for the device."""
    before = [dict(group) for group in optimizer.param_groups]
    try:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
            if rate.device.type == "cuda":
                group["fused"], group["foreach"] = True, False
                if "capturable" in group:
                    group["capturable"] = True
        yield
    finally:
        for group, old in zip(optimizer.param_groups, before, strict=True):
            group.update(old)
