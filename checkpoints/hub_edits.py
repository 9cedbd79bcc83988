"""A model of transformers with blocks deleted, as one of transformers, for other tools."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import called
from ensembles.errors import LesionError
from ensembles.lesions import Lesion
from ensembles.lesions.steps import Bypass, Run

__all__ = ["edited_model"]

_TOLERANCE = 1e-4
_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
_BY_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers")


def edited_model(model: nn.Module, net: Decomposition, lesion: Lesion, windows: Tensor) -> Any:
    """A copy of a model of transformers that computes what its network with deleted blocks does.

    Layers of which every block is deleted are taken out, and the configuration says how many are
    left; of other deleted blocks the last weights are set to zero, so that their branch gives
    nothing. The copy is a ``PreTrainedModel``: it takes windows of any length, gives an object with
    ``logits``, and can be saved, loaded by ``from_pretrained``, and handed to lm-eval's ``HFLM``.

    Args:
        model: The model, as :func:`ensembles.load` gives it.
        net: Its decomposition.
        lesion: A deletion.
        windows: Inputs to hold the copy against the lesioned network, as the network takes them.

    Raises:
        LesionError: If the lesion is no deletion, or the model cannot be edited so: its logits are
            held against those of the lesioned network.
    """
    deleted = _deleted(net, lesion)
    lesioned = net.lesioned(lesion)
    with torch.no_grad():
        wanted = lesioned(windows)
    for edit in (_layers_out, _last_weights, _all_weights):
        twin = _plain(copy.deepcopy(model))
        if not edit(twin, net, deleted):
            continue
        with torch.no_grad():
            found = called(twin, windows)
        gap, scale = (found - wanted).abs().max(), wanted.abs().max()
        if bool(gap <= _TOLERANCE * scale):
            return twin
    raise LesionError(
        f"{lesion}: {type(model).__name__} has no weights whose removal deletes these blocks; "
        "expected blocks whose branch ends in a linear layer. Export a .safetensors or .pt2 file "
        "of the lesioned network instead"
    )


def _deleted(net: Decomposition, lesion: Lesion) -> list[int]:
    """The numbers of the blocks that a lesion deletes, where it does nothing else."""
    program = lesion.program(len(net))
    found = []
    for index, steps in enumerate(program, 1):
        if steps == (Bypass(index),):
            found.append(index)
        elif steps != (Run(index),):
            raise LesionError(
                f"{lesion}: a model of transformers can be written with blocks deleted; expected a "
                "deletion, or a .safetensors or .pt2 file"
            )
    return found


def _plain(model: Any) -> Any:
    """A model whose weights are ordinary numbers, however they were stored."""
    model.hf_quantizer = None
    for config in (model.config, getattr(model, "generation_config", None)):
        if config is not None and hasattr(config, "quantization_config"):
            del config.quantization_config
    return model.eval()


def _layers_out(model: Any, net: Decomposition, deleted: list[int]) -> bool:
    """Take whole layers out, and the last weights of what else is deleted; False without any."""
    for name, layers in model.named_modules():
        if not isinstance(layers, nn.ModuleList):
            continue
        found = {block.index: _place(block.name, name) for block in net}
        places = {index: at for index, at in found.items() if at is not None}
        gone = sorted({
            place
            for place in set(places.values())
            if all(index in deleted for index, at in places.items() if at == place)
        })  # fmt: skip
        if not gone or len(gone) == len(layers):
            continue
        rest = [index for index in deleted if places.get(index) not in gone]
        if rest and not _last_weights(model, net, rest):
            return False
        kept = [layer for place, layer in enumerate(layers) if place not in gone]
        model.set_submodule(name, nn.ModuleList(kept))
        _renumbered(model.config, kept, gone)
        return True
    return False


def _place(block: str, layers: str) -> int | None:
    """Which layer of a list a block belongs to."""
    head, rest = block[: len(layers)], block[len(layers) :]
    number = rest.removeprefix(".").partition(".")[0]
    return int(number) if head == layers and rest.startswith(".") and number.isdecimal() else None


def _renumbered(config: Any, kept: list[nn.Module], gone: list[int]) -> None:
    """Tell the configuration, and the layers, how many there are."""
    for name in _BY_LAYER:
        values = getattr(config, name, None)
        if isinstance(values, list):
            setattr(config, name, [v for place, v in enumerate(values) if place not in gone])
    for name in _COUNTS:
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, len(kept))
    for number, layer in enumerate(kept):
        for part in layer.modules():
            if isinstance(getattr(part, "layer_idx", None), int):
                part.layer_idx = number  # type: ignore[assignment]


def _last_weights(model: Any, net: Decomposition, deleted: list[int]) -> bool:
    """Set the last weights of each deleted branch to zero."""
    return _zeroed(model, net, deleted, last=True)


def _all_weights(model: Any, net: Decomposition, deleted: list[int]) -> bool:
    """Set all weights of each deleted branch to zero that give as many numbers as the stream has.

    A layer that adds attention and MLP at once ends in two of them.
    """
    return _zeroed(model, net, deleted, last=False)


def _zeroed(model: Any, net: Decomposition, deleted: list[int], *, last: bool) -> bool:
    for index in deleted:
        block = net.block(index)
        ends = list(_ends(model, block.name, block.out_shape[-1]))
        if not ends:
            return False
        for end in ends[-1:] if last else ends:
            for weight in end.parameters(recurse=False):
                nn.init.zeros_(weight)
    return True


def _ends(model: nn.Module, name: str, width: int) -> Iterator[nn.Module]:
    """Layers within a module that give as many numbers as the stream has."""
    try:
        module = model.get_submodule(name)
    except AttributeError:
        return
    for part in module.modules():
        given = getattr(part, "out_features", None) or getattr(part, "nf", None)
        if given == width and isinstance(getattr(part, "weight", None), Tensor):
            yield part
