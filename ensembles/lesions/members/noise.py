"""Blocks whose branch gets noise added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ensembles.errors import LesionError
from ensembles.lesions.base import Words, setting
from ensembles.lesions.block_set import Variation
from ensembles.lesions.steps import Recipe
from ensembles.lesions.tokens import SEED, STRENGTH, Mark, finite, seed_number

if TYPE_CHECKING:
    from ensembles.decomposition import Block
    from ensembles.engine.materials import Materials

__all__ = ["Noise"]


@dataclass(frozen=True)
class Noise(Variation):
    """Add Gaussian noise to what the branch adds, as large as the strength times its RMS.

    The RMS is over the elements of each observation's own branch value; the noise is drawn for each
    observation from the seed, the block and the observation's number in the data, so that batch
    size, device and machine do not matter.

    Attributes:
        strength: Standard deviation of the noise over the RMS of the value; above 0.
        seed: Seed of the noise.

    >>> Noise((4,), 0.1, seed=3).text
    '4 s0.1 seed3'
    """

    strength: float = setting("Size of the noise over the RMS of the branch.", 0.1)
    seed: int = setting("Seed of the noise.", 0)

    kind: ClassVar[str] = "noise"
    summary: ClassVar[str] = "noise is added to what the branch adds"
    words: ClassVar[Words] = Words(
        "Block with noise", "Number of blocks with noise", "disturbed by noise"
    )
    example: ClassVar[str] = "blocks, a strength and a seed such as 4 s0.1 seed3"
    forms: ClassVar[Sequence[Mark]] = (Mark("strength", STRENGTH, float), SEED)
    needs_shortcut: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        strength = finite("noise: strength", self.strength)
        if strength <= 0:
            raise LesionError(f"noise: strength {strength!r}: expected a number above 0")
        object.__setattr__(self, "strength", strength)
        object.__setattr__(self, "seed", seed_number(self.kind, self.seed))

    @property
    def marks(self) -> tuple[str, ...]:
        """Strength and seed."""
        return f"s{self.strength!r}", f"seed{self.seed}"

    def recipe(self, block: int) -> Recipe:
        """Add the noise."""
        return _Noisy(self.strength, self.seed)


@dataclass(frozen=True)
class _Noisy(Recipe):
    strength: float
    seed: int

    @property
    def text(self) -> str:
        return f"noise s{self.strength!r} seed{self.seed}"

    def variant(self, block: Block, materials: Materials) -> Block:
        from ensembles.lesions.branches import with_noise  # noqa: PLC0415 (torch)

        return with_noise(block, self.strength, self.seed)


MEMBER = Noise
