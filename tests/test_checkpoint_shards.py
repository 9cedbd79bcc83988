"""Weights in several files, and averages over training that bear other names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ensembles.checkpoints import load_file, open_weights
from ensembles.checkpoints.state_dicts import fit
from ensembles.errors import CheckpointError
from ensembles.models import create_model

State = dict[str, Tensor]
_SAVES: dict[str, Callable[[State, Path], Any]] = {
    "model.safetensors": save_file,
    "pytorch_model.bin": torch.save,
}


def drawn(seed: int) -> State:
    state = create_model("resnet20").state_dict()
    generator = torch.Generator().manual_seed(seed)
    for value in state.values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * 0.1 + 0.05)
    return dict(state)


def in_two(state: State, folder: Path, whole: str) -> Path:
    """Two files and their index, as ``save_pretrained`` of Hugging Face writes them."""
    stem, suffix = whole.split(".")
    halves = [dict(list(state.items())[:50]), dict(list(state.items())[50:])]
    places = {}
    for number, half in enumerate(halves, 1):
        name = f"{stem}-{number:05}-of-00002.{suffix}"
        _SAVES[whole](half, folder / name)
        places |= dict.fromkeys(half, name)
    index = folder / f"{whole}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("whole", _SAVES)
def test_files_of_an_index_are_one(whole: str, tmp_path: Path) -> None:
    state = drawn(0)
    index = in_two(state, tmp_path, whole)
    for given in (index, tmp_path):
        model, card = load_file(given, "resnet20")
        assert all(torch.equal(model.state_dict()[name], state[name]) for name in state)
        assert card.size == sum(path.stat().st_size for path in tmp_path.glob("*-of-*"))
    first = card.sha256
    in_two({**state, "linear.bias": state["linear.bias"] + 1}, tmp_path, whole)
    assert load_file(index, "resnet20")[1].sha256 != first


def test_a_part_alone_is_told_as_one(tmp_path: Path) -> None:
    in_two(drawn(0), tmp_path, "model.safetensors")
    with pytest.raises(CheckpointError, match=r"it is one of 2 files: name their index, model\.sa"):
        load_file(tmp_path / "model-00001-of-00002.safetensors", "resnet20")


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"a": "../w.bin"}, r"says that a lies in '\.\./w\.bin'; expected a file beside it"),
        ({"a": ".w.bin"}, r"says that a lies in '\.w\.bin'; expected a file beside it"),
        ({"a": 3}, "says that a lies in '3'"),
        ({}, "is no index of weights: expected a weight_map"),
        ({"a": "gone.bin"}, r"gone\.bin cannot be read"),
        ({"linear.weight": "here.bin"}, r"linear\.weight lies in here\.bin, and it does not"),
    ],
)
def test_an_index_that_cannot_be_meant(places: Any, message: str, tmp_path: Path) -> None:
    torch.save({"other": torch.ones(2)}, tmp_path / "here.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(CheckpointError, match=message):
        open_weights(index)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a folder without weights; expected a file, or"):
        load_file(tmp_path, "resnet20")


def parameters() -> list[str]:
    return [name for name, _ in create_model("resnet20").named_parameters()]


DISGUISES: dict[str, Callable[[State, State], dict[str, Any]]] = {
    "LitEma": lambda raw, mean: {
        **{f"model.{name}": value for name, value in raw.items()},
        **{f"model_ema.{name.replace('.', '')}": mean[name] for name in parameters()},
        "model_ema.decay": torch.tensor(0.9),
    },
    "mmcv": lambda raw, mean: {
        "state_dict": {**{f"net.{name}": value for name, value in raw.items()},
                       **{f"ema_net_{n.replace('.', '_')}": mean[n] for n in parameters()}}
    },
    "torch_ema": lambda raw, mean: {
        "model": raw, "ema": {"decay": 0.9, "shadow_params": [mean[name] for name in parameters()]}
    },
}  # fmt: skip


@pytest.mark.parametrize("name", DISGUISES)
def test_averages_under_other_names(name: str, tmp_path: Path) -> None:
    """The average is of the parameters; BatchNorm's statistics are the raw network's."""
    raw, mean = drawn(0), drawn(1)
    torch.save(DISGUISES[name](raw, mean), tmp_path / "w.pt")
    sets = open_weights(tmp_path / "w.pt").sets
    found = fit("resnet20", sets)
    assert torch.equal(found.model.state_dict()["conv1.weight"], raw["conv1.weight"])
    assert "two sets of weights are there" in " ".join(found.notes)
    averaged = fit("resnet20", sets, weights="ema").model.state_dict()
    for key in raw:
        assert torch.equal(averaged[key], (mean if key in parameters() else raw)[key]), key
