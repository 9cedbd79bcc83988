"""A private copy of the user's model: in evaluation mode, its weights plain."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from ensembles.decomposition.hidden import adopt, uncopied
from ensembles.errors import DecompositionError

__all__ = [
    "Sealed", "hooks_of", "is_leaf", "is_taken_whole", "private_copy", "take_whole", "uncompiled",
    "without_hooks",
]  # fmt: skip

_HOOKS = (
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)
_SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
_WHOLE = "taken_whole"


def private_copy(model: nn.Module, *, hooks: bool = False) -> nn.Module:
    """Copy a model in evaluation mode, without the user's gradients.

    Weights that are computed from others (parametrizations, weight and spectral normalisation,
    pruning) become plain weights with the values that they have in evaluation mode. What
    `torch.compile` wraps is taken out of its wrapper.

    Args:
        model: The user's model.
        hooks: Whether to keep its hooks.

    Raises:
        DecompositionError: If the model cannot be copied, or TorchScript hides what it does.
    """
    wrapper, model = model, uncompiled(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise DecompositionError(
            "the model is compiled by TorchScript, which hides its modules; "
            "pass the model that it was made from"
        )
    try:
        try:
            twin = copy.deepcopy(model, _replacements(model, {} if hooks else None))
        except Exception:  # a hook, or the model, may hold a file or a lock
            shared = uncopied(model)
            if not hooks and not shared:
                raise
            memo = _replacements(model, _shared_hooks(model) if hooks else None)
            twin = copy.deepcopy(model, memo | shared)
    except Exception as error:  # user classes may define their own copying
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DecompositionError(
            f"{type(model).__name__} cannot be copied ({reason}); "
            "pass a model whose tensors are all parameters or buffers"
        ) from error
    if hooks:
        for name, module in wrapper.named_modules():
            if uncompiled(module) is not module:  # whose hooks torch does not copy
                path = name.removeprefix("_orig_mod.") if wrapper is not model else name
                _hand_over(module, uncompiled(twin.get_submodule(path)))
    twin.eval()
    _unwrap(twin)
    _seal(twin)
    adopt(twin)
    for module in twin.modules():
        if not isinstance(module, torch.jit.ScriptModule):
            _make_weights_plain(module)
            _learned_buffers_as_weights(module)
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


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is taken whole: torch's own layers, but for those made of others."""
    if is_taken_whole(module):
        return True
    own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    if "forward" in vars(module) or any(tensor.is_complex() for tensor in own):
        return False
    if isinstance(module, (nn.MultiheadAttention, Sealed)):
        return True
    torch_s = type(module).__module__.startswith(("torch.nn.", "torch.ao.nn."))
    torch_s = torch_s and not isinstance(module, nn.Sequential)
    return torch_s and not any(True for _ in module.children())


def take_whole(module: nn.Module) -> None:
    """Mark a module of a private copy as one layer, into which no recording looks."""
    setattr(module, _WHOLE, True)


def is_taken_whole(module: nn.Module) -> bool:
    """Whether a module was so marked."""
    return _WHOLE in vars(module)


def uncompiled(model: nn.Module) -> nn.Module:
    """What `torch.compile` wraps; any other module as it is."""
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, nn.Module) else model


def hooks_of(model: nn.Module) -> list[tuple[str, str, Any]]:
    """The user's hooks: the module, the kind of hook, and what is called."""
    kinds = {
        "_forward_pre_hooks": "forward pre-hook",
        "_forward_hooks": "forward hook",
        "_backward_pre_hooks": "backward pre-hook",
        "_backward_hooks": "backward hook",
    }
    return [
        (name, what, hook)
        for name, module in model.named_modules()
        for kind, what in kinds.items()
        for hook in getattr(module, kind, {}).values()
        if not _makes_a_weight(hook)
    ]


def _unwrap(module: nn.Module) -> None:
    """Put modules in the place of what `torch.compile` made of them."""
    for name, child in list(module._modules.items()):
        if child is not None:
            inner = uncompiled(child)
            module._modules[name] = inner
            _unwrap(inner)


def _hand_over(wrapper: nn.Module, inner: nn.Module) -> None:
    """Put the hooks of a wrapper around those of what it wraps."""
    for kind in _HOOKS:
        outside, within = getattr(wrapper, kind, None), getattr(inner, kind, None)
        if outside and within is not None:
            first, last = (outside, within) if "pre_hooks" in kind else (within, outside)
            setattr(inner, kind, OrderedDict([*first.items(), *last.items()]))


def _seal(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, torch.jit.ScriptModule):
            setattr(module, name, Sealed(child).eval())
        else:
            _seal(child)


def _shared_hooks(model: nn.Module) -> dict[int, Any]:
    """All hooks as they are, for a copy to call."""
    return {
        id(hook): hook
        for module in model.modules()
        for kind in _HOOKS
        for hook in getattr(module, kind, {}).values()
    }


def _replacements(model: nn.Module, hooks: dict[int, Any] | None) -> dict[int, Any]:
    """What a copy holds of a model instead of copying it.

    Args:
        model: The model.
        hooks: The hooks that are shared with the model, by id; None to leave out all.
    """
    memo: dict[int, Any] = dict(hooks or {})
    for module in model.modules():
        for kind in _HOOKS if hooks is None else ():
            given = getattr(module, kind, None)
            if given is not None:
                kept = ((k, hook) for k, hook in given.items() if _makes_a_weight(hook))
                memo[id(given)] = OrderedDict(kept)
        own = (*module._parameters.values(), *module._buffers.values())
        for value in (*vars(module).values(), *own):
            if isinstance(value, Tensor) and value.layout in _SPARSE:  # torch copies but some
                memo[id(value)] = nn.Parameter(value.detach().clone(), value.requires_grad)
            elif isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return memo


def without_hooks(module: nn.Module) -> nn.Module:
    """A module that shares all with another one but its hooks; itself where it has none."""
    kinds = [kind for kind in _HOOKS if getattr(module, kind, None)]
    if not kinds:
        return module
    bare = copy.copy(module)
    for kind in kinds:
        setattr(bare, kind, OrderedDict())
    return bare


def _makes_a_weight(hook: object) -> bool:
    return isinstance(hook, (WeightNorm, SpectralNorm, prune.BasePruningMethod))


def _learned_buffers_as_weights(module: nn.Module) -> None:
    """Buffers that require gradients are weights."""
    for name, buffer in list(module._buffers.items()):
        if buffer is not None and buffer.requires_grad:
            del module._buffers[name]
            module._parameters[name] = nn.Parameter(buffer.detach().clone(), requires_grad=False)


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
