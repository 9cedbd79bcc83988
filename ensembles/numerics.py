"""Every numeric switch: reduced products, fused attention, seeds; each is put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = [
    "differentiable",
    "exact_attention",
    "exact_mathematics",
    "fastest_convolutions",
    "forked",
    "tf32",
]


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow TF32 to CUDA's products and convolutions, or keep it out."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    try:
        matmul.allow_tf32, cudnn.allow_tf32 = allowed, allowed
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def exact_mathematics(precision: str) -> AbstractContextManager[None]:
    """Allow TF32 only where it was asked for.

    Args:
        precision: "fp32", "tf32" or "bf16".
    """
    return tf32(precision == "tf32")


@contextmanager
def fastest_convolutions() -> Iterator[None]:
    """Let CUDA try its kernels for each shape of convolution that is new, and keep the fastest.

    Their sums are rounded differently, so which is chosen shows in the last digits.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def exact_attention() -> Iterator[None]:
    """Switch off the fused inference path of `nn.MultiheadAttention`, which has no derivative."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def differentiable() -> Iterator[None]:
    """Use forms of attention that have derivatives in both directions."""
    with exact_attention(), sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def forked(seed: int, devices: Sequence[int] = ()) -> Iterator[None]:
    """Draw from torch's own generators as they are after seeding, and leave them as they were.

    For what takes no generator, such as the initialisation of modules.

    Args:
        seed: Seed of the random draws within.
        devices: Numbers of the CUDA devices on which something is drawn too.
    """
    with torch.random.fork_rng(devices=list(devices)):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield
