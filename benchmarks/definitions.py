"""How many residual blocks networks have by their definition, counted on their modules.

Each class of modules below adds its input to what it makes of it so many times, as its code says;
a network whose residual additions all stand in such modules has as many blocks as these have.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

__all__ = ["blocks_by_definition"]

_Count = int | Callable[[nn.Module], int]


def _with_skip(module: nn.Module) -> int:
    """Inverted residuals go around where the shape stays the same."""
    for name in ("has_skip", "use_res_connect", "residual"):
        if hasattr(module, name):
            return int(bool(getattr(module, name)))
    raise AttributeError(f"{type(module).__name__} does not say whether it has a shortcut")


_SUMS: dict[str, dict[str, _Count]] = {
    "torchvision.models.resnet": {"BasicBlock": 1, "Bottleneck": 1},
    "torchvision.models.regnet": {"ResBottleneckBlock": 1},
    "torchvision.models.vision_transformer": {"EncoderBlock": 2},
    "torchvision.models.swin_transformer": {
        "SwinTransformerBlock": 2, "SwinTransformerBlockV2": 2,
    },
    "torchvision.models.convnext": {"CNBlock": 1},
    "torchvision.models.mobilenetv2": {"InvertedResidual": _with_skip},
    "torchvision.models.mobilenetv3": {"InvertedResidual": _with_skip},
    "torchvision.models.efficientnet": {"MBConv": _with_skip, "FusedMBConv": _with_skip},
    "timm.models.beit": {"Block": 2},
    "timm.models.cait": {"LayerScaleBlock": 2, "LayerScaleBlockClassAttn": 2},
    "timm.models.convit": {"Block": 2},
    "timm.models.convnext": {"ConvNeXtBlock": 1},
    "timm.models.davit": {"SpatialBlock": 4, "ChannelBlock": 4},
    "timm.models.deit": {"Block": 2},
    "timm.models.vision_transformer": {"Block": 2, "MbConvLNBlock": 1},
    "timm.models.dla": {"DlaBasic": 1, "DlaBottleneck": 1},
    "timm.models.dpn": {"DualPathBlock": 1},
    "timm.models.eva": {"EvaBlock": 2},
    "timm.models.focalnet": {"FocalNetBlock": 2},
    "timm.models.gcvit": {"GlobalContextVitBlock": 2, "MbConvBlock": 1},
    "timm.models.hiera": {"HieraBlock": 2},
    "timm.models.inception_next": {"MetaNeXtBlock": 1},
    "timm.models.inception_resnet_v2": {"Block35": 1, "Block17": 1, "Block8": 1},
    "timm.models.mambaout": {"GatedConvBlock": 1},
    "timm.models.metaformer": {"MetaFormerBlock": 2},
    "timm.models.mlp_mixer": {"MixerBlock": 2, "ResBlock": 2, "SpatialGatingBlock": 1},
    "timm.models.nest": {"TransformerLayer": 2},
    "timm.models.pvt_v2": {"Block": 2},
    "timm.models.regnet": {"Bottleneck": 1, "PreBottleneck": 1},
    "timm.models.res2net": {"Bottle2neck": 1},
    "timm.models.resnest": {"ResNestBottleneck": 1},
    "timm.models.resnet": {"BasicBlock": 1, "Bottleneck": 1},
    "timm.models.resnetv2": {
        "PreActBasic": 1, "PreActBottleneck": 1, "Bottleneck": 1,
    },
    "timm.models.senet": {
        "SEBottleneck": 1, "SEResNetBottleneck": 1, "SEResNeXtBottleneck": 1, "SEResNetBlock": 1,
    },
    "timm.models.sequencer": {"Sequencer2DBlock": 2},
    "timm.models.sknet": {"SelectiveKernelBasic": 1, "SelectiveKernelBottleneck": 1},
    "timm.models.swin_transformer": {"SwinTransformerBlock": 2},
    "timm.models.swin_transformer_v2": {"SwinTransformerV2Block": 2},
    "timm.models.swin_transformer_v2_cr": {"SwinTransformerV2CrBlock": 2},
    "timm.models.tresnet": {"BasicBlock": 1, "Bottleneck": 1},
    "timm.models.twins": {"Block": 2, "PosConv": lambda module: int(module.stride == 1)},
    "timm.models.vision_transformer_relpos": {"RelPosBlock": 2, "ResPostRelPosBlock": 2},
    "timm.models.vision_transformer_sam": {"Block": 2},
    "timm.models.volo": {"Outlooker": 2, "Transformer": 2, "ClassBlock": 2},
    "timm.models.xcit": {"XCABlock": 3, "ClassAttentionBlock": 2},
}  # fmt: skip


def blocks_by_definition(model: nn.Module, stated: int | None = None) -> int | None:
    """How many residual blocks a network has by its definition; None where it is not known.

    Args:
        model: The network.
        stated: The number where it was written down for the network itself.
    """
    rules = _SUMS.get(type(model).__module__)
    if stated is not None or rules is None:
        return stated
    count = 0
    for module in model.modules():
        found = rules.get(type(module).__name__, 0)
        count += found(module) if callable(found) else found
    return count or None
