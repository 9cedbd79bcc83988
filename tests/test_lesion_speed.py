"""What the benchmark of sweeps counts: operations."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from calls import LoadProgram
from torch.utils.flop_counter import FlopCounterMode

import ensembles
from ensembles.decomposition import walk


@pytest.fixture
def lesion_speed(load_program: LoadProgram) -> ModuleType:
    return load_program("lesion_speed")


@torch.no_grad()
def test_operations_are_those_of_the_blocks_behind_each_lesion(lesion_speed: ModuleType) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ensembles.create_model("resnet20").eval()
    images, labels = torch.randn(8, 3, 8, 8), torch.arange(8)
    net = ensembles.decompose(model, images)
    with FlopCounterMode(display=False) as counter:
        net(images)
    whole = counter.get_total_flops()
    costs = []
    for _, x, _ in walk(net, images):
        block = net.block(len(costs) + 1)
        with FlopCounterMode(display=False) as counter:
            block(x)
        costs.append(counter.get_total_flops())
    ends = 10 * 2 * 64 * len(images)  # the linear layer runs for each lesion again
    behind = sum(sum(costs[number:]) + ends for number in range(1, len(costs) + 1))
    assert lesion_speed.operations(net, images, labels) == whole + behind
