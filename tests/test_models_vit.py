"""The vision transformer against torch's own encoder layers with the same weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ensembles
from ensembles.errors import ModelError
from ensembles.models import create_model
from ensembles.models.vit import ViT


def reference(model: ViT, images: Tensor, width: int, heads: int, patch: int) -> Tensor:
    """Logits by unfolded patches and torch's encoder layers."""
    state = model.state_dict()
    patches = F.unfold(images, patch, stride=patch).transpose(1, 2)
    x = patches @ state["patches.weight"].flatten(1).T + state["patches.bias"] + state["places"]
    for layer in model.layers:
        theirs = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, partial(F.gelu, approximate="tanh"),
            batch_first=True, norm_first=True,
        )  # fmt: skip
        own = layer.state_dict()
        names = {
            "attention.norm": "norm1", "attention.outer": "self_attn.out_proj",
            "mlp.norm": "norm2", "mlp.inner": "linear1", "mlp.outer": "linear2",
        }  # fmt: skip
        moved = {
            f"{there}.{part}": own[f"{here}.{part}"]
            for here, there in names.items()
            for part in ("weight", "bias")
        }
        for part in ("weight", "bias"):
            moved[f"self_attn.in_proj_{part}"] = own[f"attention.inner.{part}"]
        theirs.load_state_dict(moved)
        x = theirs.train()(x)  # without dropout; in evaluation mode other kernels run
    y = F.layer_norm(x, (width,), state["norm.weight"], state["norm.bias"]).mean(1)
    return y @ state["head.weight"].T + state["head.bias"]


def test_it_equals_torch_layers() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = ViT(layers=2, width=12, heads=3, patch=4, size=16, num_classes=5).eval()
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.3)
        images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        expected = reference(model, images, 12, 3, 4)
        assert torch.allclose(model(images), expected, rtol=1e-4, atol=1e-5)


def test_its_blocks_are_attention_and_perceptron_by_turns() -> None:
    model = create_model("vit12", layers=2, width=8, heads=2).eval()
    net = ensembles.decompose(model, torch.randn(2, 3, 32, 32))
    assert net.names == tuple(f"layers.{n}.{part}" for n in (0, 1) for part in ("attention", "mlp"))
    assert {block.kind for block in net} == {"residual"} and not net.transitions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch": 5}, "patches of 5 do not fill an image of 32 pixels"),
        ({"heads": 5}, "5 heads do not share a width of 64 evenly"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        create_model("vit12", **arguments)
