"""Checkpoints from files and of the user's own: loaded, kept, measured, listed, removed."""

from __future__ import annotations

import json
import re
import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_values import drawn_resnet20, own_store, refusal, same
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

from ensembles import checkpoints
from ensembles.checkpoints import (
    Card,
    CheckpointWarning,
    Measured,
    add,
    build_with_weights,
    card_text,
    list_checkpoints,
    load,
    parse_card,
    read_card,
    remove,
    save_checkpoint,
    verify,
    write_card,
)
from ensembles.cli.checkpoints import checkpoints as command
from ensembles.data import dataset
from ensembles.engine import count_correct
from ensembles.errors import CheckpointError, UsageError
from ensembles.models import create_model

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of this test's own."""
    return own_store(tmp_path, monkeypatch)


@pytest.fixture
def model() -> nn.Module:
    return drawn_resnet20()


@pytest.fixture
def state(model: nn.Module) -> State:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def file(state: State, tmp_path: Path) -> Path:
    path = tmp_path / "their.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    return path


# Files from elsewhere ----------------------------------------------------------------------------


def test_a_file_gives_a_model_and_what_can_be_known(file: Path, model: nn.Module) -> None:
    loaded, card = load("resnet20", str(file))
    assert same(loaded, model)
    assert (card.name, card.architecture, card.num_classes) == ("their", "resnet20", 10)
    assert card.normalization is None
    assert card.size == file.stat().st_size
    assert len(card.sha256) == 64


def test_loading_draws_nothing_from_the_global_generator(file: Path) -> None:
    before = torch.random.get_rng_state()
    load("resnet20", file)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_card_beside_a_file_is_used(file: Path, model: nn.Module) -> None:
    card = Card("mine", "resnet20", 10, normalization="cifar10", sha256="0" * 64)
    write_card(card, file.with_suffix(".toml"))
    assert "is damaged or another file" in refusal(load, "resnet20", file)
    sha256 = checkpoints.file_sha256(file)
    write_card(Card("mine", "resnet20", 10, normalization="cifar10", sha256=sha256),
               file.with_suffix(".toml"))  # fmt: skip
    loaded, found = load("resnet20", file)
    assert found.normalization == "cifar10"
    assert same(loaded, model)
    assert "is of resnet20, not of resnet32" in refusal(load, "resnet32", file)
    assert "has 10 classes, asked for 7" in refusal(load, "resnet20", file, num_classes=7)


def test_a_single_flipped_bit_fails_the_sha256(model: nn.Module, store: Path) -> None:
    save_checkpoint(model, Card("mine", "resnet20", 10))
    path = store / "weights" / "mine.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "is damaged or another file: its sha256 starts with" in refusal(load, "mine")


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    assert refusal(load, "resnet56", "akamastr").endswith("did you mean cifar10-akamaster?")
    assert "no trained preresnet1001 comes with the package; none is known, train one" in refusal(
        load, "preresnet1001"
    )
    assert "cannot be read: No such file" in refusal(load, "resnet20", tmp_path / "none.pth")
    assert "unknown model 'resnet21'" in refusal(load, "resnet21")
    assert "did you mean smollm2-135m?" in refusal(load, "smollm2")
    assert "did you mean smollm2-135m?" in refusal(load, "smollm2", "random")
    assert "did you mean vgg15-digits" in refusal(load, "vgg15-digit")
    assert "is of resnet32, not of resnet20" in refusal(
        load, "resnet20", "resnet32-cifar10-akamaster"
    )


@pytest.mark.assets
@pytest.mark.parametrize(
    ("depth", "sha256", "correct"), [(20, "12fca82f", 8103), (32, "d509ac18", 8256)]
)
def test_public_files_classify_jpeg_images(
    assets: Path, cifar_jpeg_test: Path, depth: int, sha256: str, correct: int
) -> None:
    path = assets / "checkpoints" / f"resnet{depth}-{sha256}.th"
    model, card = load(f"resnet{depth}", path)
    assert card.name == f"resnet{depth}-cifar10-akamaster"
    data = dataset(cifar_jpeg_test, normalize=card.normalization, limit=500)
    right, total = count_correct(model, data)
    assert abs(right / total - correct / 10_000) < 0.03


# The store ---------------------------------------------------------------------------------------


def test_what_is_saved_loads_by_name(model: nn.Module, state: State, store: Path) -> None:
    card = save_checkpoint(model, Card("mine", "resnet20", 10, normalization="cifar10"))
    assert card.size == (store / "weights" / card.file).stat().st_size
    loaded, found = load("resnet20", "mine")
    assert found == card == load("mine")[1]
    assert same(loaded, model)
    assert [e.card.name for e in list_checkpoints("resnet20") if e.place == "user"] == ["mine"]
    assert not list(store.rglob("*.tmp"))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_half_precision_is_half_the_size_and_loads_as_single(model: nn.Module, store: Path) -> None:
    whole = save_checkpoint(model, Card("whole", "resnet20", 10))
    half = save_checkpoint(model, Card("half", "resnet20", 10), half=True)
    assert whole.size is not None and half.size is not None
    assert half.size < 0.55 * whole.size
    loaded, _ = load("half")
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    model.half().float()
    assert same(loaded, model)


