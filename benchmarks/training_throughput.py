"""Images per second of ``ensembles.training.train`` beside a bare loop, in one run.

    python benchmarks/training_throughput.py --model preresnet110 --threads 2

The bare loop is forward, cross-entropy, backward and step on one synthetic batch that is normalised
already, with the same network, precision, memory format and optimiser. The two take turns, so that
a busy machine slows both; the ratio is the median over the turns. Wanted: at least 0.85.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from ensembles.data import ImageDataset, Normalization
from ensembles.data.sources import MemorySource
from ensembles.models import create_model
from ensembles.training import Recipe, load_recipe, train


def synthetic(count: int) -> ImageDataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    source = MemorySource(images, torch.arange(count) % 10)
    classes = tuple("0123456789")
    return ImageDataset("synthetic", "train", classes, source, Normalization.parse("cifar10"))


def bare_loop(name: str, recipe: Recipe, steps: int, bf16: bool, device: torch.device) -> float:
    """Images per second of forward, backward and step."""
    model = create_model(name, num_classes=10).to(device).train()
    model = model.to(memory_format=torch.channels_last)
    images = torch.randn(recipe.batch_size, 3, 32, 32, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(recipe.batch_size, device=device) % 10
    optimizer = torch.optim.SGD(
        model.parameters(),
        recipe.learning_rate,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(images).float(), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    step()
    synchronize(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize(device)
    return steps * recipe.batch_size / (time.perf_counter() - started)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def library(name: str, recipe: Recipe, data: ImageDataset, precision: str, device: str) -> float:
    """Images per second of the second of two epochs, augmentation and all."""
    with tempfile.TemporaryDirectory() as folder:
        train(
            name,
            (data, None),
            out=folder,
            recipe=recipe,
            epochs=2,
            precision=precision,
            device=device,
        )
        with (Path(folder) / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
    return float(rows[-1]["images_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="preresnet110")
    parser.add_argument("--steps", type=int, default=8, help="per epoch and turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = replace(load_recipe("short"), batch_size=options.batch_size)
    data = synthetic(options.steps * options.batch_size)
    device, bf16 = torch.device(options.device), options.precision == "bf16"
    bare, ours = [], []
    for _ in range(options.rounds):
        bare.append(bare_loop(options.model, recipe, options.steps, bf16, device))
        ours.append(library(options.model, recipe, data, options.precision, options.device))
        print(f"bare {bare[-1]:7.1f} images/s   train {ours[-1]:7.1f} images/s", flush=True)
    ratio = statistics.median(one / other for one, other in zip(ours, bare, strict=True))
    print(
        f"{options.model}, batch {options.batch_size}, {options.precision}, {options.threads} "
        f"threads, {device}: bare {statistics.median(bare):.1f}, train "
        f"{statistics.median(ours):.1f} images/s, ratio {ratio:.3f}"
    )


if __name__ == "__main__":
    main()
