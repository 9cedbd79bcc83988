"""What is done to blocks, as frozen values, and how such values are drawn.

A lesion names blocks by their number, from 1 as in the published data, and knows nothing of the
network that it will be applied to; :meth:`Lesion.program` says what runs, in which order, once the
number of blocks is known. Running programs is the engine's work.

Each kind is a class of its own in a file of its own; `KINDS` holds them by name, those of installed
packages too. Everything is imported when it is first used.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensembles.lesions.base import Draw, Lesion, Setting, Words, setting
    from ensembles.lesions.block_set import BlockSet, Variation
    from ensembles.lesions.block_span import BlockSpan
    from ensembles.lesions.choice import Choice
    from ensembles.lesions.kinds import KINDS, parse_lesion
    from ensembles.lesions.members.delete import Delete
    from ensembles.lesions.members.drop import Drop
    from ensembles.lesions.members.duplicate import Duplicate
    from ensembles.lesions.members.mean import MeanBranch
    from ensembles.lesions.members.noise import Noise
    from ensembles.lesions.members.none import Intact
    from ensembles.lesions.members.parallel import Parallel
    from ensembles.lesions.members.randomize import Randomize
    from ensembles.lesions.members.recalibrated import Recalibrated, Recalibration
    from ensembles.lesions.members.reorder import Reorder
    from ensembles.lesions.members.repeat import Repeat
    from ensembles.lesions.members.replace import Replace
    from ensembles.lesions.members.reset import Reset
    from ensembles.lesions.members.reverse import Reverse
    from ensembles.lesions.members.scale import Scale
    from ensembles.lesions.members.shuffle import Shuffle
    from ensembles.lesions.members.then import Then, chain
    from ensembles.lesions.members.transplant import Transplant
    from ensembles.lesions.needs import Initial, Need, Reference, Source
    from ensembles.lesions.plan import read_plan
    from ensembles.lesions.samplers import (
        intact,
        random_deletions,
        random_drops,
        random_duplications,
        random_swaps,
        single_deletions,
        single_drops,
    )
    from ensembles.lesions.steps import (
        Beside,
        Bypass,
        Program,
        Recipe,
        Run,
        Step,
        Variant,
        Without,
        intact_program,
    )
    from ensembles.lesions.structure import Form, Structure, exchangeable
    from ensembles.lesions.tokens import Mark
    from ensembles.lesions.version_1 import lesion_of

_NAMES = {
    "base": "Draw Lesion Setting Words setting",
    "block_set": "BlockSet Variation",
    "block_span": "BlockSpan",
    "choice": "Choice",
    "members.delete": "Delete",
    "members.drop": "Drop",
    "members.duplicate": "Duplicate",
    "kinds": "KINDS parse_lesion",
    "members.mean": "MeanBranch",
    "needs": "Initial Need Reference Source",
    "members.noise": "Noise",
    "members.none": "Intact",
    "members.parallel": "Parallel",
    "plan": "read_plan",
    "members.randomize": "Randomize",
    "members.recalibrated": "Recalibrated Recalibration",
    "members.reorder": "Reorder",
    "members.repeat": "Repeat",
    "members.replace": "Replace",
    "members.reset": "Reset",
    "members.reverse": "Reverse",
    "samplers": "intact random_deletions random_drops random_duplications random_swaps "
    "single_deletions single_drops",
    "members.scale": "Scale",
    "members.shuffle": "Shuffle",
    "steps": "Beside Bypass Program Recipe Run Step Variant Without intact_program",
    "structure": "Form Structure exchangeable",
    "members.then": "Then chain",
    "tokens": "Mark",
    "members.transplant": "Transplant",
    "version_1": "lesion_of",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}
__all__ = [
    "KINDS", "Beside", "BlockSet", "BlockSpan", "Bypass", "Choice", "Delete", "Draw", "Drop",
    "Duplicate", "Form", "Initial", "Intact", "Lesion", "Mark", "MeanBranch", "Need", "Noise",
    "Parallel", "Program", "Randomize", "Recalibrated", "Recalibration", "Recipe", "Reference",
    "Reorder", "Repeat", "Replace", "Reset", "Reverse", "Run", "Scale", "Setting", "Shuffle",
    "Source", "Step", "Structure", "Then", "Transplant", "Variant", "Variation", "Without", "Words",
    "chain", "exchangeable", "intact", "intact_program", "lesion_of", "parse_lesion",
    "random_deletions", "random_drops", "random_duplications", "random_swaps", "read_plan",
    "setting", "single_deletions", "single_drops",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"ensembles.lesions.{_HOMES[name]}"), name)
    else:
        value = _kind(name) if name[:1].isupper() else None
        if value is None:
            raise AttributeError(f"module 'ensembles.lesions' has no attribute '{name}'")
    globals()[name] = value
    return value


def _kind(name: str) -> Any:
    """The class of a built-in kind, by the name of the class; None where none has it."""
    folder = import_module("ensembles.lesions.members")
    for module in pkgutil.iter_modules(folder.__path__):
        member = import_module(f"{folder.__name__}.{module.name}").MEMBER
        if member.__name__ == name:
            return member
    return None


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
