"""The main work on a CUDA device: the same results as on the CPU."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import decomposable, images_for
from sweeps import chains, every_kind
from torch import nn
from torch.utils.data import TensorDataset

import ensembles
from ensembles.cards import read_card
from ensembles.cli import main
from ensembles.data import ImageDataset
from ensembles.decomposition import Decomposition
from ensembles.engine import Materials, evaluate
from ensembles.lesions import intact, parse_lesion, single_deletions
from ensembles.tables import read_frame
from ensembles.training import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SWEEP = [
    intact(),
    *single_deletions(54)[::6],
    parse_lesion("reorder", "5-9"),
    parse_lesion("duplicate", "3 7"),
]


def taken_apart(name: str, images: int = 64) -> tuple[Decomposition, ImageDataset]:
    model, _ = ensembles.load(name, "digits")
    data = ensembles.dataset("digits", split="test", limit=images)
    assert isinstance(model, nn.Module)
    return ensembles.decompose(model, next(data.batches(2))[0]), data


@pytest.fixture(scope="module")
def residual() -> tuple[Decomposition, ImageDataset]:
    return taken_apart("preresnet110")


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_trained_network_answers_as_on_the_cpu(
    residual: tuple[Decomposition, ImageDataset], precision: str
) -> None:
    net, data = residual
    frames = [
        ensembles.lesion(net, data, SWEEP, device=device, precision=how, progress=False)
        for device, how in (("cpu", "fp32"), ("cuda", precision))
    ]
    cpu, cuda = (frame["correct"].to_numpy(int) for frame in frames)
    allowed = {"fp32": 0, "tf32": 1, "bf16": 4}[precision]
    assert np.abs(cpu - cuda).max() <= allowed, (cpu, cuda)
    assert frames[1].attrs["provenance"]["device_name"] == torch.cuda.get_device_name()


ALONE = """
import json, sys
import torch
from torch.utils.data import TensorDataset
import ensembles
from ensembles.engine import evaluate
from ensembles.lesions import single_deletions

