"""Every deletion of two public CIFAR-10 networks on 10,000 images, against a plain loop.

    ENSEMBLES_ASSETS=FOLDER python benchmarks/published_counts.py

The counts below were made elsewhere, by a plain loop over edited modules, on the JPEG copies of the
test images. `tests/test_published_counts.py` compares the same networks on 500 of these images.
Minutes on one core.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

import torch
from machine import describe, parser

import ensembles
from ensembles.data import ImageDataset
from ensembles.engine import count_correct, evaluate
from ensembles.lesions import intact, single_deletions

COUNTS = {
    "resnet20-12fca82f": "8103 6943 6448 4659 2441 6132 7096 2959 5509 4918",
    "resnet32-d509ac18": "8256 2499 4198 5871 7548 7103 5004 7997 7651 7953 7784 5402 7399 7280 "
    "7409 7422",
}
ROUNDING = 2  # counts that another processor's rounding may move


def main() -> None:
    chosen = parser(__doc__ or "").parse_args()
    torch.set_num_threads(chosen.threads)
    assets = Path(os.environ["ENSEMBLES_ASSETS"])
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(assets / "data" / "cifar10-jpeg-test.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        data = ensembles.dataset(folder, split="test", normalize="imagenet")
        for name, counts in COUNTS.items():
            expected = [int(count) for count in counts.split()]
            found = counted(assets / "checkpoints" / f"{name}.th", data)
            apart = max(abs(a - b) for a, b in zip(found, [expected[0], *expected], strict=True))
            print(f"{name}: {len(found)} counts of {len(data)} images, at most {apart} apart")
            if apart > ROUNDING:
                raise SystemExit(f"{name}: {found}; expected {expected}")


def counted(checkpoint: Path, data: ImageDataset) -> list[int]:
    """Right answers of the model, of the intact network, and without each block."""
    model, _ = ensembles.load(checkpoint.name.partition("-")[0], checkpoint)
    images, _ = next(data.batches(16))
    net = ensembles.decompose(model, images)
    sweep = [intact(), *single_deletions(len(net))]
    outcomes = evaluate(net, data, sweep, device="cpu")
    return [count_correct(model, data)[0], *(outcome.correct for outcome in outcomes)]


if __name__ == "__main__":
    main()
