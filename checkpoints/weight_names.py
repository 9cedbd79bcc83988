"""Names of weights: what wrappers put into them, and how other repositories call the same parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

__all__ = ["AVERAGED", "HARMLESS", "bare", "is_averaged", "is_beside", "prefixes_of", "renamed"]

T = TypeVar("T")

# What DataParallel, torch.compile, FSDP, checkpointing of activations, Opacus and DeepSpeed add.
_WRAPPER = re.compile(
    r"(?:^|(?<=\.))(?:module|_module|_orig_mod|_fsdp_wrapped_module|_fpw_module|"
    r"_checkpoint_wrapped_module|_forward_module|_ddp_module|_wrapped_module)\."
)

AVERAGED = re.compile(
    r"(?:^|[._])(?:(?:model|net)?ema(?:model|net|s)?|averag\w*|swa|avg|shadow\w*|teacher\w*|"
    r"momentum\w*|encoder_k|key_encoder|target\w*|polyak\w*)(?=[._\d]|$)",
    re.IGNORECASE,
)
"""What in a place says that its weights are an average over training."""

HARMLESS = re.compile(
    r"(?:^|\.)(?:total_ops|total_params|__flops__|__params__|n_averaged|num_batches_tracked|"
    r"relative_position_index|relative_coords_table|attn_mask|_float_tensor|_dummy\w*)$"
)
"""Counters and constants that take no part in what a network computes."""

_BESIDE = re.compile(
    r"(?:^|[._])(?:\w*criter\w*|\w*loss\w*|\w*metric\w*|\w*acc|\w*accuracy|\w*auroc|confmat|"
    r"\w*_acc\w*|queue\w*|memory\w*|bank|center|\w*optim\w*|\w*sched\w*|aux\w*|\w*projector|"
    r"\w*projection\w*|predictor|normalizer|normalize|normalization|attacker|discriminator|"
    r"log_vars?|sigma\w*|logit_scale|class_weights?|prototypes?|"
    r"\w*mixup\w*|\w*hook\w*|fim|fisher\w*|grad\w*|mask\w*)(?=[._]|$)",
    re.IGNORECASE,
)

Rule = tuple[re.Pattern[str], "str | Callable[[re.Match[str]], str]"]


def _rule(pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Rule:
    return re.compile(rf"(?:^|(?<=\.)){pattern}"), replacement


def _higher(*groups: int) -> Callable[[re.Match[str]], str]:
    """A name with numbers that count from one, of one whose numbers count from nought."""

    def write(match: re.Match[str]) -> str:
        stage, rest = int(match[1]) + groups[0], match[2]
        return f"layer{stage}.{rest}."

    return write


def _residual_function(match: re.Match[str]) -> str:
    """A branch of weiaicunzai is a sequence: convolution, BatchNorm, ReLU, and again."""
    number, rest = divmod(int(match[1]), 3)
    return f"{('conv', 'bn', 'relu')[rest]}{number + 1}."


def _layer(match: re.Match[str]) -> str:
    """Hugging Face numbers the convolutions of a branch."""
    return f"{'conv' if match[2] == 'convolution' else 'bn'}{int(match[1]) + 1}."


_HEAD = r"(?=weight$|bias$)"
_NAMINGS: tuple[tuple[Rule, ...], ...] = (
    (_rule(rf"fc\.{_HEAD}", "linear."),),
    (_rule(rf"linear\.{_HEAD}", "fc."),),
    (_rule(r"downsample\.(?=\d)", "shortcut."),),
    (_rule(r"shortcut\.(?=\d)", "downsample."),),
    (  # weiaicunzai/pytorch-cifar100
        _rule(r"conv1\.0\.", "conv1."),
        _rule(r"conv1\.1\.", "bn1."),
        _rule(r"conv(\d)_x\.(\d+)\.", _higher(-1)),
        _rule(r"residual_function\.(\d)\.", _residual_function),
    ),
    (  # ResNetForImageClassification of Hugging Face
        _rule(r"resnet\.embedder\.embedder\.convolution\.", "conv1."),
        _rule(r"resnet\.embedder\.embedder\.normalization\.", "bn1."),
        _rule(r"resnet\.encoder\.stages\.(\d)\.layers\.(\d+)\.", _higher(1)),
        _rule(r"layer\.(\d)\.(convolution|normalization)\.", _layer),
        _rule(r"shortcut\.convolution\.", "downsample.0."),
        _rule(r"shortcut\.normalization\.", "downsample.1."),
        _rule(r"classifier\.1\.", "fc."),
    ),
    (_rule(rf"(?:classifier|head|last_linear|classif|cls_head\.fc)\.{_HEAD}", "fc."),),
    (_rule(rf"(?:classifier|head|last_linear|fc)\.{_HEAD}", "linear."),),
    (_rule(rf"(?:fc|linear|classifier|last_linear)\.{_HEAD}", "head."),),
    (_rule(rf"(?:fc|linear|head|last_linear)\.{_HEAD}", "classifier."),),
)


def bare(name: str) -> str:
    """A name without what wrappers put into it.

    >>> bare("module.layer1.0._checkpoint_wrapped_module.conv1.weight")
    'layer1.0.conv1.weight'
    """
    return _WRAPPER.sub("", name)


def is_averaged(prefix: str) -> bool:
    """Whether what stands before the names of weights says that they are an average.

    >>> is_averaged("state_dict_ema"), is_averaged("ema.module"), is_averaged("state_dict")
    (True, True, False)
    """
    return AVERAGED.search(prefix) is not None


def is_beside(name: str) -> bool:
    """Whether a name is of what lies beside a network: losses, metrics, averages and the like."""
    return any(pattern.search(name) for pattern in (HARMLESS, AVERAGED, _BESIDE))


def prefixes_of(names: Iterable[str], wanted: Collection[str]) -> dict[str, dict[str, str]]:
    """Where wanted names are found as the ends of names.

    Args:
        names: Whole names.
        wanted: What they may end in.

    Returns:
        For each prefix (``""``, ``"model"``, ``"state_dict.backbone"``), the whole name under which
        each wanted one is found there.
    """
    found: dict[str, dict[str, str]] = {}
    for name in names:
        if name in wanted:
            found.setdefault("", {})[name] = name
        place = name.find(".")
        while place >= 0:
            end = name[place + 1 :]
            if end in wanted:
                found.setdefault(name[:place], {})[end] = name
            place = name.find(".", place + 1)
    return found


def renamed(values: Mapping[str, T], wanted: Collection[str]) -> dict[str, T]:
    """Values under the names that a network has for them, where another repository's names differ.

    Each way of naming is taken that makes more of the wanted names appear under one prefix.

    Args:
        values: Anything, by name.
        wanted: The network's names.
    """
    result, wanted = dict(values), frozenset(wanted)
    best = _most(result, wanted)
    for rules in _NAMINGS * 2:
        if best == len(wanted):
            break
        other: dict[str, T] = {}
        for name, value in result.items():
            changed = name
            for pattern, replacement in rules:
                changed = pattern.sub(replacement, changed)
            other[changed] = value
        count = _most(other, wanted) if len(other) == len(result) else 0
        if count > best:
            result, best = other, count
    return result


def _most(names: Iterable[str], wanted: Collection[str]) -> int:
    return max((len(found) for found in prefixes_of(names, wanted).values()), default=0)
