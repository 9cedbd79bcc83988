"""Weights are found in the files that other people's training code leaves behind."""

from __future__ import annotations

import argparse
import collections
import functools
import pathlib
import pickle
import struct
import tarfile
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from ensembles import dataset
from ensembles.checkpoints import CheckpointWarning, load_file, open_subject, open_weights
from ensembles.checkpoints.state_dicts import Fitted, fit
from ensembles.errors import CheckpointError, DataError, UsageError
from ensembles.models import create_model

State = dict[str, Tensor]


def trained(
    name: str = "resnet20", classes: int = 10, seed: int = 0, **arguments: Any
) -> nn.Module:
    """A network whose every number is drawn, statistics of BatchNorm too."""
    model = create_model(name, classes, **arguments).eval()
    generator = torch.Generator().manual_seed(seed)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * 0.1 + 0.05)
    return model


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return trained()


@pytest.fixture
def state(model: nn.Module) -> State:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def other() -> State:
    return dict(trained(seed=1).state_dict())


def read(content: Any, path: Path, name: str = "resnet20", **options: Any) -> Fitted:
    """Write content with torch and fit it again."""
    torch.save(content, path)
    return fit(name, open_weights(path).sets, origin=str(path), **options)


def assert_same(found: nn.Module, state: State, tolerance: float = 0.0) -> None:
    own = found.state_dict()
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        difference = (own[name].double() - value.double()).abs().max()
        assert difference <= tolerance, name


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


class Settings:
    """A class that no reader knows."""

    def __init__(self) -> None:
        self.rate = 0.1


# Where the weights are ---------------------------------------------------------------------------


