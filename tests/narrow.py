"""Networks of torchvision and timm with the channels of every layer divided by one number."""

from __future__ import annotations

import torch
from torch import nn

import ensembles


def narrow(name: str, factor: int, num_classes: int = 5, **arguments: object) -> nn.Module:
    """Build a network of a library with fewer channels everywhere, but for images and classes.

    Args:
        name: As for `ensembles.create_model`; its forward must not name numbers of channels.
        factor: What every number of channels is divided by; without a remainder.
        num_classes: Width of the classifier.
        **arguments: Passed on to the architecture.
    """
    with torch.device("meta"):
        model = ensembles.create_model(name, num_classes, **arguments)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                shrink(module, factor)
            elif isinstance(module, nn.BatchNorm2d):
                module.__init__(divided(module.num_features, factor), module.eps)
            elif isinstance(module, nn.Linear):
                out = module.out_features
                out = out if out == num_classes else divided(out, factor)
                module.__init__(divided(module.in_features, factor), out)
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            module.reset_parameters()
    return model


def shrink(conv: nn.Conv2d, factor: int) -> None:
    """Give a convolution fewer channels; images keep theirs, groups their number if they can."""
    entering = conv.in_channels if conv.in_channels == 3 else divided(conv.in_channels, factor)
    leaving = divided(conv.out_channels, factor)
    groups = entering if conv.groups == conv.in_channels > 1 else conv.groups
    conv.__init__(
        entering, leaving, conv.kernel_size, conv.stride, conv.padding, conv.dilation, groups,
        conv.bias is not None,
    )  # fmt: skip


def divided(channels: int, factor: int) -> int:
    """Fewer channels."""
    fewer, left = divmod(channels, factor)
    assert not left, f"{channels} channels are no multiple of {factor}"
    return fewer
