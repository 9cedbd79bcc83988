"""How many blocks networks have by their definition, counted on their modules.

Each class of modules below adds its input to what it makes of it so many times, as its code says;
a network whose residual additions all stand in such modules has as many blocks as these have, those
within the branch of another one included. Of a network without residual blocks the layers are
counted that concatenate their input to what they make of it (DenseNet), without these the modules
of several branches (Inception), else the layers with weights. Where the code leaves open whether a
sum is a shortcut (branches that are merged for inference, cells of searched architectures), the
network is not here.
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


_LAYERS: dict[str, Count] = {"Conv2d": 1, "Linear": 1}
_INCEPTIONS: dict[str, Count] = {f"Inception{kind}": 1 for kind in "ABCDE"}

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
    "densenet": {"_DenseLayer": 1},
    "googlenet": {"Inception": 1},
    "inception": _INCEPTIONS,
    "shufflenetv2": {"InvertedResidual": 1},
    "squeezenet": {"Fire": 1},
    "alexnet": _LAYERS,
    "vgg": _LAYERS,
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
    "densenet": {"DenseLayer": 1},
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
        "LocalGlobalQuery": 1,
    },
    "efficientnet": _MOBILE,
    "efficientvim": {"PatchMerging": 2, "EfficientViMBlock": 4},
    "efficientvit_mit": {"ResidualBlock": _with_skip},
    "efficientvit_msra": {
        "ResidualDrop": 1,
        "CascadedGroupAttention": lambda module: len(module.qkvs) - 1,  # each head adds the last
    },
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
    "inception_v3": _INCEPTIONS,
    "inception_v4": _INCEPTIONS | dict.fromkeys(
        ("Mixed3a", "Mixed4a", "Mixed5a", "ReductionA", "ReductionB"), 1
    ),
    "inception_next": {"MetaNeXtBlock": 1},
    "inception_resnet_v2": {"Block35": 1, "Block17": 1, "Block8": 1},
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
    "rdnet": {"DenseBlock": 1},
    "regnet": {"Bottleneck": 1, "PreBottleneck": 1},
    "repvit": {"RepVggDw": 1, "RepViTBlock": 1, "RepVitDownsample": 1},
    "resnet": {
        "BasicBlock": 1, "Bottleneck": 1, "ResNestBottleneck": 1, "SelectiveKernelBasic": 1,
        "SelectiveKernelBottleneck": 1,
        "Bottle2neck": lambda module: 1 + (0 if module.is_first else len(module.convs) - 1),
    },
    "resnetv2": {"PreActBasic": 1, "PreActBottleneck": 1, "Bottleneck": 1},
    "rexnet": {"LinearBottleneck": _with_skip},
    "senet": {
        "SEBottleneck": 1, "SEResNetBottleneck": 1, "SEResNeXtBottleneck": 1, "SEResNetBlock": 1,
    },
    "sequencer": {"Sequencer2dBlock": 2},
    "shvit": {"Residual": 1},
    "starnet": {"Block": 1},
    "swiftformer": {
        "ConvEncoder": 1, "LocalRepresentation": 1, "Block": 2, "EfficientAdditiveAttention": 1,
    },
    "swin_transformer": {"SwinTransformerBlock": 2},
    "swin_transformer_v2": {"SwinTransformerV2Block": 2},
    "swin_transformer_v2_cr": {"SwinTransformerV2CrBlock": 2},
    "tiny_vit": {"MBConv": 1, "TinyVitBlock": 2},
    "tnt": {"Block": 4},
    "tresnet": {"BasicBlock": 1, "Bottleneck": 1},
    "twins": {"Block": 2, "PosConv": lambda module: int(module.stride == 1)},
    "visformer": {"Block": _with_attention("attn")},
    "vgg": _LAYERS,
    "vision_transformer": {"Block": 2, "MbConvLNBlock": 1},
    "vision_transformer_relpos": {"RelPosBlock": 2, "ResPostRelPosBlock": 2},
    "vision_transformer_sam": {"Block": 2},
    "volo": {"Outlooker": 2, "Transformer": 2, "ClassBlock": 2},
    "vovnet": {"OsaBlock": 1},
    "xception": {"Block": 1},
    "xception_aligned": dict.fromkeys(("XceptionModule", "PreXceptionModule"), _unless("no_skip")),
    "xcit": {"XCABlock": 3, "ClassAttentionBlock": 2},
}  # fmt: skip

_UNITS: dict[str, Count] = dict.fromkeys(
    ("InceptionAUnit", "InceptionBUnit", "InceptionCUnit", "ReductionAUnit", "ReductionBUnit"), 1
)
_PYTORCHCV: dict[str, Count] = dict.fromkeys(
    (
        "AirUnit", "AirNeXtUnit", "BagNetUnit", "CbamResUnit", "DABBlock", "DarkUnit",
        "DIAPreResUnit", "DIAResUnit", "DLAResBlock", "DPNUnit", "FishBlock", "GhostUnit",
        "IBNbResUnit", "IBNResUnit", "IBNResNeXtUnit", "InceptionAUnit", "InceptionBUnit",
        "InceptionCUnit", "MultiResidual", "PolyResidual", "PreResUnit", "PyrUnit", "RegNetUnit",
        "ResUnit", "ResNeStAUnit", "ResNeXtUnit", "ScConv", "ScUnit", "SENetUnit", "SEPreResUnit",
        "SEResUnit", "SEResNeXtUnit", "ShaResUnit", "SKNetUnit", "SqnxtUnit", "WRNUnit",
        "XceptionUnit", "FastSEResUnit", "PreResUnit1bit", "ResAUnit", "ResDropResUnit",
        "RoRResBody", "RoRResStage", "RoRResUnit", "ShakeDropResUnit", "ShakeShakeResUnit",
    ),
    1,
) | dict.fromkeys(
    (
        "DRNUnit", "FBNetUnit", "InvResUnit", "DwsExpSEResUnit", "LinearBottleneck",
        "MobileNetV3Unit", "EffiDwsConvUnit", "EffiInvResUnit", "EffiEdgeResUnit", "MixUnit",
        "SPNASUnit",
    ),
    _with_skip,
) | dict.fromkeys(("MEUnit", "ShuffleUnit"), _unless("downsample")) | {
    "ProxylessUnit": lambda module: int(module.residual and module.shortcut),
}  # fmt: skip
_OF_PYTORCHCV: dict[str, dict[str, Count]] = {
    "alexnet": _LAYERS,
    "bninception": {"InceptionBlock": 1, "ReductionBlock": 1},
    "condensenet": {"CondenseUnit": 1},
    "darknet": _LAYERS,
    "densenet": {"DenseUnit": 1},
    "densenet_cifar": {"DenseUnit": 1, "DenseSimpleUnit": 1},
    "dicenet": {"StridedDiceBlock": 1, "ShuffledDiceBlock": 1},
    "diracnetv2": _LAYERS,
    "espnetv2": {"ESPBlock": _unless("downsample")},
    "fractalnet_cifar": {"FractalUnit": 1},
    "ibndensenet": {"DenseUnit": 1, "IBNDenseUnit": 1},
    "inceptionv3": _UNITS,
    "inceptionv4": _UNITS | dict.fromkeys(("InceptBlock3a", "InceptBlock4a", "InceptBlock5a"), 1),
    "mobilenet": _LAYERS,
    "nin_cifar": _LAYERS,
    "peleenet": {"DenseBlock": 1},
    "resattnet": {"ResBlock": 1},  # one added once more to its input is the same sum
    "revnet": {"RevUnit": lambda module: int(module.resize_identity), "ReversibleBlock": 2},
    "shufflenetv2": {"ShuffleUnit": 1},
    "shufflenetv2b": {"ShuffleUnit": 1},
    "squeezenet": {"FireUnit": 1},
    "vgg": _LAYERS,
    "vovnet": {"VoVUnit": 1},
    "xdensenet": {"DenseUnit": 1, "XDenseUnit": 1},
    "xdensenet_cifar": {"XDenseUnit": 1, "XDenseSimpleUnit": 1},
}
"""Modules whose blocks are not residual, or have the names of others."""
_OPEN = (
    "channelnet", "darts", "hardnet", "msdnet", "msdnet_cifar10", "nasnet", "pnasnet", "rir_cifar",
    "selecsls", "sparsenet",
)  # fmt: skip
"""Modules of pytorchcv with sums in other places too, or with other links than the last layer's."""