def files_of_others(s: State) -> dict[str, Any]:
    """The same weights as many libraries write them."""
    ones = {"momentum": torch.ones(3)}
    optimizer = {"state": {0: ones}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    inner = {k.replace("layer1.0.", "layer1.0._fsdp_wrapped_module."): v for k, v in s.items()}
    saved = {
        k.replace("layer1.0.", "layer1.0._checkpoint_wrapped_module."): v for k, v in s.items()
    }
    counted = dict(s)
    for name, _ in create_model("resnet20").named_modules():
        for key in ("total_ops", "total_params"):
            counted[f"{name}.{key}".lstrip(".")] = torch.zeros(1, dtype=torch.float64)
    names = {k: k.replace("linear.", "head.fc.") for k in s}
    heads = {v if v.startswith("head") else f"backbone.{v}": s[k] for k, v in names.items()}
    apart = {k: v for k, v in s.items() if not k.startswith("linear.")}
    return {
        "AveragedModel": {"n_averaged": torch.tensor(3), **under("module.", s)},
        "Lightning": {"state_dict": under("model.", s), "epoch": 1, "optimizer_states": [optimizer],
                      "hyper_parameters": {"root": pathlib.Path("data"), "lr": 0.1,
                                           "optimizer": functools.partial(torch.optim.SGD, lr=0.1)},
                      "callbacks": {"Early": {"best": torch.tensor(1.0)}}},
        "Lightning with a loss": {
            "state_dict": {**under("net.", s), "criterion.weight": torch.ones(10),
                           "val_acc.confmat": torch.zeros(10, 10)}},
        "timm": {"epoch": 1, "arch": "resnet20", "state_dict": s, "metric": np.float64(7.5),
                 "args": argparse.Namespace(lr=0.1), "optimizer": optimizer,
                 "amp_scaler": {"scale": 65536.0}},
        "DeepSpeed": {"module": under("module.", s), "ds_config": {}, "buffer_names": ["a"],
                      "param_shapes": [collections.OrderedDict(a=torch.Size([3]))]},
        "FSDP": under("_fsdp_wrapped_module.", inner),
        "activation checkpointing": saved,
        "compiled": under("_orig_mod.module.", s),
        "Opacus": under("_module.", s),
        "fastai": {"model": s, "opt": optimizer},
        "mmcls": {"meta": {"epoch": 3, "hook": {1: 2}}, "state_dict": heads,
                  "optimizer": optimizer},
        "MoCo": {"arch": "resnet50", "state_dict": {**under("module.encoder_q.", s),
                                                    "module.queue": torch.ones(10, 8),
                                                    "module.queue_ptr": torch.zeros(1).long()}},
        "two mappings": {"backbone": apart, "classifier": {"weight": s["linear.weight"],
                                                           "bias": s["linear.bias"]}, "epoch": 4},
        "kuangliu": {"net": under("module.", s), "acc": 95.1, "epoch": 199},
        "counters of a profiler": counted,
        "a class and an object": {"state_dict": s, "cls": torch.optim.SGD, "own": Settings()},
        "detectron2": {"model": {k: v.numpy() for k, v in s.items()}, "__author__": "x",
                       "matching_heuristics": True},
        "an object under odd keys": {"weights": s, ("a", ("b", 1)): 3, Settings: 4, None: 5},
        "int keys": {"state_dict": s, "history": {0: torch.ones(2), 1: torch.ones(2)}},
        "deep": {"a": {"b": {"c": {"model": s}}}},
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", files_of_others({"linear.weight": torch.ones(1), "linear.bias": torch.ones(1)})
)
def test_files_of_other_libraries(name: str, state: State, tmp_path: Path) -> None:
    found = read(files_of_others(state)[name], tmp_path / "w.pth")
    assert_same(found.model, state)
    assert found.num_classes == 10


def test_what_is_left_over_is_told(state: State, tmp_path: Path) -> None:
    content = {"state_dict": {**under("net.", state), "criterion.weight": torch.ones(10)}}
    found = read(content, tmp_path / "w.ckpt")
    assert found.notes == ("left over in the file: state_dict.criterion.weight",)


def save_plain(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def save_arrays(content: Any, path: Path) -> None:
    arrays = {name: value.numpy() for name, value in content.items()}
    path.write_bytes(pickle.dumps({"model": arrays}, protocol=2))


def save_module(content: Any, path: Path) -> None:
    whole = create_model("resnet20")
    whole.load_state_dict(content)
    torch.save(nn.DataParallel(whole), path)


def save_old_module(content: Any, path: Path) -> None:
    whole = create_model("resnet20")
    whole.load_state_dict(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"net": whole}, path, _use_new_zipfile_serialization=False)


def save_tar(content: Any, path: Path) -> None:
    """The format of torch before 0.1.10: storages, tensors and a pickle in a tar."""
    kept = {name: value for name, value in content.items() if value.ndim}
    keys = {id(value): number for number, value in enumerate(kept.values(), 1)}

    class Pickler(pickle.Pickler):
        def persistent_id(self, one: Any) -> Any:
            return keys.get(id(one))

    storages, tensors, names = BytesIO(), BytesIO(), BytesIO()
    pickle.dump(len(kept), storages, 2)
    pickle.dump(len(kept), tensors, 2)
    for value in kept.values():
        key = keys[id(value)]
        pickle.dump((key, "cpu", torch.FloatStorage), storages, 2)
        storages.write(struct.pack("<q", value.numel()) + value.numpy().tobytes())
        pickle.dump((key, key, torch.FloatTensor), tensors, 2)
        sizes = (*value.shape, *value.stride(), 0)
        tensors.write(struct.pack(f"<i4x{len(sizes)}q", value.ndim, *sizes))
    pickle.dump([], storages, 2)
    Pickler(names, 2).dump({"state_dict": kept})
    with tarfile.open(path, "w") as archive:
        for name, stream in (("storages", storages), ("tensors", tensors), ("pickle", names)):
            about = tarfile.TarInfo(name)
            about.size = stream.tell()
            stream.seek(0)
            archive.addfile(about, stream)


@pytest.mark.parametrize(
    "save",
    [save_plain, save_arrays, save_module, save_old_module, save_tar],
    ids=lambda f: f.__name__,
)
def test_other_formats(save: Callable[[Any, Path], None], state: State, tmp_path: Path) -> None:
    save(state, tmp_path / "w.pkl")
    assert_same(fit("resnet20", open_weights(tmp_path / "w.pkl").sets).model, state)


# Two sets ----------------------------------------------------------------------------------------


PAIRS = {
    "timm": ("state_dict", "state_dict_ema"),
    "torchvision": ("model", "model_ema"),
    "Lightning": ("state_dict.model", "state_dict.ema.module"),
    "MoCo": ("state_dict.module.encoder_q", "state_dict.module.encoder_k"),
    "DINO": ("student", "teacher"),
    "ema_state_dict": ("state_dict", "ema_state_dict"),
    "averaged": ("net", "averaged_model"),
}


def nested(parts: dict[str, State]) -> dict[str, Any]:
    """Mappings by the first part of each prefix, the rest of it in the names."""
    content: dict[str, Any] = {}
    for prefix, state in parts.items():
        first, _, rest = prefix.partition(".")
        content.setdefault(first, {}).update(under(f"{rest}." if rest else "", state))
    return content


@pytest.mark.parametrize("name", PAIRS)
def test_raw_and_averaged_weights_are_both_named(
    name: str, state: State, other: State, tmp_path: Path
) -> None:
    raw, averaged = (prefix.replace("module.", "") for prefix in PAIRS[name])
    content = nested(dict(zip(PAIRS[name], (state, other), strict=True)))
    found = read(content, tmp_path / "w.pt")
    assert_same(found.model, state)
    (note,) = (note for note in found.notes if "two sets" in note)
    assert f"({raw})" in note
    assert f"({averaged.removesuffix('.module')}): the raw ones were taken" in note
    assert note.endswith("--weights ema takes the averaged ones")
    assert_same(read(content, tmp_path / "w.pt", weights="ema").model, other)
    assert_same(read(content, tmp_path / "w.pt", weights=raw).model, state)


def test_averaged_weights_alone_are_taken_and_said(state: State, tmp_path: Path) -> None:
    found = read({"ema_state_dict": state}, tmp_path / "w.pt")
    assert found.notes == ("the weights are an average over training (ema_state_dict)",)
    with pytest.raises(CheckpointError, match="no set of weights that 'raw' names; it holds ema_s"):
        read({"ema_state_dict": state}, tmp_path / "w.pt", weights="raw")


def test_two_sets_that_nothing_tells_apart_are_refused(
    state: State, other: State, tmp_path: Path
) -> None:
    content = {"a": state, "b": other}
    with pytest.raises(CheckpointError, match=r"holds 2 sets of weights of resnet20: a, b; name"):
        read(content, tmp_path / "w.pt")
    assert_same(read(content, tmp_path / "w.pt", weights="b").model, other)
    assert_same(read({"a": state, "b": dict(state)}, tmp_path / "w.pt").model, state)


def test_the_loader_tells_which_set_was_taken(state: State, other: State, tmp_path: Path) -> None:
    torch.save({"model": state, "model_ema": other, "args": Settings()}, tmp_path / "w.pt")
    with pytest.warns(CheckpointWarning) as told:
        model, card = load_file(tmp_path / "w.pt", "resnet20", weights="ema")
    assert_same(model, other)
    texts = [str(one.message) for one in told]
    assert any(
        "of model (raw), model_ema (averaged), model_ema was taken" in text for text in texts
    )
    assert any("left unread, and nothing of them was run (" in text for text in texts)
    assert card.name == "w-model_ema"
    assert "model_ema was taken, as asked" in card.notes
    assert card.sha256 == open_weights(tmp_path / "w.pt").sha256


# Names -------------------------------------------------------------------------------------------


def weiaicunzai(name: str) -> str:
    """The names of weiaicunzai/pytorch-cifar100 for those of kuangliu/pytorch-cifar."""
    parts = name.split(".")
    if parts[0] in ("conv1", "bn1"):
        return f"conv1.{int(parts[0] == 'bn1')}.{parts[1]}"
    if not parts[0].startswith("layer"):
        return name.replace("linear", "fc")
    stage = f"conv{int(parts[0][-1]) + 1}_x.{parts[1]}"
    if parts[2] == "shortcut":
        return f"{stage}.shortcut.{'.'.join(parts[3:])}"
    place = 3 * (int(parts[2][-1]) - 1) + int(parts[2].startswith("bn"))
    return f"{stage}.residual_function.{place}.{parts[3]}"


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        weiaicunzai,
        lambda name: "module." + name,
        lambda name: name.replace("linear", "fc").replace("shortcut", "downsample"),
        lambda name: "encoder." + name if "linear" not in name else name.replace("linear", "fc"),
    ],
    ids=["kuangliu", "weiaicunzai", "parallel", "torchvision", "encoder and head"],
)
def test_cifar_resnets_under_their_public_names(rename: Callable[[str], str], depth: int) -> None:
    network = trained(f"cifar_resnet{depth}", 100, width=4)
    given = {rename(name): value for name, value in network.state_dict().items()}
    found = fit(f"cifar_resnet{depth}", {"": given}, arguments={"width": 4})
    assert found.num_classes == 100
    assert_same(found.model, dict(network.state_dict()))


