"""Checkpoints that others published, by name, with where to fetch them."""

from __future__ import annotations

from ensembles.cards import Card, Measured

__all__ = ["PUBLIC"]

_AKAMASTER = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/"
_CHENYAOFO = "https://github.com/chenyaofo/pytorch-cifar-models/releases/download/"
_CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

# Depth: sha256 or its published beginning, images of the 10,000 that the publisher counts as right.
_AKAMASTER_FILES = {
    20: ("12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8", 9173),
    32: ("d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850", 9263),
    44: ("014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4", 9310),
    56: ("4bfd9763", 9339),
    110: ("1d1ed7c2", 9368),
    1202: ("f3b1deed", 9382),
}

# Data set and network: published beginning of the sha256, images of the 10,000 counted as right.
_CHENYAOFO_FILES = {
    ("cifar10", "resnet20"): ("4118986f", 9260),
    ("cifar10", "resnet32"): ("ef93fc4d", 9353),
    ("cifar10", "resnet44"): ("2a3cabcb", 9401),
    ("cifar10", "resnet56"): ("187c023a", 9437),
    ("cifar10", "vgg11_bn"): ("eaeebf42", 9279),
    ("cifar10", "vgg13_bn"): ("c01e4a43", 9400),
    ("cifar10", "vgg16_bn"): ("6ee7ea24", 9416),
    ("cifar10", "vgg19_bn"): ("57191229", 9391),
    ("cifar100", "resnet20"): ("23dac2f1", 6883),
    ("cifar100", "resnet32"): ("84213ce6", 7016),
    ("cifar100", "resnet44"): ("ffe32858", 7163),
    ("cifar100", "resnet56"): ("f2eff4c8", 7263),
    ("cifar100", "vgg11_bn"): ("57d0759e", 7078),
    ("cifar100", "vgg13_bn"): ("5ebe5778", 7463),
    ("cifar100", "vgg16_bn"): ("7d8c4031", 7400),
    ("cifar100", "vgg19_bn"): ("b98f7bd7", 7387),
}
_CHENYAOFO_PIXELS = {
    "cifar10": "0.4914,0.4822,0.4465/0.2023,0.1994,0.201",
    "cifar100": "0.507,0.4865,0.4409/0.2673,0.2564,0.2761",
}


def _akamaster() -> list[Card]:
    cards = []
    for depth, (sha256, correct) in _AKAMASTER_FILES.items():
        file = f"resnet{depth}-{sha256[:8]}.th"
        cards.append(
            Card(
                name=f"resnet{depth}-cifar10-akamaster",
                architecture=f"resnet{depth}",
                num_classes=10,
                dataset="cifar10",
                split="train",
                normalization="imagenet",
                classes=_CIFAR10,
                measured=(Measured("cifar10", "test", correct, 10_000, by="publisher"),),
                sha256=sha256,
                file=file,
                source=_AKAMASTER + file,
                licence="BSD-2-Clause",
            )
        )
    return cards


def _chenyaofo() -> list[Card]:
    cards = []
    for (dataset, network), (sha256, correct) in _CHENYAOFO_FILES.items():
        family = "resnet" if network.startswith("resnet") else "vgg"
        architecture = f"{network}_b" if family == "resnet" else f"cifar_{network}"
        file = f"{dataset}_{network}-{sha256}.pt"
        cards.append(
            Card(
                name=f"{architecture}-{dataset}-chenyaofo",
                architecture=architecture,
                num_classes=10 if dataset == "cifar10" else 100,
                dataset=dataset,
                split="train",
                normalization=_CHENYAOFO_PIXELS[dataset],
                classes=_CIFAR10 if dataset == "cifar10" else (),
                measured=(Measured(dataset, "test", correct, 10_000, by="publisher"),),
                sha256=sha256,
                file=file,
                source=f"{_CHENYAOFO}{family}/{file}",
                licence="BSD-3-Clause",
            )
        )
    return cards


PUBLIC: dict[str, Card] = {card.name: card for card in (*_akamaster(), *_chenyaofo())}