_TRANSFORMERS: dict[str, dict[str, Count]] = {
    "efficientnet": {"EfficientNetFinalBlockLayer": lambda module: int(module.apply_dropout)},
    "hgnet_v2": {"HGNetV2BasicLayer": lambda module: int(module.residual)},
    "levit": {"LevitResidualLayer": 1},
    "mobilevit": {
        "MobileViTInvertedResidual": lambda module: int(module.use_residual),
        "MobileViTTransformerLayer": 2,
    },
    "swiftformer": {
        "SwiftFormerConvEncoder": 1, "SwiftFormerLocalRepresentation": 1,
        "SwiftFormerEncoderBlock": 2, "SwiftFormerEfficientAdditiveAttention": 1,
    },
}  # fmt: skip


def blocks_by_definition(model: nn.Module, stated: int | None = None) -> int | None:
    """How many blocks a network has by its definition; None where it is not known.

    Args:
        model: The network.
        stated: The number where it was written down for the network itself.
    """
    rules = _rules(model)
    if stated is not None or rules is None:
        return stated
    count = 0
    for module in model.modules():
        found = rules.get(type(module).__name__, 0)
        count += found(module) if callable(found) else found
    return count or None


def _rules(model: nn.Module) -> Mapping[str, Count] | None:
    """What is counted in a network, or in what it wraps."""
    homes = (type(module).__module__ for module in model.modules())
    home = next((name for name in homes if ".models." in name), "")
    library, _, module = home.partition(".models.")
    module = module.partition(".")[0]
    if library == "pytorchcv":
        return None if module in _OPEN else _OF_PYTORCHCV.get(module, _PYTORCHCV)
    known = {"torchvision": _TORCHVISION, "timm": _TIMM, "transformers": _TRANSFORMERS}
    return known.get(library, {}).get(module)
