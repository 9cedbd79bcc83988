"""A network with what lesions may need beside it: weights of before, references, other networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from calls import Call, called
from safetensors.torch import load_file
from torch import nn
from untrained import untrained

import ensembles
from ensembles.cards import Card, write_card
from ensembles.checkpoints import open_average, open_initial, open_subject, write_network
from ensembles.checkpoints.initial_weights import find_initial
from ensembles.errors import CheckpointError, LesionError, UsageError
from ensembles.lesions import Delete, MeanBranch, Noise, Reset, Scale, Transplant
from ensembles.weights import weights_of, write_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as training leaves it: weights, their card, and the weights before."""
    folder = tmp_path_factory.mktemp("run")
    _, before = write_weights(weights_of(untrained(1)), folder / "resnet20.init.safetensors")
    size, after = write_weights(weights_of(untrained(2)), folder / "resnet20.safetensors")
    card = Card(
        "resnet20-digits", "resnet20", 10, dataset="digits", normalization="digits",
        training={"initial_sha256": before}, file="resnet20.safetensors", size=size, sha256=after,
    )  # fmt: skip
    write_card(card, folder / "resnet20.toml")
    write_weights(weights_of(untrained(3)), folder / "other.safetensors")
    return folder


@pytest.fixture(scope="module")
def trained(run: Path) -> str:
    return str(run / "resnet20.safetensors")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], trained: str, opened_once: None) -> Call:
    def invoke(*arguments: object) -> tuple[int, str, str]:
        small = ["--model", "resnet20", "--checkpoint", trained, "--limit", "8"]
        return called(capsys, *arguments, *small)

    return invoke


# Initial weights


def test_initial_weights_are_found_beside_the_trained_ones(run: Path, trained: str) -> None:
    assert find_initial(trained) == run / "resnet20.init.safetensors"
    assert find_initial(None) is None
    assert find_initial(run / "other.safetensors") is None
    assert find_initial("digits") is None


def test_the_card_remembers_which_they_are(run: Path, trained: str) -> None:
    _, card = ensembles.load("resnet20", trained)
    before = open_initial(card, run / "resnet20.init.safetensors")
    assert torch.equal(
        before.state_dict()["conv1.weight"], untrained(1).state_dict()["conv1.weight"]
    )
    with pytest.raises(CheckpointError, match=r"other.safetensors does not hold the initial weigh"):
        open_initial(card, run / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"no\.safetensors"):
        open_initial(card, run / "no.safetensors")


def test_reset_gives_a_block_its_initial_weights(trained: str) -> None:
    subject = open_subject("resnet20", trained, limit=8)
    frame = ensembles.lesion(
        subject.net, subject.data, [Reset((2,)), Reset(tuple(range(1, 10)))], **subject.materials
    )
    mixed, first = untrained(2), untrained(1)
    mixed.layer1[1] = first.layer1[1]
    images, labels = next(subject.data.batches(8))
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(mixed(images), labels))
    assert frame["loss"][1] == pytest.approx(loss, rel=1e-4)
    assert frame["loss"][2] != pytest.approx(frame["loss"][0], rel=1e-3)


def test_the_command_line_takes_another_file(call: Call, run: Path) -> None:
    code, out, _ = call("lesion", "--kind", "reset", "--blocks", "2", "--json")
    assert code == 0 and '"reset"' in out
    code, _, err = call(
        "lesion", "--kind", "reset", "--blocks", "2", "--initial", run / "other.safetensors"
    )
    assert code == 1 and "does not hold the initial weights of resnet20-digits" in err


def test_an_average_has_no_initial_weights(run: Path, trained: str) -> None:
    members = [("resnet20", trained)] * 2
    with pytest.raises(UsageError, match="an average was not trained"):
        open_average(members, initial=run / "resnet20.init.safetensors")


# Other networks, and reference data


def test_a_block_of_another_checkpoint(run: Path, trained: str) -> None:
    subject, other = open_subject("resnet20", trained, limit=8), str(run / "other.safetensors")
    frame = ensembles.lesion(subject.net, subject.data, [Transplant((2,), other)],
                             **subject.materials)  # fmt: skip
    mixed, third = untrained(2), untrained(3)
    mixed.layer1[1] = third.layer1[1]
    images, labels = next(subject.data.batches(8))
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(mixed(images), labels))
    assert frame["loss"][1] == pytest.approx(loss, rel=1e-4)
    with pytest.raises(CheckpointError, match="no checkpoint of resnet20 and no file is called"):
        ensembles.lesion(subject.net, subject.data, [Transplant((2,), "nothing")],
                         **subject.materials)  # fmt: skip


