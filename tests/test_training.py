"""Training: recipes, interruption, cards, the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from trainings import DATA, QUICK, epochs_of, quick, squares

from ensembles.cards import Measured, read_card
from ensembles.checkpoints import file_sha256, load
from ensembles.data import ImageDataset
from ensembles.data.sources import MemorySource
from ensembles.engine import count_correct
from ensembles.errors import CheckpointError, EvaluationError, ModelError, OutputError, UsageError
from ensembles.models import create_model
from ensembles.training import (
    Recipe,
    list_recipes,
    load_recipe,
    train,
)
from ensembles.training.plan import trainer_options
from ensembles.training.training_data import open_data

# Recipes


def test_the_recipes_of_the_issue_are_there() -> None:
    assert list_recipes() == [
        "digits",
        "digits-adamw",
        "language",
        "large-batch",
        "memory",
        "paper",
        "progressive",
        "short",
    ]
    paper = load_recipe("paper")
    assert (paper.epochs, paper.milestones, paper.decay) == (164, (81, 122), 0.1)
    assert (paper.learning_rate, paper.momentum, paper.nesterov) == (0.1, 0.9, True)
    assert (paper.weight_decay, paper.batch_size) == (1e-4, 128)
    assert (paper.flip, paper.crop_padding) == (True, 4)
    assert not load_recipe("digits").flip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('schedule = "cosine"', 'schedule is \'cosine\'; expected "steps" or "one-cycle"'),
        ("batch_size = 1", "batch_size is 1; expected at least 2"),
        ("batch_size = 1.5", "batch_size is 1.5; expected a whole number"),
        ("momentum = true", "momentum is True; expected a number"),
        ("flip = 1", "flip is 1; expected true or false"),
        ("learning_rat = 1", "unknown key 'learning_rat'; known are "),
        ("milestones = [20, 10]", "milestones is (20, 10); expected rising epochs"),
        ("resolutions = [[0.5, 0.5], [0.2, 0.7]]", "a rising share of the epochs and a factor"),
        ("resolutions = [[0.5, 2.0]]", "a rising share of the epochs and a factor"),
        ("resolutions = [0.5]", "resolutions is [0.5]; expected a list of pairs of numbers"),
        ("learning_rate = nan", "learning_rate is nan; expected above 0"),
        ("learning_rate = ", "is no TOML"),
    ],
)
def test_a_bad_recipe_is_refused(tmp_path: Path, change: str, message: str) -> None:
    lines = {
        "description": '"x"',
        "epochs": "30",
        "batch_size": "8",
        "learning_rate": "0.1",
        "momentum": "0.9",
        "nesterov": "true",
        "weight_decay": "0",
        "schedule": '"steps"',
        "flip": "true",
        "crop_padding": "4",
    }
    key, _, value = change.partition(" = ")
    file = tmp_path / "mine.toml"
    file.write_text("\n".join(f"{k} = {v}" for k, v in (lines | {key: value}).items()))
    with pytest.raises(UsageError) as caught:
        load_recipe(file)
    assert "recipe mine" in str(caught.value)
    assert message in str(caught.value)


def test_more_processes_than_a_machine_has_room_for_are_refused() -> None:
    with pytest.raises(UsageError, match=r"1000000 processes on cpu; expected at most \d+"):
        trainer_options("cpu", 1_000_000, "fp32")


def test_a_missing_recipe_or_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no recipe 'papers';.*did you mean paper\?"):
        load_recipe("papers")
    (tmp_path / "part.toml").write_text('description = "x"\nepochs = 3\n')
    with pytest.raises(UsageError, match=r"recipe part: batch_size, learning_rate, .* missing"):
        load_recipe(tmp_path / "part.toml")


# One training


def test_a_training_leaves_weights_that_reach_the_error_of_their_card(tmp_path: Path) -> None:
    lines: list[str] = []
    result = quick(tmp_path, init=True, report=lines.append)
    card = read_card(result.card)
    model = create_model("preresnet20", num_classes=3)
    model.load_state_dict(load_file(result.weights))
    correct, total = count_correct(model, DATA[1])
    hashed = DATA[1].content_hash
    assert result.measured == Measured("squares", "test", correct, total, content_hash=hashed)
    assert card.measured == (result.measured,)
    assert (card.name, card.architecture) == ("preresnet20-squares", "preresnet20")
    assert (card.num_classes, card.arguments, card.classes) == (3, {}, ("a", "b", "c"))
    assert (card.seed, card.training["precision"]) == (3, "32-true")
    assert card.training["device"] == "cpu"
    assert "paths_only" not in card.training
    assert (card.recipe["batch_size"], card.recipe["milestones"]) == (16, [])
    assert (card.file, card.size) == ("preresnet20.safetensors", result.weights.stat().st_size)
    assert file_sha256(result.weights) == card.sha256
    assert result.initial is not None
    assert load_file(result.initial).keys() == load_file(result.weights).keys()
    assert card.training["initial_sha256"] == file_sha256(result.initial)
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss ")
    assert "ETA 0:00:00" in lines[1]


def test_the_checkpoint_store_loads_what_training_leaves(tmp_path: Path) -> None:
    result = quick(tmp_path)
    model, card = load("preresnet20", result.weights)
    assert card == read_card(result.card)
    assert result.measured is not None
    assert count_correct(model, DATA[1]) == (result.measured.correct, result.measured.total)


def test_a_folder_with_an_odd_name_gives_a_card(tmp_path: Path) -> None:
    data = tuple(
        ImageDataset("my data (2)", part.split, part.classes, MemorySource(*part.raw()),
                     part.normalization)
        for part in DATA
    )  # fmt: skip
    options = {"recipe": replace(QUICK, epochs=1), "device": "cpu", "precision": "fp32"}
    result = train("preresnet20", data, out=tmp_path, **options)  # type: ignore[arg-type]
    card = read_card(result.card)
    assert (card.name, card.dataset) == ("preresnet20-my-data-2", "my data (2)")


def test_a_network_learns(tmp_path: Path) -> None:
    recipe = replace(QUICK, epochs=8)
    result = train("preresnet20", DATA, out=tmp_path, recipe=recipe, device="cpu")
    assert result.measured is not None
    assert result.measured.error < 20


def test_one_seed_gives_the_same_weights_and_leaves_the_global_generator(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    first = quick(tmp_path / "first").weights.read_bytes()
    assert torch.equal(torch.get_rng_state(), before)
    assert quick(tmp_path / "again").weights.read_bytes() == first
    assert quick(tmp_path / "other", seed=4).weights.read_bytes() != first


@pytest.mark.parametrize("options", [{}, {"stochastic_depth": 0.5}], ids=["plain", "dropping"])
def test_an_interrupted_training_goes_on_to_the_same_weights(
    tmp_path: Path, options: dict[str, object]
) -> None:
    whole = quick(tmp_path / "whole", recipe=replace(QUICK, epochs=3), **options)

    def stop(line: str) -> None:
        if line.startswith("epoch 3/"):
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "cut", recipe=replace(QUICK, epochs=3), report=stop, **options)
    assert signal.getsignal(signal.SIGINT) is handler
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["last.ckpt"]
    lines: list[str] = []
    recipe = replace(QUICK, epochs=3)
    again = quick(tmp_path / "cut", recipe=recipe, resume=True, report=lines.append, **options)
    assert [line.split()[1] for line in lines] == ["3/3"]
    assert again.weights.read_bytes() == whole.weights.read_bytes()
    assert epochs_of(tmp_path / "cut") == epochs_of(tmp_path / "whole")
    done = quick(tmp_path / "cut", recipe=recipe, resume=True, report=lines.append, **options)
    assert lines[-1].startswith("already trained: ")
    assert done.measured == whole.measured


def test_a_training_starts_from_trained_weights(tmp_path: Path) -> None:
    first = quick(tmp_path / "first", init=True)
    trained = load("preresnet20", first.weights)
    second = quick(tmp_path / "second", start=trained, init=True)
    assert second.initial is not None
    initial, end = load_file(second.initial), load_file(first.weights)
    assert initial.keys() == end.keys()
    assert all(torch.equal(initial[name], end[name]) for name in end)
    card = read_card(second.card)
    assert card.training["started_from"] == trained[1].name
    assert card.training["started_from_sha256"] == file_sha256(first.weights)
    with pytest.raises(UsageError, match=r"with initial weights .* but None is asked for"):
        quick(tmp_path / "second", resume=True)
    wider = (squares(49, "train", 4), squares(30, "test", 4))
    with pytest.raises(UsageError, match=r"no preresnet20 for these images: 2 of its tensors"):
        train("preresnet20", wider, out=tmp_path / "third", recipe=QUICK, start=trained)


def test_resume_refuses_another_training_and_a_damaged_state(tmp_path: Path) -> None:
    quick(tmp_path)
    with pytest.raises(UsageError, match="already holds a training; give --resume"):
        quick(tmp_path)
    with pytest.raises(UsageError, match="holds a training with seed 3, but 5 is asked for"):
        quick(tmp_path, seed=5, resume=True)
    with pytest.raises(UsageError, match="with recipe batch_size 16, but 8 is asked for"):
        quick(tmp_path, recipe=replace(QUICK, batch_size=8), resume=True)
    state = tmp_path / "last.ckpt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"cannot read the state .*last\.ckpt"):
        quick(tmp_path, resume=True)


def test_a_diverging_training_says_so(tmp_path: Path) -> None:
    recipe = replace(QUICK, schedule="steps", learning_rate=1e30)
    with pytest.raises(EvaluationError, match=r"not finite in epoch 1: .* lower the learning rate"):
        quick(tmp_path, recipe=recipe)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "0 epochs; expected at least 1"),
        ({"device": "tpu"}, "device 'tpu'; expected auto, cpu"),
        ({"device": "cuda:97"}, "device 'cuda:97' is not there"),
        ({"devices": 0}, "0 devices of cpu"),
        ({"precision": "fp8"}, "precision 'fp8'; expected one of auto, fp32, bf16"),
        ({"recipe": "none"}, "no recipe 'none'"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        quick(tmp_path, **options)
    assert message in str(caught.value)


def test_data_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"classes of the test images \(a, b, "):
        open_data((squares(20, "train"), squares(20, "test", classes=2)), None, None)
    with pytest.raises(ModelError, match="vgg15 does not take images of 3x8x8: "):
        train("vgg15", DATA, out=tmp_path, recipe=QUICK, device="cpu")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError, match="cannot use the folder"):
        quick(blocked / "below")


def test_a_folder_is_normalised_by_its_own_pixels(tmp_path: Path) -> None:
    from PIL import Image

    for split, split_levels in {"train": (0, 255), "test": (51, 204)}.items():
        for name, level in zip("ab", split_levels, strict=True):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (8, 8), (level, 102, number)).save(folder / f"{number}.png")
    training, test = open_data(tmp_path, None, None)
    assert training.normalization.mean[:2] == (0.5, 0.4)
    assert training.normalization.std[:2] == (0.5, 1.0)
    assert test is not None
    assert test.normalization == training.normalization
    with pytest.raises(UsageError, match="has no part for testing"):
        open_data(tmp_path / "train", None, None)


# Files


_KILLED = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import torch, lightning.pytorch
torch.set_num_threads(1)
from trainings import quick, QUICK
from dataclasses import replace
out, kills = Path(sys.argv[1]), int(sys.argv[2])
draw = random.Random(0)
for number in range(kills + 1):
    child = os.fork()
    if not child:
        try:
            quick(out, recipe=replace(QUICK, epochs=4), resume=True, init=True)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(3)
    if number < kills:
        time.sleep(draw.uniform(0.0, 1.0))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL), status
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    recipe = replace(QUICK, epochs=4)
    whole = quick(tmp_path / "whole", recipe=recipe)
    cut = tmp_path / "cut"
    subprocess.run(
        [sys.executable, "-c", _KILLED, str(cut), "20", str(Path(__file__).parent)],
        check=True,
        timeout=280,
    )
    assert (cut / "preresnet20.safetensors").read_bytes() == whole.weights.read_bytes()
    assert not list(cut.glob(".*"))


# Command line


def test_the_command_trains_and_prints_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ensembles.cli.train import train as command

    options = ["--model", "preresnet20", "--recipe", "digits", "--epochs", "1", "--limit", "64"]
    command.main(
        [*options, "--out", str(tmp_path), "--init", "--device", "cpu"],
        "train",
        standalone_mode=False,
    )
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("error ")
    assert "359 test images right" in lines[0]
    assert lines[1:] == [
        str(tmp_path / f"preresnet20{ending}")
        for ending in (".safetensors", ".toml", ".init.safetensors")
    ]
    assert printed.err.startswith("epoch 1/1  loss ")


def test_the_initial_weights_go_where_they_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "before.safetensors"
    result = quick(tmp_path / "run", init=file)
    assert result.initial == file
    trained, before = load_file(result.weights), load_file(file)
    assert trained.keys() == before.keys()
    assert not torch.equal(trained["conv1.weight"], before["conv1.weight"])
    assert read_card(result.card).training["initial_sha256"] == file_sha256(file)
    with pytest.raises(UsageError, match=r"before\.pt: expected a file that ends in .safetensors"):
        quick(tmp_path / "other", init=tmp_path / "before.pt")


def test_a_finished_training_may_still_be_asked_for_its_initial_weights(tmp_path: Path) -> None:
    plain = quick(tmp_path)
    assert "initial_sha256" not in read_card(plain.card).training
    again = quick(tmp_path, init=True, resume=True)
    assert again.initial is not None
    assert read_card(again.card).training["initial_sha256"] == file_sha256(again.initial)
    assert read_card(again.card).sha256 == file_sha256(plain.weights)


def test_ctrl_c_ends_with_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ensembles.cli.train import train as command

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ensembles.training.train", interrupted)
    options = ["--model", "resnet20", "--out", str(tmp_path)]
    assert command.main(options, "train", standalone_mode=False) == 130
    assert "the same command with --resume goes on" in capsys.readouterr().err


def test_recipes_are_values() -> None:
    recipe = load_recipe("short")
    assert load_recipe(recipe) is recipe
    assert isinstance(recipe, Recipe)
    assert hash(recipe) == hash(load_recipe("short"))


def test_the_trainer_is_imported_only_to_train() -> None:
    code = "import sys, ensembles.training; print('lightning' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert found.stdout.strip() == "False"
