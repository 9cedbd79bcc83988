"""Networks of torchvision, timm and our own: published numbers of blocks, and the table in docs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ensembles.decomposition import decompose

ROOT = Path(__file__).parent.parent


@pytest.fixture
def consistency(load_program):
    """The benchmark that builds networks with cheap random weights."""
    return load_program("consistency")


def examined(consistency, name, size, **arguments):
    """What the benchmark finds in one network."""
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return consistency.examine(
        consistency.Network(name, lambda: consistency.cheaply(name, **arguments), images)
    )


PUBLISHED = [
    ("torchvision:resnet50", 64, {"residual": 16}, 4),
    ("torchvision:resnet152", 64, {"residual": 50}, 4),
    ("torchvision:wide_resnet50_2", 64, {"residual": 16}, 4),
    ("torchvision:resnext50_32x4d", 64, {"residual": 16}, 4),
    ("torchvision:vit_b_16", 32, {"residual": 24}, 0),
    ("torchvision:convnext_tiny", 64, {"residual": 18}, 0),
    ("torchvision:swin_t", 64, {"residual": 24}, 0),
    ("torchvision:efficientnet_b0", 64, {"residual": 9}, 0),
    ("torchvision:googlenet", 64, {"parallel": 9}, 6),
    ("torchvision:inception_v3", 96, {"parallel": 11}, 5),
    ("timm:legacy_xception", 64, {"residual": 12}, 4),
    ("timm:inception_resnet_v2", 96, {"residual": 40}, 0),
    ("timm:resnetv2_50", 64, {"residual": 16}, 4),
    ("timm:mixer_b16_224", 32, {"residual": 24}, 0),
    ("timm:vit_small_patch16_224", 32, {"residual": 24}, 0),
    ("resnet20", 32, {"residual": 9}, 2),
    ("resnet56", 32, {"residual": 27}, 2),
    ("resnet110", 32, {"residual": 54}, 2),
    ("preresnet110", 32, {"residual": 54}, 3),
    ("preresnet164", 32, {"residual": 54}, 3),
    ("vgg15", 32, {"plain": 15}, 2),
]
_SMALL = {
    "torchvision:vit_b_16": {"image_size": 32},
    "timm:mixer_b16_224": {"img_size": 32},
    "timm:vit_small_patch16_224": {"img_size": 32},
}


@pytest.mark.parametrize(("name", "size", "kinds", "transitions"), PUBLISHED, ids=str)
def test_published_numbers_of_blocks(consistency, name, size, kinds, transitions):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    arguments = _SMALL.get(name, {})
    row = examined(consistency, name, size, **arguments)
    assert not row.problem
    assert (row.kinds, row.transitions) == (kinds, transitions)
    assert row.deletable == sum(kinds.values())


def test_vgg16_has_no_shortcut_and_sixteen_plain_blocks(consistency):
    model = consistency.cheaply("torchvision:vgg16")
    net = decompose(model, torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    layers = [type(model.get_submodule(block.name)) for block in net]
    assert layers == [torch.nn.Conv2d] * 13 + [torch.nn.Linear] * 3
    assert net.found == {"plain": 16}
    assert all(block.deletable for block in net)


@pytest.mark.slow
def test_the_deepest_network(consistency):
    row = examined(consistency, "resnet1202", 8)
    assert not row.problem and row.kinds == {"residual": 600}


def documented(consistency, library, budget):
    """Rows of the table in docs for networks with at most so many million parameters."""
    rows = consistency.rows_of(library)
    if not rows:
        pytest.skip("no table in docs/coverage.md: make it with benchmarks/consistency.py --write")
    return [
        (f"{library}:{row[1]}", int(row[3].rpartition("x")[2]), row[4], int(row[6]))
        for row in rows
        if float(row[2]) <= budget and int(row[3].rpartition("x")[2]) < 224
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("library", "budget"), [("torchvision", 12), ("timm", 12)])
def test_the_table_in_docs(consistency, library, budget):
    """A sample of the rows; benchmarks/consistency.py makes them all."""
    pytest.importorskip(library)
    rows = documented(consistency, library, budget)
    assert len(rows) > 20
    for name, size, blocks, transitions in rows[:: len(rows) // 8]:
        row = examined(consistency, name, size)
        assert (row.problem or row.blocks) == blocks.removeprefix("**no**: "), name
        assert row.transitions == transitions, name


def test_the_example_in_docs(capsys):
    text = (ROOT / "docs/decomposition.md").read_text()
    exec(compile(text.split("```python\n")[1].split("```")[0], "docs/decomposition.md", "exec"), {})
    assert capsys.readouterr().out == "9 layer2.0 (4, 7)\n"
