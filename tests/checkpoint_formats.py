"""Files of weights in every format that is read, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ensembles.checkpoints import read_state_dict
from ensembles.errors import CheckpointError

State = dict[str, Tensor]
Save = Callable[[Any, Path], None]


def save_zip(content: Any, path: Path) -> None:
    """As torch writes today."""
    torch.save(content, path)


def save_legacy(content: Any, path: Path) -> None:
    """As torch wrote before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_safetensors(content: Any, path: Path) -> None:
    """As a safetensors file."""
    save_file({key: value.contiguous() for key, value in content.items()}, path)


torch_formats = pytest.mark.parametrize("save", [save_zip, save_legacy])
all_formats = pytest.mark.parametrize("save", [save_zip, save_legacy, save_safetensors])


def drawn_state(generator: torch.Generator) -> State:
    """Weights of several types, some of them none at all."""
    return {
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "bn.running_var": torch.rand(4, generator=generator),
        "bn.num_batches_tracked": torch.tensor(7),
        "half": torch.randn(5, generator=generator).half(),
        "empty": torch.zeros(0, 3),
    }


def refusal(path: Path) -> str:
    """The line in which a file is refused; it names the file."""
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def assert_equal(found: State, expected: State) -> None:
    """Hold that two mappings have the same tensors of the same types."""
    assert list(found) == list(expected) or set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


def pickled(*parts: bytes) -> bytes:
    """A pickle of the operations given."""
    return b"\x80\x02" + b"".join(parts) + b"."
