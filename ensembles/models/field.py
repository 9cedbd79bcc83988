"""Published residual architectures that torchvision and timm have: papers, and what those measured.

Where the library's network is not the paper's, the row says so. Errors are on ImageNet's validation
images, one crop, unless it says otherwise; those of ResNets are of the weights that the authors
published (KaimingHe/deep-residual-networks), the paper itself has ten crops.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ALIASES", "LIBRARY_ROWS", "TIMM_ERRORS", "LibraryRow"]

_TOP1, _TOP5 = "ImageNet top-1", "ImageNet top-5"
_RESNET = "He et al. 2015, arXiv 1512.03385"
_INCEPTION_V4 = "Szegedy et al. 2016, arXiv 1602.07261"
_VGG = "Simonyan and Zisserman 2014, arXiv 1409.1556"


@dataclass(frozen=True)
class LibraryRow:
    """What is known of an architecture beyond its library.

    Attributes:
        family: As in :class:`~ensembles.models.Architecture`.
        paper: The publication, and where the library's network differs from it.
        published_error: Error in % there, or None.
        published_on: What it was measured on.
    """

    family: str
    paper: str
    published_error: float | None = None
    published_on: str = _TOP1


LIBRARY_ROWS: dict[str, LibraryRow] = {
    "alexnet": LibraryRow(
        "alexnet",
        "Krizhevsky 2014, arXiv 1404.5997 (one tower; Krizhevsky et al. 2012 has two, and "
        "60,965,224 parameters)",
    ),
    "vgg16": LibraryRow("vgg", _VGG),
    "vgg19": LibraryRow("vgg", _VGG),
    "googlenet": LibraryRow(
        "inception",
        "Szegedy et al. 2014, arXiv 1409.4842 (with BatchNorm, 3x3 convolutions in place of 5x5)",
        6.67,
        f"{_TOP5}, 7 networks",
    ),
    "inception_v3": LibraryRow("inception", "Szegedy et al. 2015, arXiv 1512.00567", 21.2),
    "inception_v4": LibraryRow(
        "inception", f"{_INCEPTION_V4} (19 blocks: 3 of the stem, 14, and 2 reductions)", 20.0
    ),
    "inception_resnet_v2": LibraryRow("inception", _INCEPTION_V4, 19.9),
    "legacy_xception": LibraryRow("inception", "Chollet 2016, arXiv 1610.02357", 21.0),
    "resnet18": LibraryRow("resnet", _RESNET),
    "resnet34": LibraryRow("resnet", _RESNET),
    "resnet50": LibraryRow("resnet", _RESNET, 24.7),
    "resnet101": LibraryRow("resnet", _RESNET, 23.6),
    "resnet152": LibraryRow("resnet", _RESNET, 23.0),
    "resnet200": LibraryRow("resnet", "He et al. 2016, arXiv 1603.05027 (post-activation)"),
    "wide_resnet50_2": LibraryRow("wide", "Zagoruyko and Komodakis 2016, arXiv 1605.07146"),
    "resnext50_32x4d": LibraryRow("resnext", "Xie et al. 2017, arXiv 1611.05431"),
    "densenet121": LibraryRow("dense", "Huang et al. 2017, arXiv 1608.06993"),
}
"""By the name that leads to the library's network."""

TIMM_ERRORS = {
    "inception_v3.tv_in1k": 22.566,
    "inception_v3.tf_in1k": 22.138,
    "inception_v3.tf_adv_in1k": 22.408,
    "inception_v3.gluon_in1k": 21.194,
    "inception_v4.tf_in1k": 19.844,
    "inception_resnet_v2.tf_in1k": 19.538,
    "inception_resnet_v2.tf_ens_adv_in1k": 20.022,
    "legacy_xception.tf_in1k": 20.960,
}
"""Top-1 error on ImageNet in % of timm's weights of these architectures.

timm's package states none; these are of ``results/results-imagenet.csv`` in its repository.
"""

ALIASES = {
    "inception_v1": "googlenet",
    "inception_v2": "bn_inception",
    "xception": "legacy_xception",
}
"""Other names of the same networks."""
