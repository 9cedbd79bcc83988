"""Covers: the ways in which some of a file's tensors are all the weights of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .weight_names import HARMLESS, is_averaged, is_beside, prefixes_of

__all__ = ["Cover", "covers_of", "same_weights"]

_HEADS = ("fc", "linear", "classifier", "head", "last_linear", "output", "logits", "cls")
_ASIDE = ("hyper_parameters", "hparams", "args", "config", "cfg", "init", "initial", "rewind")


@dataclass(frozen=True)
class Cover:
    """Whole names of the tensors that are a network's weights.

    Attributes:
        prefix: What stands before most of the names; empty where nothing does.
        names: The whole name of each of the network's tensors that was found.
        missing: The network's tensors that were not found.
        elsewhere: Those that were found under another prefix, as a classifier of its own is.
    """

    prefix: str
    names: Mapping[str, str]
    missing: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    @property
    def averaged(self) -> bool:
        """Whether the prefix says that these are averages over training."""
        return is_averaged(self.prefix)

    @property
    def title(self) -> str:
        """What a message and ``--weights`` call it."""
        return self.prefix or "the file's own names"

    @property
    def is_aside(self) -> bool:
        """Whether these lie among settings, or are the weights before training."""
        return any(part in _ASIDE for part in self.prefix.split("."))

    def chosen(self, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors under the network's names."""
        return {name: flat[whole] for name, whole in self.names.items()}

    def left_over(self, flat: Iterable[str], network: Iterable[str]) -> tuple[list[str], list[str]]:
        """What the file holds beyond the network: what does not go with it, and what lies beside.

        Counters, losses, averages and what lies under other prefixes are beside. What has the
        network's own prefix and stands within its modules, or is unknown, belongs to a larger
        network of the same kind.

        Args:
            flat: All names in the file.
            network: The network's own names.
        """
        used, modules = set(self.names.values()), {name.partition(".")[0] for name in network}
        split = bool(self.elsewhere)
        around = self.prefix.rpartition(".")[0] if split else self.prefix
        wrong: list[str] = []
        beside: list[str] = []
        for name in flat:
            if name in used:
                continue
            inside = not around or name.startswith(f"{around}.")
            rest = name.removeprefix(f"{self.prefix}.") if self.prefix else name
            rest_of_around = name.removeprefix(f"{around}.") if around else name
            if HARMLESS.search(name) or not inside:
                beside.append(name)
            elif name.startswith(f"{self.prefix}.") or not self.prefix:
                own = rest.partition(".")[0] in modules
                (wrong if own or not is_beside(rest) else beside).append(name)
            else:
                (beside if is_beside(rest_of_around) else wrong).append(name)
        return wrong, beside


def covers_of(flat: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[Cover]:
    """Find the covers of a network in a file, the fullest first.

    Args:
        flat: All tensors of the file by their whole names, wrappers taken out.
        expected: The network's tensors.

    Returns:
        Every whole cover; where there is none, the fullest part of one, if any.
    """
    needed = [name for name in expected if not name.endswith("num_batches_tracked")]
    found = prefixes_of(flat, expected)
    covers = []
    for prefix, names in found.items():
        held = sum(name in names for name in needed)
        if held < len(needed) and 2 * held < len(needed):
            continue
        covers.append(_completed(Cover(prefix, names), needed, found, flat, expected))
    whole = [cover for cover in covers if not cover.missing]
    if whole:
        return whole
    part = max(covers, key=lambda cover: len(cover.names), default=None)
    if part is None and found:
        prefix = max(found, key=lambda prefix: len(found[prefix]))
        missing = tuple(name for name in needed if name not in found[prefix])
        part = Cover(prefix, found[prefix], missing)
    return [] if part is None else [part]


def _completed(
    cover: Cover,
    needed: list[str],
    found: Mapping[str, Mapping[str, str]],
    flat: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
) -> Cover:
    """A cover with what it misses taken from one other prefix, where exactly one place has it."""
    missing = [name for name in needed if name not in cover.names]
    if not missing:
        return cover
    names = dict(cover.names)
    taken = _from_other_prefix(cover, missing, found) or _other_head(cover, missing, flat, expected)
    names.update(taken)
    left = tuple(name for name in missing if name not in taken)
    return Cover(cover.prefix, names, left, tuple(taken))


def _from_other_prefix(
    cover: Cover, missing: list[str], found: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    used = set(cover.names.values())
    options = [
        {name: names[name] for name in missing}
        for prefix, names in found.items()
        if all(name in names and names[name] not in used for name in missing)
        and is_averaged(prefix) == cover.averaged
        and _shares_root(prefix, cover.prefix)
    ]
    return options[0] if len(options) == 1 else {}


def _other_head(
    cover: Cover, missing: list[str], flat: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, str]:
    """A classifier of another, usual name: the one module that has just these tensors."""
    modules = {name.rpartition(".")[0] for name in missing}
    if len(modules) != 1:
        return {}
    parts = {name.rpartition(".")[2]: name for name in missing}
    options = []
    for module in dict.fromkeys(name.rpartition(".")[0] for name in flat):
        names = module.split(".")
        if not any(part in _HEADS for part in names) or not _shares_root(module, cover.prefix):
            continue
        if is_averaged(module) != cover.averaged or not all(f"{module}.{p}" in flat for p in parts):
            continue
        held = {own: f"{module}.{part}" for part, own in parts.items()}
        alike = all(flat[w].shape[1:] == expected[n].shape[1:] for n, w in held.items())
        if alike and not set(held.values()) & set(cover.names.values()):
            options.append(held)
    return options[0] if len(options) == 1 else {}


def _shares_root(one: str, other: str) -> bool:
    """Whether two prefixes may be of one network: nothing but a last part apart."""
    return one.rpartition(".")[0].startswith(other.rpartition(".")[0]) or not other


def same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two covers hold equal numbers, so that it is all one which is taken."""
    return one.keys() == other.keys() and all(
        value.shape == other[name].shape and torch.equal(value, other[name])
        for name, value in one.items()
    )
