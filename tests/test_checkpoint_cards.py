"""Cards from another hand: each is refused in a line or read rightly, and none harms another."""

from __future__ import annotations

import os
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from ensembles.cards import Card, card_text, parse_card, write_card
from ensembles.checkpoints import add, list_checkpoints, load, remove, save_checkpoint, verify
from ensembles.checkpoints.blueprint import blueprint
from ensembles.checkpoints.misfit import fitting
from ensembles.errors import CheckpointError, EnsemblesError
from ensembles.models import architecture, create_model
from ensembles.printable import printable

BASE = 'name = "a"\narchitecture = "resnet20"\nnum_classes = 10\n'


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return create_model("resnet20").eval()


@pytest.fixture(scope="module")
def filled(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    save_checkpoint(model, Card("good", "resnet20", 10), folder)
    return folder


@pytest.fixture
def store(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store with a good checkpoint, which stays whatever lies beside it."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(filled, folder)
    monkeypatch.setenv("ENSEMBLES_CHECKPOINTS", str(folder))
    yield folder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [e.card.name for e in list_checkpoints() if e.place == "user"] == ["good"]
        assert [one.state for one in verify(["good"])] == ["good"]


WRONG = {
    "a text of classes": ('classes = "abcdefghij"', "classes is no list"),
    "a table of classes": ("classes = {a = 1}", "classes is no list"),
    "numbers as classes": ("classes = [1, 2, 3]", "classes holds something else than names"),
    "pairs as arguments": ('arguments = [["depth", 20]]', "arguments is no table"),
    "a text as arguments": ('arguments = "x"', "arguments is no table"),
    "a list of preprocessing": ("preprocessing = []", "preprocessing is no table"),
    "a number as recipe": ("recipe = 3", "recipe is no table"),
    "a text as file": ('file = "x"', "file is no table"),
    "another name": ('[arguments]\nname = "resnet50"', "arguments holds 'name', which is a field"),
    "two numbers of classes": ("[arguments]\nnum_classes = 5", "is 10 and, in arguments, 5"),
    "a number that is none": ("[arguments]\ndepth = nan", "texts, finite numbers and lists"),
    "an infinite number": ("[training]\nx = [1, [-inf]]", "texts, finite numbers and lists"),
    "a date": ("[training]\nwhen = 2026-01-01", "texts, finite numbers and lists"),
    "a table in a list": ("[recipe]\nx = [{a = 1}]", "texts, finite numbers and lists"),
    "a field in file": ('[file]\narchitecture = "x"', "unknown in file: architecture"),
    "a path in file": ('[file]\nname = "../x"', "expected a plain file name"),
    "a list in file": ('[file]\nname = ["x"]', "expected a plain file name"),
    "a list of measurements": ("measured = [1]", "is no card"),
    "a measurement of nothing": ("measured = 3", "is no card"),
    "a number of measurements": (
        '[[measured]]\ndataset = "d"\nsplit = "s"\ncorrect = nan\ntotal = 2', "expected whole"),
    "more than all": (
        '[[measured]]\ndataset = "d"\nsplit = "s"\ncorrect = 3\ntotal = 2', "cannot be"),
}  # fmt: skip


@pytest.mark.parametrize("attack", WRONG)
def test_fields_of_the_wrong_type_are_refused(attack: str) -> None:
    text, said = WRONG[attack]
    with pytest.raises(CheckpointError) as error:
        parse_card(BASE + text + "\n")
    line = str(error.value)
    assert said in line and printable(line) == line and "\n" not in line


@pytest.mark.parametrize("name", ["x" * 100_000, "a b", ""])
def test_names_of_architectures_are_short(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"^.{,400}expected the name of an architecture"):
        parse_card(card_text(Card("a", "resnet20", 10)).replace('"resnet20"', f"'{name}'"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("timm:vit_tiny_patch16_224", {"depth": 10_000_000}),  # computes before it registers
        ("timm:resnet18", {"layers": [1, 1, 10**9, 1]}),
        ("torchvision:resnet18", {"width_per_group": -(10**9)}),
        ("resnet20", {"width": float("nan")}),
    ],
)
def test_sizes_beyond_any_network_are_refused_before_it_is_built(
    name: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(CheckpointError, match=r"is asked for; expected at most 300,000: it is ano"):
        blueprint(name, 10, arguments, {})


def test_no_other_architecture_is_sought_for_very_many_tensors(model: nn.Module) -> None:
    flat = {f"{k}.{number}": v for k, v in model.state_dict().items() for number in range(60)}
    assert fitting(architecture("resnet20"), flat) is None


def pipe(path: Path) -> None:
    os.mkfifo(path)


def socketed(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": pipe,
    "socket": socketed,
    "loop": lambda path: path.symlink_to(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to(path.parent / "none"),
    "link elsewhere": lambda path: path.symlink_to(path.parents[2] / "precious"),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and devices")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["cards/a.toml", "weights/a.safetensors"])
def test_what_is_no_plain_file_is_refused_and_removed(
    kind: str, where: str, store: Path, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = store.parent / "precious"
    precious.write_text("precious")
    if where.startswith("weights"):
        write_card(Card("a", "resnet20", 10), store / "cards" / "a.toml")
    monkeypatch.chdir(store / Path(where).parent)  # an address of a socket is short
    KINDS[kind](Path(where).name if kind == "socket" else store / where)  # type: ignore[arg-type]
    monkeypatch.chdir(store)
    assert [one.state for one in verify(["a"])] == ["bad"]
    for work in (lambda: load("a"), lambda: add("x.pt", "a", "resnet20", data="digits")):
        with pytest.raises(EnsemblesError) as error:
            work()
        assert printable(str(error.value)) == str(error.value)
    with pytest.raises(EnsemblesError, match=r"another name|added meanwhile|no plain file"):
        save_checkpoint(model, Card("a", "resnet20", 10), new=where.startswith("cards"))
    assert (store / where) in remove("a")
    assert not os.path.lexists(store / where) and precious.read_text() == "precious"


def test_a_folder_in_place_of_a_card_stays(store: Path) -> None:
    (store / "cards" / "a.toml").mkdir()
    with pytest.raises(CheckpointError, match=r"'a' cannot be removed \(Is a directory\): .*a\.to"):
        remove("a")
    (store / "cards" / "a.toml").rmdir()


def test_weights_that_another_card_names_by_an_escape_stay(store: Path) -> None:
    card = store / "cards" / "thief.toml"
    [good] = [e.card for e in list_checkpoints() if e.card.name == "good"]
    write_card(replace(good, name="thief"), card)
    mine = store / "cards" / "good.toml"
    kept = mine.read_text()
    mine.write_text(kept.replace('"good', '"\\u0067ood'))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert remove("thief") == [card]
    mine.write_text(kept)


@pytest.mark.skipif(os.name != "posix", reason="needs names that are no UTF-8")
@pytest.mark.parametrize("name", ["b\udcff", "b\x1b]0;x\x07", "b\nc"])
def test_a_card_of_any_name_is_told_and_removed(name: str, store: Path) -> None:
    (store / "cards" / f"{name}.toml").write_text(BASE)
    with pytest.warns(UserWarning, match="names 'a', expected") as told:
        list_checkpoints()
    assert all("\x1b" not in printable(str(one.message)) for one in told)
    assert remove(name) == [store / "cards" / f"{name}.toml"]