torch.cuda.set_per_process_memory_fraction(float(sys.argv[1]))
model, _ = ensembles.load("preresnet110", "digits")
digits = ensembles.dataset("digits", split="test")
net = ensembles.decompose(model, next(digits.batches(2))[0])
images, labels = next(digits.batches(len(digits)))
data = TensorDataset(images.repeat(8, 1, 1, 1), labels.repeat(8))
outcomes = evaluate(net, data, single_deletions(54)[:3], device="cuda", batch_size=len(data))
print(json.dumps({
    "correct": [outcome.correct for outcome in outcomes],
    "bytes": torch.cuda.max_memory_allocated(),
    "ran_out": torch.cuda.memory_stats()["num_ooms"],
}))
"""


def sweep_alone(share_of_memory: float) -> dict[str, Any]:
    """One batch of 2,872 images, in a process that holds nothing else on the device."""
    command = [sys.executable, "-c", ALONE, str(share_of_memory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_memory_that_runs_out_halves_the_batch() -> None:
    whole = sweep_alone(1.0)
    total = torch.cuda.get_device_properties(0).total_memory
    squeezed = sweep_alone(0.8 * whole["bytes"] / total)
    assert whole["ran_out"] == 0
    assert squeezed["ran_out"] > 0
    assert squeezed["correct"] == whole["correct"]


@pytest.mark.parametrize("name", ["small", "preresnet110"])
def test_level_order_with_graphs_is_direct_for_every_kind_of_lesion(
    residual: tuple[Decomposition, ImageDataset], name: str
) -> None:
    if name == "small":
        model = decomposable()
        images, labels = images_for(model, 45)
        net = ensembles.decompose(model, images[:2])
    else:
        net, digits = residual
        images, labels = next(digits.batches(45))
    data = TensorDataset(images, labels)
    given = Materials(
        net, reference=data, initial=net, sources=lambda _: net, device=torch.device("cuda")
    )
    sweep = every_kind(net, each=3)
    sweep += chains(sweep, net, count=6)
    for quiet, graphs in ((True, "yes"), (False, "no (noise is drawn for each batch)")):
        chosen = [one for one in sweep if "noise" not in str(one) or not quiet]
        options: dict[str, Any] = {
            "device": "cuda", "materials": given, "metrics": ("top1", "loss", "kl"),
        }  # fmt: skip
        told: dict[str, str] = {}
        fast = evaluate(net, data, chosen, batch_size=20, told=told, **options)
        slow = evaluate(net, data, chosen, engine="direct", **options)
        assert told == {"engine": "level", "graphs": graphs}
        for ours, oracle in zip(fast, slow, strict=True):
            assert ours.correct == oracle.correct, ours.lesion
            assert ours.states["loss"] == pytest.approx(oracle.states["loss"], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_answers_on_a_gpu_do_not_depend_on_how_a_sweep_is_cut(
    residual: tuple[Decomposition, ImageDataset], precision: str
) -> None:
    net, data = residual
    sweep = [intact(), *single_deletions(54)[::4], parse_lesion("reorder", "5-9")]
    how: dict[str, Any] = {"device": "cuda", "precision": precision, "predictions": True}
    whole = evaluate(net, data, sweep, **how)
    for cut, batch in ((3, 64), (5, 17), (len(sweep), 31)):
        parts = [sweep[place : place + cut] for place in range(0, len(sweep), cut)]
        found = [
            one for part in parts for one in evaluate(net, data, part, batch_size=batch, **how)
        ]
        for one, other in zip(found, whole, strict=True):
            assert np.array_equal(one.predictions, other.predictions), one.lesion  # type: ignore[arg-type]
            assert one.loss_sum == pytest.approx(other.loss_sum, rel=1e-9)


def test_a_sweep_of_one_device_is_continued_on_the_other(
    residual: tuple[Decomposition, ImageDataset], tmp_path: Path
) -> None:
    net, data = residual
    store = tmp_path / "study.db"
    first = ensembles.lesion(net, data, SWEEP[:5], device="cuda", store=store, progress=False)
    both = ensembles.lesion(net, data, SWEEP[:8], device="cpu", store=store, progress=False)
    assert both["correct"].tolist()[:5] == first["correct"].tolist()
    assert len(both) == 8


def test_path_spectra_are_those_of_the_cpu(residual: tuple[Decomposition, ImageDataset]) -> None:
    net, data = residual
    options = {"method": "all", "images": 2, "signs": 8, "samples": 8, "progress": False}
    cpu, cuda = (
        ensembles.paths(net, data, device=device, **options)  # type: ignore[arg-type]
        for device in ("cpu", "cuda")
    )
    assert cuda.attrs["sum_error"] < 1e-4
    for column in ("gradient_coherent", "gradient_rms", "gradient_mean"):
        expected = cpu[f"{column}_log10"].to_numpy(float)
        found = cuda[f"{column}_log10"].to_numpy(float)
        np.testing.assert_allclose(found, expected, atol=2e-3, err_msg=column)


def test_logits_by_length_are_those_of_the_cpu() -> None:
    net, data = taken_apart("resnet110", 4)
    cpu, cuda = (
        ensembles.paths(net, data, direction="logits", images=4, device=device, progress=False)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(cuda["logit_norm"], cpu["logit_norm"], rtol=1e-3, atol=1e-6)


def test_the_command_line_uses_the_device(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "lesions.csv"
    with pytest.raises(SystemExit) as stop:
        main(["lesion", "--model", "vgg15", "--dataset", "digits", "--limit", "32",
              "--device", "cuda", "--out", str(table)])  # fmt: skip
    assert stop.value.code == 0, capsys.readouterr().err
    frame = read_frame(table)
    assert len(frame) == 16
    assert frame.attrs["provenance"]["device_name"] == torch.cuda.get_device_name()


@pytest.mark.parametrize(
    "rule", [{}, {"stochastic_depth": 0.5}, {"paths_only": 7}], ids=["all", "stochastic", "paths"]
)
def test_training_learns_is_resumed_and_says_where(tmp_path: Path, rule: dict[str, float]) -> None:
    lines = io.StringIO()
    chosen = {"out": tmp_path, "recipe": "digits", "device": "cuda", **rule}
    result = train("preresnet20", epochs=8, report=lines.write, **chosen)  # type: ignore[arg-type]
    assert result.measured is not None
    assert result.measured.correct > 0.5 * result.measured.total
    card = read_card(result.card)
    assert card.training["precision"] == "bf16-mixed"
    assert card.training["device"] == torch.cuda.get_device_name()
    weights = result.weights.read_bytes()
    again = train("preresnet20", epochs=8, resume=True, **chosen)  # type: ignore[arg-type]
    assert again.weights.read_bytes() == weights
