"""The spectra of published architectures at their full width, with random weights.

Every path by itself is out of reach here, so the parts are held against each other: the sum over
lengths against autograd and the logits, and the shortest and the longest path, of which there is
one, by recursion, by random signs, and followed alone. With fewer channels, `test_family.py` does
so for every architecture of the field.
"""

from __future__ import annotations

import copy

import pytest
import torch

from ensembles.decomposition import decompose
from ensembles.models import create_model
from ensembles.unravelling.measurement import measure_gradients, measure_logits
from ensembles.unravelling.places import Place

INPUT = Place("input")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "blocks", "options"),
    [
        ("resnet50", 16, {}),
        ("convnext_tiny", 18, {}),
        ("vit_b_16", 24, {"image_size": 32}),
        ("swin_t", 24, {}),
        ("timm:mixer_s32_224", 16, {"img_size": 64}),
    ],
)
def test_the_sums_are_autograds_and_the_networks(
    name: str, blocks: int, options: dict[str, int]
) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model(name, num_classes=10, **options).eval()
        for weight in model.parameters():
            if not weight.any() and weight.ndim > 1:  # a classifier that begins at zero
                torch.nn.init.normal_(weight, std=0.02)
        image = torch.randn(1, 3, *[options.get("img_size", 32)] * 2)
    net = decompose(model, image)
    assert len(net) == blocks
    batch = [(image, torch.tensor([3]))]
    measured, error = measure_gradients(net, batch, [INPUT], exact=True, signs=2, samples=1)
    assert error is not None and error < 1e-4
    found = measured[INPUT]
    assert found.coherent is not None and found.signed is not None and found.drawn is not None
    # A ViT's classifier reads the class token, which no path without attention leads to.
    assert bool(torch.isneginf(found.coherent[0]).all()) == (name == "vit_b_16")
    assert torch.isfinite(found.coherent[1:]).all()
    for length in (0, -1):
        alone = found.drawn.norms[length, 0]
        assert torch.allclose(found.coherent[length, 0], alone, atol=1e-3)
        assert torch.allclose(found.signed.norms[length], alone, atol=1e-3)
    logits, error = measure_logits(net, batch)
    assert error < 1e-4
    assert torch.isfinite(logits.log2_norms).all()


@pytest.mark.parametrize(
    ("name", "size"),
    [("vit_tiny_patch16_224", 32), ("convnext_atto", 32), ("mixer_s32_224", 64)],
)
def test_the_sums_of_smooth_networks_in_both_precisions(name: str, size: int) -> None:
    pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {} if name.startswith("convnext") else {"img_size": size}
        model = create_model(f"timm:{name}", num_classes=10, **options).eval()
        for weight in model.parameters():
            if not weight.any() and weight.ndim > 1:  # a classifier that begins at zero
                torch.nn.init.normal_(weight, std=0.02)
        images = torch.randn(2, 3, size, size)
    net, labels = decompose(model, images), torch.tensor([3, 4])
    places = [INPUT, Place("block", 3), Place("parameters", 2)]
    for dtype, allowed in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        one, batch = copy.deepcopy(net).to(dtype), [(images.to(dtype), labels)]
        _, error = measure_gradients(one, batch, places, exact=True, signs=0, samples=0)
        assert error is not None and error < allowed
        assert measure_logits(one, batch)[1] < allowed
