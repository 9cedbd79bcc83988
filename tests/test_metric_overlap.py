"""The overlap of the likeliest answers, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ensembles.metrics import METRICS, Answers


def test_the_overlap_of_the_likeliest_answers() -> None:
    overlap: Any = METRICS.get("overlap")
    intact = torch.arange(8.0).repeat(3, 1)
    output = intact.clone()
    output[1] = -output[1]  # the first five are the last five: two are in both
    output[2, 7] = -1
    answers = Answers.of(output, torch.zeros(3, dtype=torch.int64), intact)
    values = overlap.values(answers)
    assert values.tolist() == pytest.approx([1, 0.4, 0.8])
    few = Answers.of(output[:, :3], torch.zeros(3, dtype=torch.int64), intact[:, :3])
    assert overlap.values(few).tolist() == [1, 1, 1]
    assert overlap.chance(10) == {"overlap": 0.5} and overlap.chance(3) == {"overlap": 1}
    broken = Answers.of(
        torch.full((1, 8), torch.nan), torch.zeros(1, dtype=torch.int64), intact[:1]
    )
    assert overlap.added(broken).tolist() == [0]
