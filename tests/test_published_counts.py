"""Counts of a plain loop over edited modules, on public checkpoints and 500 spread test images.

`benchmarks/published_counts.py` does the same on all 10,000.
"""

from __future__ import annotations

import pytest

import ensembles
from ensembles.engine import count_correct, evaluate
from ensembles.lesions import intact, single_deletions

COUNTS = {
    "resnet20-12fca82f": "400 336 306 238 133 303 356 151 273 237",
    "resnet32-d509ac18": "404 127 214 290 372 351 255 390 380 389 383 282 358 354 367 372",
}
ROUNDING = 1  # counts that another processor's rounding may move


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_every_deletion_counts_as_the_plain_loop_did(name, assets, cifar_jpeg_test):
    model, _ = ensembles.load(name.partition("-")[0], assets / "checkpoints" / f"{name}.th")
    data = ensembles.dataset(cifar_jpeg_test, split="test", normalize="imagenet", limit=500)
    images, _ = next(data.batches(16))
    net = ensembles.decompose(model, images)
    sweep = [intact(), *single_deletions(len(net))]
    found = [outcome.correct for outcome in evaluate(net, data, sweep, device="cpu")]
    expected = [int(count) for count in COUNTS[name].split()]
    assert len(found) == len(expected)
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= ROUNDING
    assert abs(count_correct(model, data)[0] - expected[0]) <= ROUNDING