def test_the_cifar_stem_is_no_imagenet_stem() -> None:
    given = dict(create_model("cifar_resnet18").state_dict())
    with pytest.raises(CheckpointError, match=r"conv1.weight 64x3x3x3, the model 64x3x7x7") as told:
        fit("resnet18", {"": given})
    assert str(told.value).endswith("it fits cifar_resnet18: name that as the model")


def hugging_face(name: str) -> str:
    """The names of ResNetForImageClassification for those of torchvision."""
    parts = name.split(".")
    if parts[0] in ("conv1", "bn1"):
        kind = "convolution" if parts[0] == "conv1" else "normalization"
        return f"resnet.embedder.embedder.{kind}.{parts[1]}"
    if parts[0] == "fc":
        return f"classifier.1.{parts[1]}"
    start = f"resnet.encoder.stages.{int(parts[0][-1]) - 1}.layers.{parts[1]}"
    if parts[2] == "downsample":
        return f"{start}.shortcut.{('convolution', 'normalization')[int(parts[3])]}.{parts[4]}"
    kind = "convolution" if parts[2].startswith("conv") else "normalization"
    return f"{start}.layer.{int(parts[2][-1]) - 1}.{kind}.{parts[3]}"


def test_residual_networks_of_hugging_face(tmp_path: Path) -> None:
    network = trained("resnet18", 7)
    given = {hugging_face(name): value.clone() for name, value in network.state_dict().items()}
    save_file(given, tmp_path / "model.safetensors")
    found = fit("resnet18", open_weights(tmp_path / "model.safetensors").sets)
    assert_same(found.model, dict(network.state_dict()))