def test_weights_that_overflow_half_precision_are_not_written(
    model: nn.Module, store: Path
) -> None:
    with torch.no_grad():
        model.get_submodule("conv1").weight[0] = 1e6
    assert "conv1.weight has" in refusal(
        save_checkpoint, model, Card("half", "resnet20", 10), half=True
    )
    assert not store.exists()


def test_a_broken_card_is_named(store: Path) -> None:
    (store / "cards").mkdir(parents=True)
    (store / "cards" / "a.toml").write_text("nonsense")
    assert "cards/a.toml is no TOML" in refusal(load, "a")
    (store / "cards" / "a.toml").write_text(card_text(Card("b", "resnet20", 10)))
    assert "names 'b', expected 'a'" in refusal(load, "a")


BAD_CARDS = {
    "nonsense": b"nonsense",
    "no UTF-8": b"\xff\xfe",
    "another name": card_text(Card("b", "resnet20", 10)).encode(),
    "long keys": b".".join([b"a"] * 29_000) + b" = 1",
    "deep arrays": b"a = " + b"[" * 9000 + b"]" * 9000,
    "a long number": b"num_classes = " + b"9" * 10_000,
    "large": b"# " * (1 << 20),
}


@pytest.mark.parametrize("text", BAD_CARDS.values(), ids=BAD_CARDS)
def test_a_bad_card_stops_nothing_and_can_be_removed(
    text: bytes, model: nn.Module, store: Path, recwarn: pytest.WarningsRecorder
) -> None:
    save_checkpoint(model, Card("good", "resnet20", 10))
    (store / "cards" / "a.toml").write_bytes(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert [e.card.name for e in list_checkpoints() if e.place == "user"] == ["good"]
    assert any("cards/a.toml" in str(one.message) for one in recwarn)
    assert [(v.name, v.state) for v in verify(["good", "a"])] == [("good", "good"), ("a", "bad")]
    assert "did you mean good?" in refusal(load, "resnet20", "goo")
    assert load("good")[1].name == "good"
    with pytest.raises(UsageError, match="a checkpoint 'a' is there already"):
        add("x.pt", "a", "resnet20", data="digits")
    assert remove("a") == [store / "cards" / "a.toml"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_weights_that_another_card_names_stay(model: nn.Module, store: Path) -> None:
    card = save_checkpoint(model, Card("mine", "resnet20", 10))
    write_card(replace(card, name="thief"), store / "cards" / "thief.toml")
    with pytest.warns(CheckpointWarning, match=r"mine\.safetensors stays: the cards of mine"):
        assert remove("thief") == [store / "cards" / "thief.toml"]
    assert same(load("mine")[0], model)
    write_card(replace(card, name="thief"), store / "cards" / "thief.toml")
    with pytest.raises(UsageError, match=r"mine\.safetensors holds the weights of thief: take ano"):
        save_checkpoint(model, card)
    assert len(remove("thief") + remove("mine")) == 3


def test_one_of_several_that_add_one_name_wins_whole(model: nn.Module, store: Path) -> None:
    models = [create_model("resnet20").eval() for _ in range(6)]
    lost = []

    def save(number: int) -> None:
        try:
            save_checkpoint(
                models[number], Card("one", "resnet20", 10, notes=str(number)), new=True
            )
        except UsageError as error:
            lost.append(str(error))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(save, range(6)))
    assert len(lost) == 5
    assert set(lost) == {"a checkpoint 'one' was added meanwhile: take another name"}
    loaded, card = load("one")
    assert same(loaded, models[int(card.notes)])


@pytest.mark.parametrize(
    "arguments",
    [{"depth": 100_000_004}, {"width": 10**9}, {"depth": 100_000_004, "width": 10**6}],
    ids=str,
)
def test_a_card_of_any_size_is_held_against_its_weights_first(
    arguments: dict[str, int], model: nn.Module, store: Path
) -> None:
    card = save_checkpoint(model, Card("large", "resnet20", 10))
    write_card(replace(card, arguments=arguments), store / "cards" / "large.toml")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refusal(load, "large")
    assert "does not fit resnet20" in message or "it is another one" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 << 10


def test_add_measures_and_keeps(file: Path, model: nn.Module) -> None:
    card = add(file, "mine", "resnet20", data="digits", normalize="digits", licence="CC0-1.0")
    correct, total = count_correct(model, dataset("digits", normalize="digits"))
    (measured,) = card.measured
    assert (measured.correct, measured.total, measured.dataset) == (correct, total, "digits")
    assert card.classes == tuple("0123456789")
    assert read_card(checkpoints.user_folder() / "cards" / "mine.toml") == card
    assert [v.state for v in verify(["mine"])] == ["good"]
    assert "is there already" in refusal(
        add, file, "mine", "resnet20", data="digits", normalize="digits"
    )
    assert len(remove("mine")) == 2
    assert "is called 'mine'" in refusal(remove, "mine")


def test_add_measures_on_each_data_set(file: Path, tmp_path: Path) -> None:
    for number, name in enumerate(dataset("digits").classes):
        image = Image.fromarray(np.full((32, 32, 3), 20 * number, np.uint8))
        (tmp_path / "mine" / "test" / name).mkdir(parents=True)
        image.save(tmp_path / "mine" / "test" / name / "0.png")
    card = add(file, "x", "resnet20", data=["digits", tmp_path / "mine"], normalize="digits")
    assert [(one.dataset, one.total) for one in card.measured] == [("digits", 359), ("mine", 10)]


def test_add_asks_for_what_it_cannot_know(file: Path, state: State, tmp_path: Path) -> None:
    assert "'resnet20' is the name of an architecture" in refusal(
        add, file, "resnet20", "resnet20", data="digits", normalize="digits"
    )
    assert "give normalize" in refusal(add, file, "mine", "resnet20", data="digits")
    assert "name is 'a b'" in refusal(
        add, file, "a b", "resnet20", data="digits", normalize="digits"
    )
    state["linear.weight"], state["linear.bias"] = torch.ones(3, 64), torch.ones(3)
    torch.save(state, tmp_path / "three.pt")
    assert "has 3 classes, digits has 10" in refusal(
        add, tmp_path / "three.pt", "mine", "resnet20", data="digits", normalize="digits"
    )
    assert not checkpoints.user_folder().exists()


def test_add_in_half_precision_measures_what_was_written(
    file: Path, state: State, tmp_path: Path, store: Path
) -> None:
    card_beside = Card(
        "mine", "resnet20", 10, normalization="digits", sha256=checkpoints.file_sha256(file),
        measured=(Measured("elsewhere", "test", 3, 4),),
    )  # fmt: skip
    write_card(card_beside, file.with_suffix(".toml"))
    folder = tmp_path / "packed"
    card = add(file, "mine", "resnet20", data="digits", half=True, folder=folder)
    path = folder / "weights" / "mine.safetensors"
    rounded = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    written = checkpoints.read_state_dict(path)
    assert written.keys() == rounded.keys()
    assert all(torch.equal(value, rounded[name]) for name, value in written.items())
    model, _ = build_with_weights("resnet20", rounded)
    data = dataset("digits", normalize="digits")
    counts = count_correct(model, data)
    assert card.measured == (Measured("digits", "test", *counts, content_hash=data.content_hash),)
    assert card.sha256 == checkpoints.file_sha256(path)
    assert read_card(folder / "cards" / "mine.toml") == card
    assert not store.exists()
    assert "is there already" in refusal(
        add, file, "mine", "resnet20", data="digits", folder=folder
    )


# The command line --------------------------------------------------------------------------------


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_list_and_show() -> None:
    table = run("list", "--model", "resnet110")
    assert "resnet110-cifar10-akamaster" in table
    assert "6.32 % (632 of 10,000 cifar10 test, by the publisher)  can be fetched" in table
    entries = json.loads(run("list", "--json"))
    assert {"card", "place", "path", "here"} == set(entries[0])
    shown = run("show", "resnet110-cifar10-akamaster")
    assert parse_card(shown).sha256 == "1d1ed7c2"
    assert json.loads(run("show", "resnet110-cifar10-akamaster", "--json"))["place"] == "public"


def test_add_verify_and_remove(file: Path) -> None:
    done = run(
        "add", str(file), "--name", "mine", "--model", "resnet20", "--dataset", "digits",
        "--normalize", "digits", "--limit", "40",
    )  # fmt: skip
    assert done.startswith("mine: ")
    assert "of 40 digits test" in done
    assert "mine" in run("list")
    assert run("verify", "mine").split() == ["mine", "user", "good"]
    path = Path(run("fetch", "mine").strip())
    path.write_bytes(path.read_bytes()[:-3])
    assert "is damaged or another file" in run("verify", "mine", code=1)
    assert json.loads(run("verify", "mine", "--json", code=1))[0]["state"] == "bad"
    assert len(json.loads(run("remove", "mine", "--json"))) == 2


def test_errors_reach_the_command_line() -> None:
    with pytest.raises(CheckpointError, match="no checkpoint or file is called 'nothing'"):
        run("show", "nothing")


def test_the_documentation_runs(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[1] / "docs" / "checkpoints.md").read_text()
    start = "$ ensembles checkpoints "
    whole = re.sub(r" \\\n +", " ", text)
    lines = [line.removeprefix(start) for line in whole.splitlines() if line.startswith(start)]
    assert len(lines) > 5
    for line in lines:
        run(*line.split())
    code = "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    exec(compile(code, "docs/checkpoints.md", "exec"), {})
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "269722"
    assert shown[1].startswith("mine.safetensors ")
