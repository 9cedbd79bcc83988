"""The cosine between the answers of a lesioned network and of the intact one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from networks import decomposable
from scipy.spatial.distance import cosine
from scipy.special import softmax

import ensembles
from ensembles.lesions import Delete, Intact, Scale
from ensembles.metrics import METRICS, Answers, Outcome

COSINE = METRICS.get("cosine")


def value(output: torch.Tensor, intact: torch.Tensor) -> float:
    answers = Answers.of(output, torch.zeros(len(output), dtype=torch.long), intact)
    state = COSINE.update(COSINE.zero(output.shape[1]), answers)
    found = Outcome(Intact(), len(output), int((~answers.finite).sum()), {"cosine": state})
    return float(found.row((COSINE,))["cosine"])


def test_it_is_that_of_another_library() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(9, 5, generator=generator) * scale for scale in (1, 6))
    wanted = [
        1 - cosine(softmax(a), softmax(b))
        for a, b in zip(one.double().numpy(), other.double().numpy(), strict=True)
    ]
    assert value(one, other) == pytest.approx(np.mean(wanted), rel=1e-6)


def test_known_values() -> None:
    certain = torch.tensor([[100.0, 0.0], [0.0, 100.0]])
    assert value(certain, certain) == 1
    assert value(certain, certain.flip(1)) == pytest.approx(0, abs=1e-20)
    assert value(torch.zeros(2, 2), certain) == pytest.approx(math.sqrt(0.5))
    broken = torch.tensor([[math.nan, 0.0], [0.0, 100.0]])
    answers = Answers.of(broken, torch.zeros(2, dtype=torch.long), certain)
    assert COSINE.update(COSINE.zero(2), answers).tolist() == [1.0]


def test_it_stands_in_a_table_beside_the_others() -> None:
    model = decomposable()
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    net = ensembles.decompose(model, images)
    data = [(images, torch.zeros(8, dtype=torch.long))]
    lesions = [Scale((2,), 1.0), Delete((1,))]
    table = ensembles.lesion(net, data, lesions, metrics=("cosine", "kl"))
    same, other = table.loc[table["lesion"] != "none", "cosine"]
    assert same == pytest.approx(1, abs=1e-6) and 0 < other < 1
