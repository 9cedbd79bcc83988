"""Checkpoints that others publish: fetched once, checked, and read with their own names."""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import torch
from checkpoint_values import own_store, refusal, same

from ensembles import checkpoints
from ensembles.checkpoints import (
    build_with_weights,
    fetch,
    imagenet,
    list_checkpoints,
    load,
    open_weights,
    remove,
    verify,
)
from ensembles.checkpoints import download as download_module
from ensembles.models import create_model


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of this test's own."""
    return own_store(tmp_path, monkeypatch)


class Answer(BytesIO):
    headers: dict[str, str] = {}  # noqa: RUF012


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """What a request for an address gets; no network for the rest."""
    answers: dict[str, bytes] = {}

    def answer(url: str) -> Answer:
        if url not in answers:
            raise urllib.error.URLError("Network is unreachable")
        return Answer(answers[url])

    monkeypatch.setattr(download_module, "_answer", answer)
    yield answers


ADDRESS = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/"


def test_without_a_network_the_file_and_its_folder_are_named(
    server: dict[str, bytes], store: Path
) -> None:
    message = refusal(fetch, "resnet56-cifar10-akamaster", progress=False)
    assert message == (
        f"resnet56-4bfd9763.th is not in {store / 'fetched'} and cannot be downloaded "
        f"(Network is unreachable): fetch {ADDRESS}resnet56-4bfd9763.th by other means and put it "
        "there"
    )
    assert not [path for path in store.rglob("*") if path.is_file()]


def test_another_file_is_not_kept(server: dict[str, bytes], store: Path) -> None:
    server[f"{ADDRESS}resnet56-4bfd9763.th"] = b"<html>Not found</html>"
    message = refusal(load, "resnet56", "cifar10-akamaster")
    assert "gave another file: its sha256 starts with" in message
    assert message.endswith("expected 4bfd9763")
    assert not [path for path in store.rglob("*") if path.is_file()]


@pytest.mark.assets
def test_fetched_once_then_taken_from_the_cache(
    assets: Path, server: dict[str, bytes], store: Path
) -> None:
    name = "resnet20-cifar10-akamaster"
    content = (assets / "checkpoints" / "resnet20-12fca82f.th").read_bytes()
    server[f"{ADDRESS}resnet20-12fca82f.th"] = content
    assert [v.state for v in verify([name])] == ["not fetched"]
    path = fetch(name, progress=False)
    assert path == store / "fetched" / "resnet20-12fca82f.th"
    server.clear()
    assert load("resnet20", "cifar10-akamaster")[1].normalization == "imagenet"
    assert [v.state for v in verify([name])] == ["good"]
    path.write_bytes(content[:-1])
    assert [v.state for v in verify([name])] == ["bad"]
    assert remove(name) == [path]


def test_the_public_ones_are_those_that_their_publishers_name() -> None:
    public = {e.card.name: e.card for e in list_checkpoints() if e.place == "public"}
    assert len(public) == 6 + 16
    assert [n for n in public if n.startswith("resnet1202")] == ["resnet1202-cifar10-akamaster"]
    for card in public.values():
        assert card.source.startswith("https://github.com/")
        assert card.source.endswith(card.file)
        assert f"-{card.sha256[:8]}." in card.file
        assert card.normalization is not None


@pytest.mark.parametrize(
    "name", ["resnet20_b-cifar100-chenyaofo", "cifar_vgg11_bn-cifar10-chenyaofo"]
)
def test_names_of_chenyaofo_fit_our_networks(name: str) -> None:
    """The names of github.com/chenyaofo/pytorch-cifar-models, written out from its modules."""
    card = checkpoints.find(name).card
    model = create_model(card.architecture, card.num_classes).eval()
    state = {
        key.replace("linear.", "fc.").replace(".shortcut.", ".downsample."): value
        for key, value in model.state_dict().items()
    }
    assert {"fc.weight", "layer2.0.downsample.0.weight"} <= set(state) or {
        "features.0.bias",
        "classifier.6.weight",
    } <= set(state)
    assert same(build_with_weights(card.architecture, state)[0], model)


def test_imagenet_weights_come_with_their_own_preprocessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    path.parent.mkdir(parents=True)
    model = create_model("squeezenet1_1").eval()
    torch.save(model.state_dict(), path)
    assert "is damaged or another file" in refusal(load, "squeezenet1_1")
    monkeypatch.setattr(
        "ensembles.checkpoints.imagenet.open_weights", lambda path, sha256: open_weights(path)
    )
    loaded, card = load("squeezenet1_1", "IMAGENET1K_V1")
    x = torch.ones(1, 3, 64, 64)
    assert torch.equal(loaded(x), model(x))
    assert card.normalization == "0.485,0.456,0.406/0.229,0.224,0.225"
    assert card.preprocessing == {"resize": 256, "crop": 224, "interpolation": "bilinear"}
    assert card.classes[0] == "tench"
    assert "torchvision has IMAGENET1K_V1" in refusal(load, "squeezenet1_1", "IMAGENET1K_V2")


def test_timm_weights_that_cannot_be_had_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr(imagenet, "_cached", lambda repository: None)
    monkeypatch.setattr(imagenet, "_reach", unreachable)
    message = refusal(load, "timm:resnet18", "a1_in1k")
    assert (
        "timm's weights resnet18.a1_in1k are in no cache, and cannot be had from timm/" in message
    )
    assert "(OSError: no network)" in message
    assert message.endswith("or take --checkpoint random for an untrained control")


def unreachable(place: str) -> None:
    raise OSError("no network")


def test_unknown_timm_weights_are_refused_before_any_download() -> None:
    pytest.importorskip("timm")
    assert "has no checkpoint and no weights called 'none'; timm has" in refusal(
        load, "timm:resnet18", "none"
    )
