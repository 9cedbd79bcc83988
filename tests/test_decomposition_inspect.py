"""`ensembles inspect`: the table, the paths, the drawing."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree
from functools import partial

import pytest
import torch
from calls import called
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from networks import build, images_for

from ensembles.catalogue.structure import describe, inspected
from ensembles.decomposition import decompose
from ensembles.errors import UsageError
from ensembles.models import create_model
from ensembles.plots import plot_structure


@pytest.fixture
def call(capsys):
    """Run `ensembles inspect`; returns exit status, standard output and standard error."""

    return partial(called, capsys, "inspect")


def test_the_table_of_a_small_resnet(call):
    code, out, err = call("--model", "resnet20")
    lines = out.splitlines()
    assert code == 0 and not err
    assert lines[0] == "resnet20: 9 blocks, 269,722 parameters, images 3x32x32, 10 classes"
    assert lines[1].split() == [
        "block",
        "name",
        "kind",
        "shortcut",
        "in",
        "out",
        "layers",
        "parameters",
    ]
    assert lines[2].split() == [
        "1", "layer1.0", "residual", "identity", "16x32x32", "16x32x32", "2", "4,672",
    ]  # fmt: skip
    assert lines[5].split()[:4] == ["4", "layer2.0", "residual", "fixed"]
    assert "also found, not taken as blocks: 2 plain (--block-kinds takes them)" in lines
    assert "paths through the blocks: 2^9 = 512" in lines
    assert "   4  24.61 %  ########################################" in lines
    assert lines[-1].endswith("along every edge: 512, of 2 to 20 weight layers")


def test_the_same_as_json(call):
    code, out, _ = call("--model", "preresnet20", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["paths"] == 2**9
    assert found["lengths"] == {str(k): math.comb(9, k) for k in range(10)}
    assert [block["block"] for block in found["blocks"]] == list(range(1, 10))
    assert [block["shortcut"] for block in found["blocks"]][::3] == [
        "identity*",
        "fixed*",
        "fixed*",
    ]
    assert [block["transition"] for block in found["blocks"]] == [True, False, False] * 3
    assert found["blocks"][8]["in_shape"] == [64, 8, 8]


def test_kinds_names_and_sizes_can_be_chosen(call):
    code, out, _ = call("--model", "resnet20", "--block-kinds", "plain", "--image-size", "16")
    assert code == 0
    assert "conv1" in out and "images 3x16x16" in out and "3 -> 16 channels" in out
    assert "paths through" not in out
    code, out, _ = call("--model", "resnet20", "--block-names", r"layer[12]\.2")
    assert code == 0 and "2^2 = 4" in out
    assert [line.split()[1] for line in out.splitlines()[2:4]] == ["layer1.2", "layer2.2"]


def test_trained_weights_can_be_looked_at(call, tmp_path):
    from ensembles import create_model

    path = tmp_path / "mine.pt"
    torch.save(create_model("resnet20", num_classes=7).state_dict(), path)
    code, out, _ = call("--model", "resnet20", "--checkpoint", path)
    assert code == 0 and "7 classes" in out


def test_the_name_of_a_checkpoint_is_enough(call):
    code, out, _ = call("--model", "resnet110-digits")
    assert code == 0 and out.startswith("resnet110: 54 blocks, ")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--model", "smollm2"], 1, "did you mean smollm2-135m?"),
        (["--model", "resnet110-digit"], 1, "did you mean resnet110-digits"),
        (["--model", "resnet21"], 1, "unknown model 'resnet21'"),
        (["--model", "resnet20", "--image-size", "0"], 2, "image size 0; expected 1 or more"),
        (["--model", "resnet20", "--block-kinds", "dens"], 2, "kind of block 'dens'; expected one"),
        (
            ["--model", "resnet20", "--block-names", "x+"],
            2,
            "the expression 'x+' matches no module",
        ),
        (
            ["--model", "alexnet", "--image-size", "16"],
            1,
            "that it was made for (on the command line --image-size sets the size)",
        ),
        (["--model", "resnet20", "--draw", "a.bmp"], 2, "a.bmp"),
        (["--model", "resnet20", "--draw", "missing/a.svg"], 1, "missing"),
    ],
)
def test_what_cannot_be_done_is_one_line(call, arguments, status, message):
    code, out, err = call(*arguments)
    assert code == status and not out
    assert message in err and err.startswith("ensembles: ") and err.count("\n") == 1


def test_a_thousand_untrained_layers_do_not_overflow():
    net = inspected("preresnet1001", image_size=8)
    found = describe(net)
    assert found["paths"] == 2**333 and len(found["blocks"]) == 333


def test_random_choices_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    inspected("resnet20")
    assert torch.equal(torch.get_rng_state(), before)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(
    "plan",
    [
        [("post", 6, 1), ("pre", 8, 2), ("dense", 0, 1)],
        [("inception", 6, 1), ("shuffle", 0, 1), ("inception", 8, 2)],
        [("plain", 6, 1)] * 3,
        [("post", 6, 1)] * 70,
    ],
)
def test_a_drawing_names_every_part(plan):
    model = build(plan)
    net = decompose(model, images_for(model, 2)[0])
    found = texts(plot_structure(net))
    assert {"stem", "head"} <= set(found)
    numbers = [int(text) for text in found if text.isdigit() and int(text) <= len(net)]
    assert numbers[0] == 1
    if len(net) < 60:
        assert set(range(1, len(net) + 1)) <= set(numbers)
    shapes = [text for text in found if "x" in text]
    assert shapes[0] == "x".join(map(str, net.block(1).out_shape))


def test_ways_of_one_length_are_of_that_length(call):
    _, out, _ = call("--model", "vgg15")
    assert out.splitlines()[-1].endswith("along every edge: 1, of 15 weight layers")


def test_the_drawing_is_written(call, tmp_path):
    for ending in ("svg", "png", "pdf"):
        path = tmp_path / f"resnet.{ending}"
        code, _, err = call("--model", "resnet32", "--draw", path)
        assert code == 0 and err == f"wrote {path}\n"
        assert path.stat().st_size > 3000
    root = xml.etree.ElementTree.parse(tmp_path / "resnet.svg").getroot()
    words = " ".join(text for text in root.itertext() if text.strip())
    assert "resnet32: 15 residual blocks, 2^15 paths" in words
    assert "32x16x16" in words and "transition" in words


def test_a_drawing_takes_axes_a_name_colours_and_no_legend():
    net = decompose(create_model("resnet20"), torch.zeros(2, 3, 32, 32))
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert plot_structure(net, ax=left, labels=["mine"], colours=["#123456"]) is figure
    assert any(text.startswith("mine: 9 residual blocks") for text in texts(figure))
    painted = {to_rgba(patch.get_facecolor()) for patch in left.patches}
    assert to_rgba("#123456") in painted and left.get_legend() is not None
    assert not right.has_data() and not right.patches
    assert plot_structure(net, legend=False).axes[0].get_legend() is None
    with pytest.raises(UsageError, match="2 labels for 1"):
        plot_structure(net, labels=["one", "two"])
    with pytest.raises(UsageError, match="colours 'no'; expected names"):
        plot_structure(net, colours=["no"])
