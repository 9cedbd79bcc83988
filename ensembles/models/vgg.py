"""VGG networks for CIFAR: the lesion paper's 15 layers, and the usual ones with BatchNorm.

``vgg15`` (Veit et al. 2016, arXiv 1605.06431, section 4.1) has 13 convolutions of 128 channels and
two linear layers, with 128 units between them, so that nearly every layer keeps the width.

``cifar_vgg16_bn`` and its kin are configurations A, B, D and E of Simonyan and Zisserman 2014
(arXiv 1409.1556, table 1) with BatchNorm, as in chenyaofo/pytorch-cifar-models, whose error is the
one that is listed. Deviation: hidden linear layers of 512 units instead of 4096. The 16 weight
layers are 13 convolutions and three linear layers, 15,253,578 parameters; a classifier of one
linear layer would make them 14, and 14,728,266 parameters. Repositories that keep 4096 units on
32x32 images call their network ``vgg16_bn`` too, and have 33,646,666. Here ``vgg16_bn`` is
torchvision's.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from .parts import Architecture, he_initialize

__all__ = ["FAMILY", "CifarVGG"]

_LAYOUTS: dict[str, tuple[int | str, ...]] = {
    "cifar_vgg11_bn": (64, "M", 128, "M", *(256,) * 2, "M", *(512,) * 2, "M", *(512,) * 2, "M"),
    "cifar_vgg13_bn": (
        *(*(64,) * 2, "M", *(128,) * 2, "M", *(256,) * 2, "M"),
        *(*(512,) * 2, "M", *(512,) * 2, "M"),
    ),
    "cifar_vgg16_bn": (
        *(*(64,) * 2, "M", *(128,) * 2, "M", *(256,) * 3, "M"),
        *(*(512,) * 3, "M", *(512,) * 3, "M"),
    ),
    "cifar_vgg19_bn": (
        *(*(64,) * 2, "M", *(128,) * 2, "M", *(256,) * 4, "M"),
        *(*(512,) * 4, "M", *(512,) * 4, "M"),
    ),
    "vgg15": (
        *(*(128,) * 2, "M", *(128,) * 2, "M", *(128,) * 3, "M"),
        *(*(128,) * 3, "M", *(128,) * 3, "M"),
    ),
}


class CifarVGG(nn.Module):
    """3x3 convolutions with BatchNorm and ReLU, max pooling between, and linear layers.

    Module names are those of the public checkpoints of chenyaofo/pytorch-cifar-models.

    Args:
        layout: Output channels of each convolution in turn; ``"M"`` is a 2x2 max pooling.
        hidden: Widths of the linear layers before the classifier, each with a ReLU.
        dropout: Probability of dropping a hidden unit while training; 0 leaves the layer out.
        conv_bias: Whether convolutions have biases beside their BatchNorm.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        layout: tuple[int | str, ...],
        *,
        hidden: tuple[int, ...] = (),
        dropout: float = 0.0,
        conv_bias: bool = False,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for entry in layout:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers.append(nn.Conv2d(channels, entry, 3, padding=1, bias=conv_bias))
            layers += [nn.BatchNorm2d(entry), nn.ReLU()]
            channels = entry
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        linear: list[nn.Module] = []
        for narrow, wide in pairwise((channels, *hidden)):
            linear += [nn.Linear(narrow, wide), nn.ReLU()]
            if dropout:
                linear.append(nn.Dropout(dropout))
        linear.append(nn.Linear((channels, *hidden)[-1], num_classes))
        self.classifier = nn.Sequential(*linear)
        he_initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, 32, 32) to logits (N, num_classes)."""
        out: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return out


_PUBLISHED: dict[str, float | None] = {
    "cifar_vgg11_bn": None,
    "cifar_vgg13_bn": None,
    "cifar_vgg16_bn": 5.8,
    "cifar_vgg19_bn": None,
}


def _cifar_vgg(name: str) -> Architecture:
    build = partial(CifarVGG, layout=_LAYOUTS[name], hidden=(512, 512), dropout=0.5, conv_bias=True)
    source = "Simonyan and Zisserman 2014, arXiv 1409.1556; chenyaofo/pytorch-cifar-models"
    return Architecture(
        name=name,
        library="ensembles",
        build=build,
        input_size=(3, 32, 32),
        num_classes=10,
        paper=source,
        published_error=_PUBLISHED[name],
        family="vgg",
    )


FAMILY: tuple[Architecture, ...] = (
    Architecture(
        name="vgg15",
        library="ensembles",
        build=partial(CifarVGG, layout=_LAYOUTS["vgg15"], hidden=(128,)),
        input_size=(3, 32, 32),
        num_classes=10,
        paper="Veit et al. 2016, arXiv 1605.06431, section 4.1 (about 92 % accurate on CIFAR-10)",
        family="vgg",
    ),
    *(_cifar_vgg(name) for name in _PUBLISHED),
)
