"""How long a sweep of lesions will take, from one row."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import Inputs
from ensembles.decomposition.walk import last_output, states
from ensembles.engine.prefix_tree import flat_keys, plan_routes
from ensembles.lesions import Lesion

__all__ = ["expected_seconds"]


def expected_seconds(
    net: Decomposition, row: Inputs, rows: int, lesions: Sequence[Lesion]
) -> float:
    """Seconds that lesions of all rows will take, by the time that the network takes for one.

    Threads run rows side by side, each alone, and so is the one row run.
    Runs of blocks that lesions share are counted once, and the head once for each lesion. What is
    alike for many rows at once, as on a GPU, is not known from one.

    Args:
        net: The network.
        row: One row, on the network's device.
        rows: How many there are.
        lesions: The lesions.
    """
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch.inference_mode():
            last_output(states(net, row))  # what is slow the first time alone
            before = time.perf_counter()
            last = last_output(states(net, row))
            between = time.perf_counter()
            net.head(last).log_softmax(-1)
            after = time.perf_counter()
    finally:
        torch.set_num_threads(threads)
    blocks = len(net)
    sequences = [flat_keys(one.program(blocks), frozenset(), frozenset()) for one in lesions]
    runs = sum(len(route.keys) - route.shared for route in plan_routes(sequences))
    shared = (between - before) * runs / blocks
    return math.ceil(rows / threads) * (shared + (after - between) * len(lesions))
