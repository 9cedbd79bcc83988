"""Numeric switches are put back, whatever happens within, and seeds stay where they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import torch

from ensembles.numerics import (
    differentiable,
    exact_attention,
    exact_mathematics,
    forked,
    tf32,
)


def flags() -> tuple[bool, ...]:
    return (
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
    )


@pytest.fixture(params=[False, True])
def before(request: pytest.FixtureRequest) -> Iterator[tuple[bool, ...]]:
    """Both settings of the products; the flags as they are then."""
    old = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = request.param
    torch.backends.cudnn.allow_tf32 = not request.param
    yield flags()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = old


SWITCHES: dict[str, tuple[Callable[[], AbstractContextManager[None]], dict[int, bool]]] = {
    "tf32 on": (lambda: tf32(True), {0: True, 1: True}),
    "tf32 off": (lambda: tf32(False), {0: False, 1: False}),
    "fp32": (lambda: exact_mathematics("fp32"), {0: False, 1: False}),
    "tf32": (lambda: exact_mathematics("tf32"), {0: True, 1: True}),
    "attention": (exact_attention, {2: False}),
    "derivatives": (differentiable, {2: False, 3: False, 4: False}),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_are_put_back(name: str, before: tuple[bool, ...]) -> None:
    switch, expected = SWITCHES[name]
    with switch():
        assert {place: flags()[place] for place in expected} == expected
    assert flags() == before
    with pytest.raises(RuntimeError, match="within"), switch():
        raise RuntimeError("within")
    assert flags() == before


def test_a_forked_seed_is_no_global_one() -> None:
    expected = torch.randn(3, generator=torch.Generator().manual_seed(5))
    state = torch.get_rng_state()
    with forked(5):
        assert torch.equal(torch.randn(3), expected)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError, match="within"), forked(5):
        torch.randn(3)
        raise RuntimeError("within")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_forked_seed_reaches_the_devices_that_are_named() -> None:
    states = torch.get_rng_state(), torch.cuda.get_rng_state(0)
    with forked(5, [0]):
        first = torch.randn(3, device="cuda")
    with forked(5, [0]):
        assert torch.equal(torch.randn(3, device="cuda"), first)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(torch.cuda.get_rng_state(0), states[1])