def test_order_is_offered_and_taken_when_asked(state: State, tmp_path: Path) -> None:
    foreign = {f"part{n:03}.x{k.rpartition('.')[0].count('.')}.{k.rpartition('.')[2]}": v
               for n, k, v in numbered(state)}  # fmt: skip
    with pytest.raises(CheckpointError, match="agree with the model's in one way: --match order"):
        read(foreign, tmp_path / "w.pt")
    found = read(foreign, tmp_path / "w.pt", match="order")
    assert_same(found.model, state)
    assert found.notes == ("the tensors were matched by their order, as asked",)
    swapped = dict(sorted(foreign.items()))
    with pytest.raises(CheckpointError, match="cannot be matched with resnet20 by order"):
        read(swapped, tmp_path / "w.pt", match="order")
    with pytest.raises(CheckpointError, match="expected one set of tensors"):  # not one of two
        doubled = {name: 2 * value for name, value in foreign.items()}
        read({"one": foreign, "two": doubled}, tmp_path / "w.pt", match="order")
    with pytest.raises(UsageError, match="matched by names or order, not by 'luck'"):
        read(foreign, tmp_path / "w.pt", match="luck")


def numbered(state: State) -> Iterator[tuple[int, str, Tensor]]:
    """Tensors with the number of their module, in the order of first use."""
    modules: dict[str, int] = {}
    for name, value in state.items():
        yield modules.setdefault(name.rpartition(".")[0], len(modules)), name, value


