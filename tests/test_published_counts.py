"""Counts made elsewhere, with a plain loop over edited modules, on public checkpoints."""

from __future__ import annotations

import pytest

import ensembles
from ensembles.engine import evaluate
from ensembles.lesions import intact, single_deletions

COUNTS = {
    "resnet20-12fca82f": "8103 6943 6448 4659 2441 6132 7096 2959 5509 4918",
    "resnet32-d509ac18": "8256 2499 4198 5871 7548 7103 5004 7997 7651 7953 7784 5402 7399 7280 "
    "7409 7422",
}
ROUNDING = 2  # counts that another processor's rounding may move


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_every_deletion_counts_as_the_plain_loop_did(name, assets, cifar_jpeg_test):
    model, _ = ensembles.load(name.partition("-")[0], assets / "checkpoints" / f"{name}.th")
    data = ensembles.dataset(cifar_jpeg_test, split="test", normalize="imagenet")
    images, _ = next(data.batches(16))
    net = ensembles.decompose(model, images)
    sweep = [intact(), *single_deletions(len(net))]
    found = [outcome.correct for outcome in evaluate(net, data, sweep, device="cpu")]
    expected = [int(count) for count in COUNTS[name].split()]
    assert len(found) == len(expected)
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= ROUNDING
