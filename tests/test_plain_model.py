"""The count of right answers of a plain network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ensembles.data import dataset
from ensembles.engine import count_correct
from ensembles.errors import DataError, EvaluationError, UsageError
from ensembles.models import create_model


class Echo(nn.Module):
    """Logits that are the image's first values, whatever they are."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :3]


def test_each_image_is_counted_once_whatever_the_batches() -> None:
    images = torch.eye(3).repeat(4, 1).view(12, 3, 1, 1)
    labels = torch.tensor([0, 1, 2] * 3 + [1, 2, 0])
    for size in (1, 5, 12, 100):
        data = torch.utils.data.TensorDataset(images, labels)
        assert count_correct(Echo(), data, size) == (9, 12)


def test_a_model_of_several_inputs_is_counted_too() -> None:
    class Sum(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return left + right

    rows, nought, labels = torch.eye(3).repeat(2, 1), torch.zeros(6, 3), torch.tensor([0, 1, 2] * 2)
    for inputs in ((rows, nought), {"right": rows, "left": nought}):
        assert count_correct(Sum(), [(inputs, labels)], 4) == (6, 6)
    with pytest.raises(DataError, match=r"the model does not take images of 3 and 2: The size"):
        count_correct(Sum(), [((rows, nought[:, :2]), labels)])


def test_the_model_is_left_as_it_was() -> None:
    model = create_model("resnet20").train()
    model.get_submodule("bn1").eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    count_correct(model, dataset("digits", normalize="digits", limit=20))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_bf16_counts_nearly_the_same() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model("resnet20")
    data = dataset("digits", normalize="digits", limit=40)
    exact, _ = count_correct(model, data)
    rough, total = count_correct(model, data, precision="bf16")
    assert total == 40
    assert abs(exact - rough) <= 4


def test_logits_that_are_not_finite() -> None:
    images = torch.eye(3).view(3, 3, 1, 1)
    images[1, 0] = torch.inf
    images[2, 1] = torch.nan
    data = [(images, torch.tensor([0, 0, 1]))]
    with pytest.raises(EvaluationError, match="logits that are NaN or infinite on these images"):
        count_correct(Echo(), data)
    assert count_correct(Echo(), data, diverging=True) == (1, 3)


def test_what_cannot_be_counted() -> None:
    model, empty = create_model("resnet20"), [(torch.zeros(0, 3, 8, 8), torch.zeros(0).long())]
    with pytest.raises(DataError, match=r"the model does not take images of 1x8x8: Given groups"):
        count_correct(model, [(torch.zeros(2, 1, 8, 8), torch.zeros(2).long())])
    with pytest.raises(DataError, match="holds no image"):
        count_correct(model, empty)
    with pytest.raises(UsageError, match="device 'gpu'; expected auto"):
        count_correct(model, empty, device="gpu")
    with pytest.raises(UsageError, match="precision 'fp8'; expected fp32, tf32, bf16"):
        count_correct(model, empty, precision="fp8")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_model_on_the_cpu_is_counted_on_a_gpu() -> None:
    model = create_model("resnet20")
    data = dataset("digits", normalize="digits")
    there, total = count_correct(model, data, device="cuda")
    assert abs(there - count_correct(model, data)[0]) <= 2 and total == 359
    assert next(model.parameters()).device.type == "cpu"