def test_reference_data_are_the_training_split_or_what_is_named(trained: str) -> None:
    subject = open_subject("resnet20", trained, limit=8)
    assert subject.reference is None and subject.initial is not None
    named = open_subject("resnet20", trained, limit=8, reference="digits")
    assert named.reference is not None and named.reference.split == "train"
    lesions = [MeanBranch((2,), reference_size=20)]
    first, second = (
        ensembles.lesion(one.net, one.data, lesions, **one.materials) for one in (subject, named)
    )
    assert np.allclose(first["loss"], second["loss"])


# Export


def test_exported_weights_are_those_of_the_lesioned_network(trained: str, tmp_path: Path) -> None:
    subject, lesion = open_subject("resnet20", trained, limit=8), Delete((3, 5))
    path = write_network(subject, lesion, tmp_path / "x.safetensors")
    state = load_file(path)
    wanted = subject.net.lesioned(lesion).state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in state)
    assert not any("layer1.2" in name for name in state)  # block 3 has no weights any more
    with safetensors.safe_open(path, "pt") as file:
        told = file.metadata()
    assert (told["lesion"], told["blocks"], told["model"]) == ("delete", "3 5", "resnet20")


@pytest.mark.parametrize("lesion", [Delete((3, 5)), Scale((2,), 0.5), Reset((4,))], ids=str)
def test_an_exported_program_needs_no_package_of_ours(
    lesion: ensembles.Lesion, trained: str, tmp_path: Path
) -> None:
    subject = open_subject("resnet20", trained, limit=12)
    path = write_network(subject, lesion, tmp_path / "x.pt2")
    frame = ensembles.lesion(subject.net, subject.data, [lesion], **subject.materials)
    images, labels = next(subject.data.batches(12))  # another number of rows than the example's
    program = torch.export.load(str(path)).module()
    with torch.no_grad():
        logits = program(images)
    assert int((logits.argmax(1) == labels).sum()) == frame["correct"][1]
    loss = float(nn.functional.cross_entropy(logits, labels))
    assert loss == pytest.approx(frame["loss"][1], rel=1e-4)


def test_what_cannot_be_exported(trained: str, tmp_path: Path) -> None:
    subject = open_subject("resnet20", trained, limit=8)
    with pytest.raises(LesionError, match="the noise belongs to the observations of a data set"):
        write_network(subject, Noise((2,), 0.1), tmp_path / "x.pt2")
    with pytest.raises(UsageError, match=r"expected \.safetensors or \.pt2"):
        write_network(subject, Delete((2,)), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--blocks", "3,5"], "delete 3 5"),
        (["--kind", "scale", "--blocks", "3,5", "--factor", "0.25"], "scale 3 5 x0.25"),
        (["--kind", "scale", "--blocks", "3 x0.25"], "scale 3 x0.25"),
        (["--kind", "replace", "--blocks", "2<-3"], "replace 2<-3"),
        (["--kind", "reorder", "--blocks", "2-3"], "reorder 2-3"),
        (["--kind", "randomize", "--blocks", "2", "--seed", "4"], "randomize 2 seed4"),
        (["--blocks", "1-3"], "delete 1 2 3"),
        (["--blocks", "3", "--recalibrated", "1"], "recalibrated delete 3 | 1x128"),
    ],
)  # fmt: skip
def test_the_command_line_names_one_lesion(
    call: Call, tmp_path: Path, arguments: list[str], text: str
) -> None:
    path = tmp_path / "x.safetensors"
    code, out, err = call("export", *arguments, "--out", path)
    assert (code, out) == (0, "") and err == f"wrote {path}: {text} of resnet20\n"


def test_a_seed_is_for_kinds_that_have_one(call: Call, tmp_path: Path) -> None:
    code, _, err = call("export", "--blocks", "3", "--seed", 3, "--out", tmp_path / "x.pt2")
    assert code == 2 and "delete has no seed of its own; leave out --seed" in err
