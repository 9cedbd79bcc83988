"""Networks with a single logit, whose sign chooses between two classes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ensembles
from ensembles.engine import count_correct
from ensembles.errors import DataError, DataWarning, PathError
from ensembles.lesions import Delete


class Binary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 1)
        self.branches = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor, without: int = -1) -> Tensor:
        x = self.stem(x)
        for number, branch in enumerate(self.branches):
            x = x if number == without else x + branch(x.relu())
        logit: Tensor = self.head(x)
        return logit


@pytest.fixture
def measured() -> tuple[Binary, Tensor, Tensor]:
    torch.manual_seed(0)
    return Binary().eval(), torch.randn(40, 6), torch.randint(0, 2, (40,))


def test_counts_are_those_of_a_plain_loop(measured: tuple[Binary, Tensor, Tensor]) -> None:
    model, x, y = measured
    net = ensembles.decompose(model, x[:4])
    with torch.no_grad():
        logits = [model(x, without)[:, 0] for without in (-1, 1)]
    right = [int(((z > 0) == (y == 1)).sum()) for z in logits]
    loss = [float(F.binary_cross_entropy_with_logits(z, y.float())) for z in logits]
    for data in ([(x, y)], [(x, y[:, None].float())]):
        if data[0][1].ndim == 2:
            with pytest.warns(DataWarning, match=r"labels \(N, 1\) as \(N,\) and floating point"):
                frame = ensembles.lesion(net, data, [Delete((2,))], progress=False)
        else:
            frame = ensembles.lesion(net, data, [Delete((2,))], progress=False)
        assert list(frame.correct) == right
        assert list(frame.loss) == pytest.approx(loss)
    assert count_correct(model, [(x, y)]) == (right[0], 40)
    assert 0 < right[0] < 40


def test_other_labels_are_refused(measured: tuple[Binary, Tensor, Tensor]) -> None:
    model, x, y = measured
    net = ensembles.decompose(model, x[:4])
    with pytest.raises(DataError) as caught:
        ensembles.lesion(net, [(x, y + 1)], [Delete((2,))], progress=False)
    assert str(caught.value) == (
        "the data have a label 2, the network one logit, whose sign chooses between 2 classes (0 "
        "to 1); load a network with as many classes as the data; or they are counted from 1, then "
        "subtract 1"
    )
    with pytest.raises(PathError, match="gives a single logit; expected one for each class: let"):
        ensembles.paths(net, [(x, y)], progress=False)
