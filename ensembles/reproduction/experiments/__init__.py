"""The experiments, one a file; none is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import cast

from ensembles.errors import UsageError, nearest
from ensembles.reproduction.experiment import Experiment

__all__ = ["EXPERIMENTS", "choose", "experiment"]

EXPERIMENTS = {
    "3": "single_deletion:SingleDeletion",
    "4": "imagenet:ImageNet",
    "5a": "random_deletions:RandomDeletions",
    "5b": "random_reorderings:RandomReorderings",
    "6": "path_lengths:PathLengths",
    "effective-paths": "effective_paths_only:EffectivePathsOnly",
    "stochastic-depth": "stochastic_depth:StochasticDepth",
    "depth": "depth:Depth",
    "duplicate": "random_duplications:RandomDuplications",
    "replay": "replay:Replay",
    "identity-mappings": "identity_mappings:IdentityMappings",
    "family": "matched_families:MatchedFamilies",
    "capacity": "label_memory:LabelMemory",
    "criticality": "criticality:Criticality",
    "criticality-trainings": "criticality_trainings:CriticalityTrainings",
}
"""Module and class of each experiment by its key, in the order of the report."""

_ALIASES = {
    "5": ("5a", "5b"), "6a": ("6",), "6b": ("6",), "6c": ("6",), "7": ("stochastic-depth",),
}  # fmt: skip


def experiment(key: str) -> Experiment:
    """The experiment of a key of :data:`EXPERIMENTS`."""
    module, _, name = EXPERIMENTS[key].partition(":")
    return cast("Experiment", getattr(import_module(f"{__name__}.{module}"), name)())


def choose(text: str, paper: str = "veit2016") -> list[Experiment]:
    """Read a list of experiments such as ``"3,5a,5b,6"``.

    Args:
        text: Keys of :data:`EXPERIMENTS`, or numbers of figures; ``all`` for all of a paper but
            those that train networks.
        paper: Whose experiments ``all`` means.

    Raises:
        UsageError: A key is unknown.
    """
    if text.strip() == "all":
        found = map(experiment, EXPERIMENTS)
        return [one for one in found if one.paper == paper and not one.trains]
    keys = _keys(text.replace(",", " ").split())
    if not keys:
        raise UsageError(f"figure {text!r}: names none; expected such as 3,5a,5b,6")
    return [experiment(key) for key in EXPERIMENTS if key in keys]


def _keys(words: Iterable[str]) -> set[str]:
    keys: set[str] = set()
    for word in words:
        found = _ALIASES.get(word, (word,))
        if found[0] not in EXPERIMENTS:
            known = [*EXPERIMENTS, *_ALIASES, "all"]
            raise UsageError(
                f"figure {word!r} is unknown: expected {', '.join(known)}{nearest(word, known)}"
            )
        keys |= set(found)
    return keys
