"""Networks of the user's own, as FILE.py:FUNCTION."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

import ensembles
from ensembles.cli import command_line
from ensembles.errors import EnsemblesError
from ensembles.models import create_model
from ensembles.store import Store
from ensembles.studies import read_study, run

SOURCE = """
import sys

import torch
from parts import Block  # lies beside it

print("hello")


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), Block(4), Block(4), Block(4),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 10),
    )


def unreadable():
    return torch.load("nowhere")


def leaving():
    sys.exit(3)


def interrupting():
    raise KeyboardInterrupt


def odd():
    return torch.nn.Embedding(3, 4)


def nothing():
    return 3


def needs(depth):
    return depth


VALUE = 3
"""
PARTS = """
import torch


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = torch.nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x).relu()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my nets").mkdir()
    (tmp_path / "my nets" / "net.py").write_text(SOURCE)
    (tmp_path / "my nets" / "parts.py").write_text(PARTS)
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "raising.py").write_text("1 / 0\n")
    monkeypatch.delitem(sys.modules, "parts", raising=False)
    monkeypatch.delenv("ENSEMBLES_RUN_MODEL_FILES", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


NAME = "my nets/net.py:network"
REFUSED = {
    "my nets/no.py:f": "there is no file my nets/no.py",
    "a\0b.py:f": "no file has such a name",
    "my nets/net.py:": "expected the name of a function after the colon",
    "my nets/net.py:netwrk": "has no function 'netwrk'; there are",
    "my nets/net.py:VALUE": "has a value, no function, called 'VALUE'",
    "my nets/net.py:unreadable": r"calling unreadable\(\) fails \(FileNotFoundError",
    "my nets/net.py:leaving": r"fails \(SystemExit: 3\)",
    "my nets/net.py:interrupting": "interrupts the program",
    "my nets/net.py:nothing": "gives a int; expected an nn.Module",
    "my nets/net.py:needs": "missing 1 required positional argument",
    "my nets/net.py:odd": "it gives no values of classes",
    "broken.py:f": r"running the file fails \(SyntaxError",
    "raising.py:f": "ZeroDivisionError: division by zero",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_with_a_file_is_said_in_a_line(name: str) -> None:
    with pytest.raises(EnsemblesError, match=REFUSED[name]) as caught:
        ensembles.load(name)
    assert "\n" not in str(caught.value)


def test_a_network_of_a_file_is_measured_and_kept(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, card = ensembles.load(NAME)
    assert card.num_classes == 10 and not model.training
    given = ["--model", NAME, "--dataset", "digits", "--limit", "8", "--normalize", "none"]
    for _ in range(2):
        done = CliRunner().invoke(
            command_line, ["lesion", *given, "--store", "s.db", "--out", "x.csv"]
        )
        assert done.exit_code == 0, done.output
    frame = ensembles.read_frame("x.csv")
    assert list(frame["lesion"]) == ["none", "delete", "delete", "delete"]
    with Store("s.db", mode="r") as store:
        [context] = store.contexts()  # the same network both times
        assert len(store.provenance(context)) == 1
    assert "hello" not in capfd.readouterr().out


def test_weights_from_elsewhere_fit_into_it(folder: Path) -> None:
    model, _ = ensembles.load(NAME)
    state = {f"module.{key}": value + 1 for key, value in model.state_dict().items()}
    save_file(state, "w.safetensors")
    found, card = ensembles.load(NAME, "w.safetensors")
    assert torch.equal(found[6].bias, model[6].bias + 1) and card.sha256
    with pytest.raises(EnsemblesError, match="asked for 7"):
        ensembles.load(NAME, num_classes=7)


def test_a_card_of_somebody_else_runs_no_file(folder: Path) -> None:
    (folder / "evil.py").write_text("open('ran', 'w')\ndef f(): ...\n")
    for call in (
        lambda: create_model("evil.py:f"),
        lambda: ensembles.load("resnet20", "x.safetensors"),
    ):
        save_file({"a": torch.zeros(1)}, "x.safetensors")
        card = 'name = "x"\narchitecture = "evil.py:f"\nnum_classes = 2\n'
        (folder / "x.toml").write_text(card)
        with pytest.raises(EnsemblesError):
            call()
    assert not (folder / "ran").exists()


def test_a_study_runs_a_file_only_where_the_user_says_so(folder: Path) -> None:
    (folder / "s.toml").write_text(
        f'[[models]]\nname = "{NAME}"\n[[data]]\nname = "digits"\nlimit = 4\nnormalize = "none"\n'
        "[[lesions]]\n"
    )
    study = read_study("s.toml")
    found = run(study, "s.db")
    assert "give --run-model-files" in found.iloc[0]["reason"]
    done = CliRunner().invoke(
        command_line, ["study", "run", "s.toml", "--store", "s.db", "--run-model-files"]
    )
    assert done.exit_code == 0, done.output
    with Store("s.db", mode="r") as store:
        assert len(store.outcomes(store.contexts()[0])) == 4


def test_exactly_this_file_is_run(folder: Path) -> None:
    layers = "torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))"
    (folder / "random.py").write_text(f"import torch\ndef f(): return {layers}\n")
    before, own = list(sys.path), random.__file__
    assert ensembles.load("random.py:f")[1].num_classes == 2
    assert sys.path == before and sys.modules["random"].__file__ == own
    assert list(folder.glob("**/random*.pyc")) == []


OF_ARGUMENTS = """
import torch


def sized(depth=1, in_channels=3):
    layers = [torch.nn.Conv2d(4, 4, 3, padding=1) for _ in range(depth)]
    return torch.nn.Sequential(
        torch.nn.Conv2d(in_channels, 4, 3, padding=1), *layers,
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 10),
    )
"""


@pytest.fixture
def sized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_project").mkdir()
    (tmp_path / "my_project" / "__init__.py").write_text("")
    (tmp_path / "my_project" / "networks.py").write_text(OF_ARGUMENTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_project", raising=False)
    monkeypatch.delitem(sys.modules, "my_project.networks", raising=False)
    return tmp_path


@pytest.mark.parametrize("place", ["my_project/networks.py", "my_project.networks"])
def test_arguments_of_the_function(sized: Path, place: str) -> None:
    model, card = ensembles.load(f"{place}:sized(depth=3)")
    assert len(ensembles.decompose(model, torch.randn(2, 3, 8, 8))) == 5
    assert "sized-depth-3" in card.name
    plain, _ = ensembles.load(f"{place}:sized", in_channels=1)
    assert plain(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    assert str(sized) not in sys.path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_project.networks:sized(3)", r"the arguments \(3\); expected names with plain values"),
        ("my_project.networks:sized(depth=open('x'))", "expected names with plain values"),
        ("my_project.networks:sized(width=2)", r"calling sized\(\) fails .*width"),
        ("my_project.nowhere:sized", "importing my_project.nowhere fails .*No module named"),
        ("my_project.networks:size", "has no function 'size'; there are sized"),
    ],
)
def test_wrong_calls_get_a_line(sized: Path, name: str, message: str) -> None:
    with pytest.raises(EnsemblesError, match=message):
        ensembles.load(name)


def test_a_card_or_a_study_imports_no_module(sized: Path) -> None:
    (sized / "s.toml").write_text(
        'name = "s"\n[[models]]\nname = "my_project.networks:sized"\n[[data]]\nname = "digits"\n'
        "limit = 4\n[[lesions]]\n"
    )
    found = run(read_study(sized / "s.toml"), sized / "s.db")
    assert "would run code of a Python file or module" in found.iloc[0]["reason"]
    assert "my_project.networks" not in sys.modules


def test_random_weights_are_a_seeded_control(capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.get_rng_state()
    first, card = ensembles.load("resnet20", "random:3", in_channels=1)
    again, _ = ensembles.load("resnet20", "random:3", in_channels=1)
    other, _ = ensembles.load("resnet20", "random", in_channels=1)
    assert torch.equal(torch.get_rng_state(), state) and not first.training
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(first(x), again(x)) and not torch.equal(first(x), other(x))
    assert card.name == "resnet20-random-3" and "never trained" in card.notes


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command_line, list(arguments))
    return result.exit_code, result.output


def test_the_card_says_the_architecture_of_a_checkpoint() -> None:
    code, out = invoke("inspect", "--checkpoint", "vgg15-digits")
    assert code == 0 and out.startswith("vgg15: 15 blocks")
    code, out = invoke("inspect", "--checkpoint", "random", "--in-channels", "1")
    assert code == 0 and out.startswith("resnet110: 54 blocks") and "images 1x32x32" in out
    code, out = invoke(
        "lesion", "--model", "resnet20", "--checkpoint", "random:1", "--limit", "4",
        "--blocks", "1-2",
    )  # fmt: skip
    assert code == 0 and "delete  2" in out


def test_a_file_without_a_card_needs_the_name_of_its_architecture(sized: Path) -> None:
    save_file({"a": torch.zeros(1)}, sized / "x.safetensors")
    result = CliRunner().invoke(command_line, ["inspect", "--checkpoint", "x.safetensors"])
    assert result.exit_code != 0
    assert "no card says its architecture; name it with --model" in str(result.exception)
