"""A module that is not taken apart: the analyses do it, or say which call to make."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from networks import build

import ensembles
from ensembles.errors import UsageError

DATA = [(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4) % 2)]


def test_a_module_gives_what_its_decomposition_gives() -> None:
    model = build([("post", 6, 1), ("post", 6, 1)])
    net = ensembles.decompose(model, DATA[0][0])
    assert len(net) == 2
    for call, options in (
        (ensembles.lesion, {}),
        (ensembles.paths, {"images": 2, "signs": 2}),
        (ensembles.path_ranges, {}),
    ):
        pd.testing.assert_frame_equal(
            call(model, DATA, device="cpu", **options),  # type: ignore[operator]
            call(net, DATA, device="cpu", **options),  # type: ignore[operator]
        )
    table = ensembles.analyze(model, DATA, "influence", device="cpu", resamples=20)
    assert list(table["block"]) == [1, 2]


def test_what_cannot_be_taken_apart_gets_the_call_to_make() -> None:
    model = build([("post", 6, 1)])
    with pytest.raises(UsageError, match=r"call ensembles\.decompose\(model, example\) with a"):
        ensembles.lesion(model, iter(DATA))
    with pytest.raises(UsageError, match="a str in place of a network; expected what"):
        ensembles.paths("resnet20", DATA)  # type: ignore[arg-type]
