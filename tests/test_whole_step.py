"""Whole steps, recorded and replayed, are the steps that are run one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from calls import LoadProgram
from safetensors.torch import load_file
from torch import Tensor
from trainings import DATA, QUICK, quick, squares

from ensembles.cards import read_card
from ensembles.cuda_graphs import Recorder, Reruns
from ensembles.models import create_model
from ensembles.models.identity_mappings import ConstantScaling, ExclusiveGating, ShortcutGating
from ensembles.models.parts import ResidualBlock, residual_blocks
from ensembles.training import TrainingResult, train
from ensembles.training.left_out import LeftOut, branch_tensors

UNEVEN = (squares(42, "train"), DATA[1])
"""Two batches of 16 and one of 10."""

ADAMW = replace(QUICK, optimizer="adamw", learning_rate=2e-3, nesterov=False)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recorder | None], None]:
    """Chooses what records whole steps on the CPU."""

    def choose(recorder: Recorder | None) -> None:
        monkeypatch.setattr(
            "ensembles.training.lightning_trainer.recorder_for", lambda device: recorder
        )

    return choose


def weights(result: TrainingResult) -> dict[str, Tensor]:
    return load_file(result.weights)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stochastic_depth": 0.5},
        {"paths_only": 3},
        {"precision": "bf16"},
        {"recipe": ADAMW, "paths_only": 3},
        {"recipe": replace(QUICK, resolutions=((0.5, 0.5),))},
    ],
    ids=["plain", "stochastic", "paths", "bf16", "adamw", "growing"],
)
def test_replayed_steps_give_the_weights_of_single_ones(
    tmp_path: Path, recorded: Callable[[Recorder | None], None], options: dict[str, Any]
) -> None:
    recipe = replace(options.get("recipe", QUICK), epochs=3)
    chosen = {"normalize": "cifar10"} | options | {"recipe": recipe}
    results = []
    for name, recorder in (("single", None), ("replayed", Reruns())):
        recorded(recorder)
        results.append(train("preresnet20", UNEVEN, out=tmp_path / name, device="cpu", seed=3,
                             **{"precision": "fp32"} | chosen))  # fmt: skip
    single, replayed = map(weights, results)
    for name in single:  # a rate in a tensor is rounded, and AdamW divides by small numbers
        atol = 1e-4 if recipe.optimizer == "adamw" else 0
        torch.testing.assert_close(replayed[name], single[name], rtol=0, atol=atol)
    said = [read_card(result.card).training.get("cuda_graphs") for result in results]
    assert said == [None, "replayed"]


def test_language_models_are_trained_in_whole_steps_too(
    tmp_path: Path, recorded: Callable[[Recorder | None], None]
) -> None:
    results = []
    for name, recorder in (("single", None), ("replayed", Reruns())):
        recorded(recorder)
        results.append(train("gpt6", "prose", out=tmp_path / name, device="cpu", precision="fp32",
                             epochs=1, limit=20, window=8))  # fmt: skip
    single, replayed = map(weights, results)
    for name in single:
        torch.testing.assert_close(single[name], replayed[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("first_whole", [True, False])
def test_a_training_goes_on_in_the_other_way(
    tmp_path: Path, recorded: Callable[[Recorder | None], None], first_whole: bool
) -> None:
    recipe = replace(QUICK, epochs=3)
    options: dict[str, Any] = {"recipe": recipe, "stochastic_depth": 0.5}
    recorded(None)
    whole = quick(tmp_path / "whole", **options)

    def stop(line: str) -> None:
        if line.startswith("epoch 3/"):
            raise KeyboardInterrupt

    recorded(Reruns() if first_whole else None)
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "cut", report=stop, **options)
    recorded(None if first_whole else Reruns())
    again = quick(tmp_path / "cut", resume=True, **options)
    assert again.weights.read_bytes() == whole.weights.read_bytes()


class Refusing(Reruns):
    """Records nothing."""

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        raise RuntimeError("operation not permitted")


def test_steps_that_cannot_be_recorded_are_run_and_the_card_says_so(
    tmp_path: Path, recorded: Callable[[Recorder | None], None]
) -> None:
    plain = quick(tmp_path / "plain")
    recorded(Refusing())
    result = quick(tmp_path / "refused")
    assert result.weights.read_bytes() == plain.weights.read_bytes()
    said = read_card(result.card).training["cuda_graphs"]
    assert said == "not recorded: operation not permitted"


def test_graphs_can_be_declined(
    tmp_path: Path, recorded: Callable[[Recorder | None], None]
) -> None:
    recorded(Reruns())
    result = quick(tmp_path, graphs=False)
    assert "cuda_graphs" not in read_card(result.card).training


# Masks


@pytest.mark.parametrize("kind", [ConstantScaling, ExclusiveGating, ShortcutGating, "preresnet20"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_mask_is_a_branch_that_is_there_or_not(
    kind: type[ResidualBlock] | str, kept: bool, generator: torch.Generator
) -> None:
    if isinstance(kind, str):
        block: torch.nn.Module = residual_blocks(create_model(kind))[4]
        channels = 32
    else:
        block, channels = kind(4, 4, 1, False), 4  # type: ignore[arg-type]
    assert isinstance(block, ResidualBlock)
    block.eval()
    found = []
    for active in (kept, torch.tensor(kept)):
        block.branch_active = active
        x = torch.randn(2, channels, 4, 4, generator=generator.manual_seed(0)).requires_grad_()
        out = block(x)
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        found.append((out.detach(), gradient))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_what_branches_own_is_found() -> None:
    model = create_model("preresnet20").train()
    blocks = residual_blocks(model)
    owned = branch_tensors(model, blocks, torch.zeros(2, 3, 8, 8))
    names = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
    batch_norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    second = {"conv1.weight", "conv2.weight", *(f"bn2.{part}" for part in batch_norm)}
    first = {f"bn1.{part}" for part in batch_norm}
    for number, tensors in enumerate(owned):
        prefix = f"layer{number // 3 + 1}.{number % 3}."
        found = {names[id(tensor)].removeprefix(prefix) for tensor in tensors}
        assert found == (second if number % 3 == 0 else second | first), prefix
    assert model.training
    assert all(block.branch_active is True for block in blocks)


def test_what_is_left_out_is_put_back() -> None:
    weight = torch.arange(24.0).view(2, 3, 2, 2).to(memory_format=torch.channels_last)
    count, other = torch.tensor(3), torch.ones(5)
    held = LeftOut([[weight, count], [other]])
    for kept in (torch.tensor([True, False]), torch.tensor([False, True])):
        before = [tensor.clone() for tensor in (weight, count, other)]
        saved = held.copied()
        torch._foreach_add_([weight, count, other], 1)
        held.put_back(saved, kept)
        assert torch.equal(weight, before[0] + int(kept[0]))
        assert torch.equal(count, before[1] + int(kept[0]))
        assert torch.equal(other, before[2] + int(kept[1]))
        assert weight.is_contiguous(memory_format=torch.channels_last)


# On a GPU


@pytest.mark.parametrize(
    ("model", "precision", "how"),
    [
        ("preresnet20", "fp32", {}),
        ("preresnet20", "bf16", {}),
        ("preresnet20", "bf16", {"stochastic_depth": 0.5}),
        ("preresnet164", "fp32", {"paths_only": 3}),
    ],
    ids=["fp32", "bf16", "stochastic", "bottleneck"],
)
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_train_as_single_steps_do(
    tmp_path: Path, model: str, precision: str, how: dict[str, Any]
) -> None:
    recipe = replace(QUICK, epochs=6, learning_rate=0.01)
    losses = []
    for name, chosen in (("single", how | {"graphs": False}), ("replayed", how)):
        result = train(model, UNEVEN, out=tmp_path / name, recipe=recipe, seed=3, device="cuda",
                       precision=precision, **chosen)  # fmt: skip
        table = (tmp_path / name / "history.csv").read_text().splitlines()
        losses.append([float(line.split(",")[1]) for line in table[1:]])
        said = read_card(result.card).training.get("cuda_graphs")
        assert said == (None if name == "single" else "replayed")
    assert losses[1] == pytest.approx(losses[0], rel=0.05 if precision == "bf16" else 0.02)
    assert losses[0][-1] < losses[0][0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_training_changes_machines_both_ways(tmp_path: Path) -> None:
    recipe = replace(QUICK, epochs=6)

    def stopped(after: int) -> Callable[[str], None]:
        def stop(line: str) -> None:
            if line.startswith(f"epoch {after + 1}/"):
                raise KeyboardInterrupt

        return stop

    for place, after in (("cuda", 2), ("cpu", 3), ("cuda", 5)):
        with pytest.raises(KeyboardInterrupt):
            quick(tmp_path, recipe=recipe, resume=True, device=place, report=stopped(after))
    result = quick(tmp_path, recipe=recipe, resume=True, device="cpu")
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == list("123456")
    assert float(lines[-1].split(",")[1]) < float(lines[1].split(",")[1])
    assert "cuda_graphs" not in read_card(result.card).training


# The benchmark


def test_the_benchmark_measures_all_contestants(
    load_program: LoadProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = "--model preresnet20 --batch-size 2 --steps 2 --epochs 2 --device cpu --precisions fp32"
    rows = load_program("training_steps").main(tiny.split())
    assert [row["steps"] for row in rows] == ["one by one", "graphs"]
    for row in rows:
        assert 0 < row["least"] <= row["ms"] <= row["most"]
        assert row["graphs"] == "no CUDA"
    assert capsys.readouterr().out.count("ms a step") == 2
