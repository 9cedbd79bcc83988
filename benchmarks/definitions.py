"""How many residual blocks networks have by their definition, counted on their modules.

Each class of modules below adds its input to what it makes of it so many times, as its code says;
a network whose residual additions all stand in such modules has as many blocks as these have, those
within the branch of another one included. Where the code leaves open whether a sum is a shortcut
(branches that are merged for inference, cells of searched architectures), the network is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

__all__ = ["blocks_by_definition"]

Count = int | Callable[[nn.Module], int]


def _with_skip(module: nn.Module) -> int:
    """Where a module goes around only if the shape stays the same, or if it was told to."""
    for name in ("has_skip", "use_res_connect", "residual", "use_shortcut"):
        if hasattr(module, name):
            return int(bool(getattr(module, name)))
    for name in ("shortcut", "skip"):
        if hasattr(module, name):
            return int(getattr(module, name) is not None)
    raise AttributeError(f"{type(module).__name__} does not say whether it has a shortcut")


def _unless(name: str) -> Callable[[nn.Module], int]:
    return lambda module: int(not getattr(module, name))


def _with_attention(name: str, count: int = 2) -> Callable[[nn.Module], int]:
    """A sum less where a module has no attention, or no other mixing of positions."""
    return lambda module: count - (getattr(module, name) is None)


_TORCHVISION: dict[str, dict[str, Count]] = {
    "resnet": {"BasicBlock": 1, "Bottleneck": 1},
    "regnet": {"ResBottleneckBlock": 1},
    "vision_transformer": {"EncoderBlock": 2},
    "swin_transformer": {"SwinTransformerBlock": 2, "SwinTransformerBlockV2": 2},
    "convnext": {"CNBlock": 1},
    "mobilenetv2": {"InvertedResidual": _with_skip},
    "mobilenetv3": {"InvertedResidual": _with_skip},
    "efficientnet": {"MBConv": _with_skip, "FusedMBConv": _with_skip},
    "mnasnet": {"_InvertedResidual": lambda module: int(module.apply_residual)},
    "maxvit": {"MBConv": 1, "PartitionAttentionLayer": 2},
}  # fmt: skip

_MOBILE: dict[str, Count] = {
    "ConvBnAct": _with_skip, "DepthwiseSeparableConv": _with_skip, "InvertedResidual": _with_skip,
    "UniversalInvertedResidual": _with_skip, "MobileAttention": _with_skip,
    "CondConvResidual": _with_skip, "EdgeResidual": _with_skip,
}  # fmt: skip
_TIMM: dict[str, dict[str, Count]] = {
    "beit": {"Block": 2},
    "byobnet": {
        "BasicBlock": _with_skip, "BottleneckBlock": _with_skip, "DarkBlock": _with_skip,
        "EdgeBlock": _with_skip, "SelfAttnBlock": _with_skip, "Block": 2,
        "LinearTransformerBlock": 2,
    },
    "cait": {"LayerScaleBlock": 2, "LayerScaleBlockClassAttn": 2},
    "coat": {"SerialBlock": 3, "ParallelBlock": 9},
    "convit": {"Block": 2},
    "convmixer": {"Residual": 1},
    "convnext": {"ConvNeXtBlock": 1, "GlobalResponseNorm": 1},
    "cpubone": {"ResidualBlock": _with_skip},
    "crossvit": {"Block": 2, "CrossAttentionBlock": 1},
    "csatv2": {
        "Block": 1, "SpatialTransformerBlock": 2, "TransformerBlock": 2, "PosConv": 1,
        "GlobalResponseNorm": 1,
    },
    "cspnet": {"BottleneckBlock": 1, "DarkBlock": 1, "EdgeBlock": 1},
    "cspnext": {"CspNextBlock": lambda module: int(module.add_identity)},
    "davit": {"SpatialBlock": 4, "ChannelBlock": 4},
    "deepseek_vit": {"DeepseekVitBlock": 2},
    "deit": {"Block": 2},
    "dla": {"DlaBasic": 1, "DlaBottleneck": 1},
    "dpn": {"DualPathBlock": 1},
    "edgenext": {
        "ConvBlock": 1,
        "SplitTransposeBlock": lambda module: 1 + len(module.convs),  # each group adds the last
    },
    "efficientformer": {"MetaBlock1d": 2, "MetaBlock2d": 2},
    "efficientformer_v2": {
        "EfficientFormerV2Block": _with_attention("token_mixer"),
        "Downsample": lambda module: int(module.attn is not None),
    },
    "efficientnet": _MOBILE,
    "efficientvim": {"PatchMerging": 2, "EfficientViMBlock": 4},
    "efficientvit_mit": {"ResidualBlock": _with_skip},
    "efficientvit_msra": {"ResidualDrop": 1},
    "eva": {"EvaBlock": 2},
    "fasternet": {"MLPBlock": 1},
    "focalnet": {"FocalNetBlock": 2},
    "gcvit": {"GlobalContextVitBlock": 2, "MbConvBlock": 1},
    "gemma4_vit": {"Gemma4Block": 2},
    "ghostnet": {"GhostBottleneck": 1},
    "hgnet": {"HighPerfGpuBlock": _with_skip},
    "hiera": {"HieraBlock": 2},
    "hieradet_sam2": {"MultiScaleBlock": 2},
    "hrnet": {"BasicBlock": 1, "Bottleneck": 1},
    "iformer": {"Residual": 1},
    "inception_next": {"MetaNeXtBlock": 1},
    "inception_resnet_v2": {"Block35": 1, "Block17": 1, "Block8": 1},
    "lcnetv2": {"RepDepthwiseSeparable": _with_skip},
    "levit": {"LevitBlock": 2, "LevitDownsample": 1},
    "lowformer": {"ResidualBlock": _with_skip},
    "mambaout": {"GatedConvBlock": 1},
    "maxxvit": {
        "MbConvBlock": 1, "ConvNeXtBlock": 1, "TransformerBlock2d": 2, "PartitionAttentionCl": 2,
        "ParallelPartitionAttention": 2, "PartitionAttention2d": 2,
    },
    "metaformer": {"MetaFormerBlock": 2},
    "mlp_mixer": {"MixerBlock": 2, "ResBlock": 2, "SpatialGatingBlock": 1},
    "mobilenetv3": _MOBILE,
    "mobilenetv5": _MOBILE,
    "mvitv2": {
        "MultiScaleBlock": 2,
        "MultiScaleAttention": lambda module: int(module.residual_pooling),
    },
    "naflexvit": {"Block": 2},
    "nest": {"TransformerLayer": 2},
    "nextvit": {"NextConvBlock": 2, "NextTransformerBlock": 3},
    "nfnet": {"NormFreeBlock": 1},
    "pit": {"Block": 2},
    "pvt_v2": {"Block": 2},
    "qwen3_vit": {"EvaBlock": 2},
    "regnet": {"Bottleneck": 1, "PreBottleneck": 1},
    "repvit": {"RepVggDw": 1, "RepViTBlock": 1, "RepVitDownsample": 1},
    "resnet": {
        "BasicBlock": 1, "Bottleneck": 1, "Bottle2neck": 1, "ResNestBottleneck": 1,
        "SelectiveKernelBasic": 1, "SelectiveKernelBottleneck": 1,
    },
    "resnetv2": {"PreActBasic": 1, "PreActBottleneck": 1, "Bottleneck": 1},
    "rexnet": {"LinearBottleneck": _with_skip},
    "senet": {
        "SEBottleneck": 1, "SEResNetBottleneck": 1, "SEResNeXtBottleneck": 1, "SEResNetBlock": 1,
    },
    "sequencer": {"Sequencer2dBlock": 2},
    "shvit": {"Residual": 1},
    "starnet": {"Block": 1},
    "swiftformer": {"ConvEncoder": 1, "LocalRepresentation": 1, "Block": 2},
    "swin_transformer": {"SwinTransformerBlock": 2},
    "swin_transformer_v2": {"SwinTransformerV2Block": 2},
    "swin_transformer_v2_cr": {"SwinTransformerV2CrBlock": 2},
    "tiny_vit": {"MBConv": 1, "TinyVitBlock": 2},
    "tnt": {"Block": 4},
    "tresnet": {"BasicBlock": 1, "Bottleneck": 1},
    "twins": {"Block": 2, "PosConv": lambda module: int(module.stride == 1)},
    "visformer": {"Block": _with_attention("attn")},
    "vision_transformer": {"Block": 2, "MbConvLNBlock": 1},
    "vision_transformer_relpos": {"RelPosBlock": 2, "ResPostRelPosBlock": 2},
    "vision_transformer_sam": {"Block": 2},
    "volo": {"Outlooker": 2, "Transformer": 2, "ClassBlock": 2},
    "xception": {"Block": 1},
    "xception_aligned": dict.fromkeys(("XceptionModule", "PreXceptionModule"), _unless("no_skip")),
    "xcit": {"XCABlock": 3, "ClassAttentionBlock": 2},
}  # fmt: skip

_PYTORCHCV: dict[str, Count] = dict.fromkeys(
    (
        "AirUnit", "AirNeXtUnit", "BagNetUnit", "CbamResUnit", "DarkUnit", "DIAPreResUnit",
        "DIAResUnit", "DLAResBlock", "DPNUnit", "FishBlock", "GhostUnit", "IBNbResUnit",
        "IBNResUnit", "IBNResNeXtUnit", "InceptionAUnit", "InceptionBUnit", "InceptionCUnit",
        "MultiResidual", "PolyResidual", "PreResUnit", "PyrUnit", "RegNetUnit", "ResUnit",
        "ResNeStAUnit", "ResNeXtUnit", "ScUnit", "SENetUnit", "SEPreResUnit", "SEResUnit",
        "SEResNeXtUnit", "ShaResUnit", "SKNetUnit", "SqnxtUnit", "WRNUnit", "XceptionUnit",
    ),
    1,
) | dict.fromkeys(
    (
        "DRNUnit", "FBNetUnit", "InvResUnit", "DwsExpSEResUnit", "LinearBottleneck",
        "MobileNetV3Unit", "ProxylessUnit",
    ),
    _with_skip,
) | dict.fromkeys(("MEUnit", "ShuffleUnit"), _unless("downsample"))  # fmt: skip
_OPEN = ("channelnet", "darts", "espnetv2", "nasnet", "resattnet", "revnet")
"""Modules of pytorchcv with sums in other places too: searched cells, outputs, hourglasses."""


def blocks_by_definition(model: nn.Module, stated: int | None = None) -> int | None:
    """How many residual blocks a network has by its definition; None where it is not known.

    Args:
        model: The network.
        stated: The number where it was written down for the network itself.
    """
    rules = _rules(type(model).__module__)
    if stated is not None or rules is None:
        return stated
    count = 0
    for module in model.modules():
        found = rules.get(type(module).__name__, 0)
        count += found(module) if callable(found) else found
    return count or None


def _rules(home: str) -> Mapping[str, Count] | None:
    library, _, module = home.partition(".models.")
    if library == "pytorchcv":
        return None if module in _OPEN else _PYTORCHCV
    return {"torchvision": _TORCHVISION, "timm": _TIMM}.get(library, {}).get(module)