# Refusals ----------------------------------------------------------------------------------------


def test_raw_weights_are_not_completed_with_averaged_ones(state: State) -> None:
    """A classifier may lie under another prefix, but not in another set."""
    body = {name: value for name, value in state.items() if not name.startswith("linear.")}
    head = {name: value for name, value in state.items() if name.startswith("linear.")}
    assert_same(fit("resnet20", {"": under("net.", body) | under("head.", head)}).model, state)
    with pytest.raises(CheckpointError, match=r"2 missing .linear.weight, linear.bias"):
        fit("resnet20", {"": under("net.", body) | under("net_ema.", head)})


def test_part_of_a_larger_network_is_no_network() -> None:
    """The names and shapes of ResNet-20 are all in ResNet-32."""
    larger = dict(create_model("resnet32").state_dict())
    with pytest.raises(CheckpointError, match=r"60 unexpected \(layer1.3.conv1.weight") as told:
        fit("resnet20", {"": larger})
    assert str(told.value).endswith("; it fits resnet32: name that as the model")


@pytest.mark.parametrize("extra", ["layer1.0.se.weight", "extra.weight", "layer4.0.conv1.weight"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_what_may_change_the_network_is_refused(extra: str, prefix: str, state: State) -> None:
    given = under(prefix, {**state, extra: torch.ones(2)})
    with pytest.raises(CheckpointError, match=f"1 unexpected .{prefix}{extra}"):
        fit("resnet20", {"": given})


def test_a_missing_tensor_is_told_with_the_nearest(state: State) -> None:
    given = {k.replace("layer1.1.conv2", "layer1.1.convolution2"): v for k, v in state.items()}
    with pytest.raises(CheckpointError) as told:
        fit("resnet20", {"": given})
    assert (
        "1 missing (layer1.1.conv2.weight; nearest to layer1.1.conv2.weight in the file: "
        "layer1.1.convolution2.weight 16x16x3x3)"
    ) in str(told.value)
    assert "it fits" not in str(told.value)


# Numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_counters_may_be_of_half_precision(dtype: torch.dtype, state: State) -> None:
    state["bn1.num_batches_tracked"] = torch.tensor(1_000_000)
    found = fit("resnet20", {"": {k: v.to(dtype) for k, v in state.items()}})
    assert_same(found.model, {k: v.to(dtype) for k, v in state.items()})


class Wrapped(nn.Module):
    """A network with a layer of each kind of parametrisation."""

    def __init__(self, wrap: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self.network = trained()
        with torch.no_grad():
            wrap(self.network.get_submodule("layer1.0.conv1"))
            wrap(self.network.get_submodule("linear"))


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "pruned": lambda module: prune.l1_unstructured(module, "weight", amount=0.5),
    "weight norm": weight_norm,
    "spectral norm": spectral_norm,
    "new weight norm": parametrizations.weight_norm,
    "new spectral norm": parametrizations.spectral_norm,
}


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_masks_and_parametrisations_are_written_out(name: str) -> None:
    whole = Wrapped(WRAPPERS[name]).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = whole.network(x)
        found = fit("resnet20", {"": dict(whole.network.state_dict())})
        answers = found.model(x)
    torch.testing.assert_close(answers, expected, rtol=1e-5, atol=1e-5)
    (note,) = found.notes
    assert note == (
        "masks or parametrisations were written out: layer1.0.conv1.weight, linear.weight"
    )


def test_a_parametrisation_of_unknown_code_is_refused(state: State) -> None:
    state["linear.parametrizations.weight.original"] = state.pop("linear.weight")
    with pytest.raises(CheckpointError, match="whose code it does not hold: where it was made"):
        fit("resnet20", {"": state})


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet20", 1), ("resnet18", 4), ("timm:resnet10t", 2), ("resnet20", 6)]
)
def test_input_channels_are_those_of_the_weights(name: str, channels: int) -> None:
    network = trained(name, 5, in_channels=channels)
    found = fit(name, {"": dict(network.state_dict())})
    assert found.arguments == {"in_channels": channels}
    assert found.notes == (f"the weights take images of {channels} channels",)
    x = torch.rand(2, channels, 64, 64)
    with torch.no_grad():
        assert torch.equal(found.model(x), network(x))


NORMALIZERS = {
    "robustness": ("module.normalizer.new_mean", "module.normalizer.new_std", "module.model."),
    "attacker too": ("module.attacker.normalize.new_mean", "module.attacker.normalize.new_std",
                     "module.model."),
    "sequence": ("0.mean", "0.std", "1."),
    "own buffers": ("mu", "sigma", "network."),
    "within": ("normalize.mean", "normalize.std", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("shape", [(3,), (3, 1, 1), (1, 3, 1, 1)])
def test_a_wrapped_normaliser_stays(
    name: str, shape: tuple[int, ...], model: nn.Module, state: State
) -> None:
    mean, std, prefix = NORMALIZERS[name]
    values = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    given = under(prefix, state)
    given |= {mean: values[0].view(shape), std: values[1].view(shape)}
    found = fit("resnet20", {"model": given, "": {"epoch": torch.tensor(3)}})
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = model((x - values[0].view(3, 1, 1)) / values[1].view(3, 1, 1))
        assert torch.equal(found.model(x), expected)
    assert "normalises its images itself, by 0.4,0.5,0.6/0.2,0.25,0.3" in found.notes[0]
    again = fit("resnet20", {"": dict(found.model.state_dict())})
    with torch.no_grad():
        assert torch.equal(again.model(x), expected)


def test_a_normaliser_for_other_pixels_is_refused(state: State) -> None:
    given = under("net.", state) | {
        "pixel_mean": torch.full((3,), 120.0),
        "pixel_std": torch.ones(3),
    }
    with pytest.raises(CheckpointError, match="which is not for pixels between 0 and 1"):
        fit("resnet20", {"": given})


# With images -------------------------------------------------------------------------------------


def opened(content: Any, path: Path, **options: Any) -> Any:
    torch.save(content, path)
    return open_subject("resnet20", path, dataset="digits", limit=8, device="cpu", **options)


def pixels(normalize: str) -> Tensor:
    images, _ = next(dataset("digits", split="test", limit=8, normalize=normalize).batches(8))
    return images


@pytest.mark.filterwarnings("ignore::ensembles.checkpoints.CheckpointWarning")
def test_a_network_of_one_channel_gets_grey_images(tmp_path: Path) -> None:
    network = trained(in_channels=1)
    subject = opened(network.state_dict(), tmp_path / "w.pt", normalize="digits")
    images, _ = next(subject.data.batches(8))
    assert torch.equal(images, pixels("digits")[:, :1])
    with torch.no_grad():
        torch.testing.assert_close(subject.net(images), network(images))
    with pytest.raises(DataError, match="images of 5 channels, those of digits test have 3; exp"):
        opened(trained(in_channels=5).state_dict(), tmp_path / "w.pt", normalize="digits")


@pytest.mark.filterwarnings("ignore::ensembles.checkpoints.CheckpointWarning")
def test_a_network_that_normalises_gets_pixels(
    model: nn.Module, state: State, tmp_path: Path
) -> None:
    mean, std = torch.full((3, 1, 1), 0.3), torch.full((3, 1, 1), 0.4)
    named = {"module.normalizer.new_mean": mean, "module.normalizer.new_std": std}
    content = {"model": {**under("module.model.", state), **named}, "epoch": 9}
    subject = opened(content, tmp_path / "w.pt")
    images, _ = next(subject.data.batches(8))
    assert torch.equal(images, pixels("none"))
    with torch.no_grad():
        torch.testing.assert_close(subject.net(images), model((images - mean) / std))
    with pytest.raises(UsageError, match="and cifar10 would do it twice: leave --normalize out"):
        opened(content, tmp_path / "w.pt", normalize="cifar10")
