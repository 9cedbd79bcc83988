"""The expected time of a sweep: blocks that lesions share count once, heads each time."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import nn

import ensembles
from ensembles.engine.duration import expected_seconds
from ensembles.lesions import Delete, Intact


def test_runs_of_blocks_and_heads_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = ensembles.decompose(
        ensembles.create_model("gpt6", width=16, heads=2), torch.zeros(2, 5, dtype=torch.long)
    )
    clock = {"now": 0.0, "blocks": 0, "heads": 0}

    def blocks(*_: Any) -> None:
        clock["now"] += 2.0
        clock["blocks"] += 1

    def head(*_: Any) -> None:
        clock["now"] += 5.0
        clock["heads"] += 1

    monkeypatch.setattr(time, "perf_counter", lambda: clock["now"])
    handles = [block.branch.register_forward_hook(blocks) for block in net]
    handles.append(net.head.register_forward_hook(head))
    lesions = [Intact(), *(Delete((block,)) for block in range(1, 7))]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # each takes rows of its own
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    found = expected_seconds(net, torch.zeros(1, 5, dtype=torch.long), 3, lesions)
    for handle in handles:
        handle.remove()
    assert clock["blocks"] == 12 and clock["heads"] == 1
    # The intact run has 6 blocks; without block b, b itself and all behind it run anew.
    assert found == pytest.approx(2 * ((6 + 6 + 5 + 4 + 3 + 2 + 1) * 2.0 + 7 * 5.0))
    assert isinstance(net.head, nn.Module)
