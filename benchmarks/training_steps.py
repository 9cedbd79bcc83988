"""Steps a second of ``ensembles.training.train``: one by one, and from CUDA graphs.

    python benchmarks/training_steps.py               # preresnet110, batches of 128, on a GPU
    python benchmarks/training_steps.py --model preresnet20 --batch-size 8 --steps 2 --epochs 2

Each contestant trains on synthetic images, augmentation and all. The first epoch warms up and
records; of the others the median is printed, and the spread. Without CUDA nothing is recorded,
and the two rows measure the same.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from ensembles.cards import read_card
from ensembles.data import ImageDataset, Normalization
from ensembles.data.sources import MemorySource
from ensembles.engine import choose_device, device_name
from ensembles.training import load_recipe, train

CONTESTANTS = {
    "one by one": {"graphs": False},
    "graphs": {},
}


def synthetic(count: int) -> ImageDataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    source = MemorySource(images, torch.arange(count) % 10)
    classes = tuple("0123456789")
    return ImageDataset("synthetic", "train", classes, source, Normalization.parse("cifar10"))


class Profile:
    """Kernels of the second epoch; called with one line an epoch."""

    def __init__(self) -> None:
        self.profiler = torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        )
        self.lines = 0

    def __call__(self, line: str) -> None:
        self.lines += 1
        if self.lines == 1:
            self.profiler.start()
        if self.lines == 2:
            self.profiler.stop()

    def table(self, steps: int) -> str:
        """Microseconds a step, calls a step and name of each kernel, the longest first."""
        kernels = sorted(
            (event for event in self.profiler.key_averages() if event.self_device_time_total),
            key=lambda event: -event.self_device_time_total,
        )
        whole = sum(event.self_device_time_total for event in kernels)
        calls = sum(event.count for event in kernels)
        lines = [f"{whole / steps:10.1f} {calls / steps:8.1f}  all"]
        lines += [
            f"{event.self_device_time_total / steps:10.1f} {event.count / steps:8.1f}  {event.key}"
            for event in kernels
        ]
        return "\n".join(lines) + "\n"


def measured(
    name: str, data: ImageDataset, options: argparse.Namespace, precision: str, contestant: str
) -> dict[str, object]:
    """Milliseconds a step of one contestant."""
    recipe = replace(load_recipe("paper"), batch_size=options.batch_size)
    profile = Profile() if options.profile else None
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            name,
            (data, None),
            out=folder,
            recipe=recipe,
            epochs=options.epochs,
            precision=precision,
            device=options.device,
            stochastic_depth=options.stochastic_depth,
            report=profile,
            **CONTESTANTS[contestant],  # type: ignore[arg-type]
        )
        with (Path(folder) / "history.csv").open() as file:
            rates = [float(row["images_per_second"]) for row in csv.DictReader(file)]
        said = read_card(result.card).training.get("cuda_graphs", "no CUDA")
    if profile is not None:
        Path(f"{options.profile}-{precision}-{contestant.replace(', ', '-')}.txt").write_text(
            profile.table(options.steps)
        )
    steps = [1000 * options.batch_size / rate for rate in rates[1:]]
    return {
        "model": name,
        "batch": options.batch_size,
        "precision": precision,
        "steps": contestant,
        "ms": statistics.median(steps),
        "least": min(steps),
        "most": max(steps),
        "first_epoch_s": options.steps * options.batch_size / rates[0],
        "all_s": time.perf_counter() - began,
        "graphs": said,
    }


def main(arguments: list[str] | None = None) -> list[dict[str, object]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="preresnet110")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precisions", default="bf16")
    parser.add_argument("--contestants", default=";".join(CONTESTANTS), help="parted by ;")
    parser.add_argument("--stochastic-depth", type=float, default=0.0)
    parser.add_argument("--json", help="a file for the rows")
    parser.add_argument("--profile", help="begin of the names of files with the times of kernels")
    options = parser.parse_args(arguments)
    if options.epochs < 2:
        parser.error("--epochs: expected at least 2; the first one warms up")
    device = choose_device(options.device)
    print(f"{device_name(device)}, torch {torch.__version__}, {options.steps} steps an epoch")
    data = synthetic(options.steps * options.batch_size)
    rows = []
    for precision in options.precisions.split(","):
        for contestant in options.contestants.split(";"):
            row = measured(options.model, data, options, precision, contestant)
            rows.append(row)
            print(
                f"{row['model']}  batch {row['batch']}  {precision}  {contestant:18}"
                f"{row['ms']:8.2f} ms a step ({row['least']:.2f} to {row['most']:.2f})  "
                f"first epoch {row['first_epoch_s']:.1f} s  graphs: {row['graphs']}",
                flush=True,
            )
            if options.json:
                Path(options.json).write_text(json.dumps(rows, indent=1))
    return rows


if __name__ == "__main__":
    main()
