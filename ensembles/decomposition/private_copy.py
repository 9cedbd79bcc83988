"""A private copy of the user's model: in evaluation mode, its weights plain, its hooks left out."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from ensembles.errors import DecompositionError

__all__ = ["Sealed", "private_copy"]

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def private_copy(model: nn.Module) -> nn.Module:
    """Copy a model in evaluation mode, without the user's hooks and gradients.

    Weights that are computed from others (parametrizations, weight and spectral normalisation,
    pruning) become plain weights with the values that they have in evaluation mode.

    Raises:
        DecompositionError: If the model cannot be copied, or TorchScript hides what it does.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if isinstance(model, torch.jit.ScriptModule):
        raise DecompositionError(
            "the model is compiled by TorchScript, which hides its modules; "
            "pass the model that it was made from"
        )
    try:
        twin = copy.deepcopy(model, _replacements(model))
    except Exception as error:  # user classes may define their own copying
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DecompositionError(
            f"{type(model).__name__} cannot be copied ({reason}); "
            "pass a model whose tensors are all parameters or buffers"
        ) from error
    twin.eval()
    _seal(twin)
    for module in twin.modules():
        if not isinstance(module, torch.jit.ScriptModule):
            _make_weights_plain(module)
    for weight in twin.parameters():
        weight.requires_grad_(False)
    _split_fused_norms(twin)
    return twin


class Sealed(nn.Module):
    """A module that TorchScript has compiled, seen from outside as one layer."""

    def __init__(self, compiled: nn.Module) -> None:
        super().__init__()
        self.compiled = compiled

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        return self.compiled(*args, **kwargs)


def _seal(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, torch.jit.ScriptModule):
            setattr(module, name, Sealed(child).eval())
        else:
            _seal(child)


def _replacements(model: nn.Module) -> dict[int, Any]:
    """What a copy holds instead of hooks, and of tensors that remember how they were made."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for kind in _HOOKS:
            hooks = getattr(module, kind, None)
            if hooks is not None:
                kept = ((k, hook) for k, hook in hooks.items() if _makes_a_weight(hook))
                memo[id(hooks)] = OrderedDict(kept)
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return memo


def _makes_a_weight(hook: object) -> bool:
    return isinstance(hook, (WeightNorm, SpectralNorm, prune.BasePruningMethod))


def _make_weights_plain(module: nn.Module) -> None:
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)  # type: ignore[no-untyped-call]
    if parametrize.is_parametrized(module):
        _drop_parametrizations(module)


def _drop_parametrizations(module: nn.Module) -> None:
    """As torch's own function does, but for the class, which the user's model shares."""
    values = {name: getattr(module, name) for name in module.parametrizations}  # type: ignore[union-attr]
    module.__class__ = type(module).__bases__[0]
    del module._modules["parametrizations"]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value.detach().clone()))


def _split_fused_norms(model: nn.Module) -> None:
    """Write timm's norm-with-activation layers out, so that each norm is a module of its own."""
    for name, child in list(model.named_modules()):
        act, drop = getattr(child, "act", None), getattr(child, "drop", None)
        if type(child) is nn.BatchNorm2d or not isinstance(child, nn.BatchNorm2d):
            continue
        if not isinstance(act, nn.Module) or not name:
            continue
        norm = nn.BatchNorm2d(
            child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
        )
        norm._parameters, norm._buffers = child._parameters, child._buffers
        parts = [norm, *(part for part in (drop, act) if isinstance(part, nn.Module))]
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, nn.Sequential(*parts).eval())
