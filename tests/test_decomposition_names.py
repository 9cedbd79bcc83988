"""Blocks that the user names, and what is refused, each with one line."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES, build, conv, images_for, norm
from torch import nn

from ensembles.decomposition import decompose
from ensembles.errors import DecompositionError, EnsemblesError, ModelError, UsageError


@pytest.fixture(scope="module")
def model():
    return build([("post", 6, 1), ("pre", 8, 2), ("inception", 8, 1), ("plain", 8, 1)])


@pytest.fixture(scope="module")
def images(model):
    return images_for(model, 3)[0]


def refused(error, model, images, **arguments):
    """The one line that a call is refused with."""
    with pytest.raises(error) as caught:
        decompose(model, images, **arguments)
    message = str(caught.value)
    assert isinstance(caught.value, EnsemblesError)
    assert "\n" not in message and len(message) < 450
    return message


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [
        (["blocks.1"], ["residual"]),
        (["blocks.2", "blocks.0"], ["residual", "parallel"]),
        (r"blocks\.\d", ["residual", "residual", "parallel", "plain"]),
        (["stem", "blocks.3.conv", "classifier"], ["plain"] * 3),
        (["blocks.3", "blocks.2.three"][:1], ["plain"]),
    ],
)
def test_blocks_by_name(model, images, wanted, kinds):
    net = decompose(model, images, blocks=wanted)
    assert [block.kind for block in net] == kinds
    torch.testing.assert_close(net(images), model(images))
    if not isinstance(wanted, str):
        assert net.names == tuple(sorted(wanted, key=lambda name: list(
            dict(model.named_modules())).index(name)))  # fmt: skip


def test_named_blocks_follow_the_order_of_the_network(model, images):
    net = decompose(model, images, blocks=["classifier", "blocks.1", "stem"])
    assert net.names == ("stem", "blocks.1", "classifier")
    assert net.found == {"plain": 2, "residual": 1}


def test_several_blocks_within_one_name(model, images):
    net = decompose(model, images, blocks=["blocks"])
    assert [block.kind for block in net] == ["plain"]
    assert net.block(1).adaptation == "6 -> 8 channels, 8x8 -> 4x4"
    torch.testing.assert_close(net(images), model(images))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"blocks": ["block.1"]}, UsageError, "no module is called 'block.1'; did you mean blocks"),
        ({"blocks": []}, UsageError, "the list of blocks is empty; name one module or more"),
        ({"blocks": ["blocks.1", "blocks.1"]}, UsageError, "module 'blocks.1' is named twice"),
        ({"blocks": r"layer\d"}, UsageError, r"the expression 'layer\d' matches no module; names"),
        ({"blocks": "("}, UsageError, "'(' is no regular expression: missing ), unterminated"),
        ({"blocks": r"blocks(\.1)?"}, DecompositionError, "blocks and blocks.1 overlap; name one"),
        ({"blocks": ["blocks.1.conv1"]}, DecompositionError, "blocks.1.conv1 has no single entry"),
        ({"blocks": ["blocks.2.three"]}, DecompositionError, "blocks.2.three has no single entry"),
        ({"kinds": ["residul"]}, UsageError,
         "'residul'; expected one of residual, gated, two-stream, dense, parallel, fractal, plain, "
         "member; did you mean residual?"),
        ({"kinds": ["dense"]}, DecompositionError,
         "no block of dense was found (found: 2 residual, 1 parallel, 3 plain); name the blocks"),
        ({"kinds": []}, UsageError, "no kind of block is asked for; expected one or more of res"),
    ],
)  # fmt: skip
def test_names_and_kinds_that_cannot_be_meant(model, images, arguments, error, message):
    assert message in refused(error, model, images, **arguments)


class Connected(nn.Module):
    """A convolution, whatever the test puts there, and a classifier."""

    def __init__(self, body):
        super().__init__()
        self.conv1, self.conv2, self.head = conv(3, 4), conv(4, 4), nn.Linear(4, CLASSES)
        self.body = body

    def forward(self, x):
        x = self.body(self, self.conv1(x))
        return self.head(self.conv2(x).mean((2, 3)))


def test_control_flow_on_the_data(images):
    def body(model, x):
        return x * 2 if x.mean() > -1000 else x

    model = Connected(body).eval()
    torch.testing.assert_close(decompose(model, images)(images), model(images))  # it is a guard

    class Inner(nn.Module):
        def forward(self, x):
            return x if float(x[0].max()) > -1000 else -x

    inner = Inner()
    model = Connected(lambda model, x: model.inner(x))
    model.inner = inner
    text = refused(DecompositionError, model, images)
    assert "decides on the data in inner (float of a tensor)" in text


def test_chance_in_evaluation_mode(images):
    text = refused(DecompositionError, Connected(lambda model, x: F.dropout(x, 0.5)), images)
    assert "gives other logits for the same image when it runs again: it is random" in text
    assert "before the module conv2" in text

    class AlwaysDropping(nn.Dropout):
        def forward(self, x):
            return F.dropout(x, self.p)

    model = Connected(lambda model, x: model.drop(x))
    model.drop = AlwaysDropping()
    assert "it is random in the module drop;" in refused(DecompositionError, model, images)


@pytest.mark.parametrize("count", [1, 3])
def test_images_that_influence_each_other(images, count):
    text = refused(
        DecompositionError, Connected(lambda model, x: x - x.mean(0, keepdim=True)), images[:count]
    )
    assert "another logits" not in text and "when another one is beside it" in text
    assert "they part before the module conv2" in text
    model = Connected(lambda model, x: model.bn(x))
    model.bn = nn.BatchNorm2d(4, track_running_stats=False)
    text = refused(DecompositionError, model, images[:count])
    assert "they part in the module bn; expected images that do not influence each other " in text
    assert "(BatchNorm needs its running statistics)" in text


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda y: {"logits": [y]}, "returns a dict; expected logits of shape (3, classes)"),
        (lambda y: ([y], 1), "returns a tuple; expected logits of shape (3, classes)"),
        (lambda y: y.sum(), "returns a tensor of shape (); expected logits"),
        (lambda y: y.sum(1), "returns a tensor of shape (3,); expected logits"),
        (lambda y: y.sum(0, keepdim=True), "returns a tensor of shape (1, 5); expected logits"),
        (lambda y: y.T, "returns a tensor of shape (5, 3); expected logits"),
    ],
)
def test_outputs_that_are_no_logits(model, images, output, message):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return output(self.model(x))

    assert f"Wrapped {message}" in refused(DecompositionError, Wrapped(), images)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.zeros(3), "the example is a tensor of shape (3,); expected a tensor with the rows"),
        (
            torch.zeros(0, 3, 8, 8),
            "the example is a tensor of shape (0, 3, 8, 8); expected a tensor",
        ),
        ([1, 2], "the example is a list of int; expected a tensor with the rows in its first dim"),
        (torch.zeros(3, 8, 8), "does not accept an input of shape (3, 8, 8): "),
        (torch.zeros(2, 1, 8, 8), "does not accept an input of shape (2, 1, 8, 8): "),
    ],
)
def test_examples_that_do_not_fit(model, example, message):
    assert message in refused(DecompositionError, model, example)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(images, value):
    model = build([("post", 6, 1)])
    with torch.no_grad():
        model.blocks[0].conv1.weight[0, 0, 0] = value
    text = refused(ModelError, model, images)
    assert "blocks.0.conv1.weight holds 3 values that are not finite (of 324); expected" in text
    model = build([("post", 6, 1)])
    model.blocks[0].bn1.running_var[2] = value
    assert "blocks.0.bn1.running_var holds 1 values" in refused(ModelError, model, images)


def test_bounds_may_be_infinite_but_not_nan(images):
    model = build([("post", 6, 1)])
    model.register_buffer("bound", torch.tensor([float("-inf"), 1.0]))
    assert len(decompose(model, images)) == 1
    model.bound[1] = float("nan")
    assert "bound holds 1 values" in refused(ModelError, model, images)


def test_logits_that_are_not_finite(images):
    class Logarithm(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = build([("post", 6, 1)])

        def forward(self, x):
            return self.model(x).log()

    text = refused(ModelError, Logarithm(), images)
    assert "gives logits that are not finite for 3 of 3 images; check the weights and the" in text


def test_a_network_without_blocks(images):
    class Nothing(nn.Module):
        def forward(self, x):
            return x.flatten(1)

    assert "no block of any kind was found (found: none); name the" in refused(
        DecompositionError, Nothing(), images
    )


def test_logits_that_do_not_depend_on_the_images(images):
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(1, CLASSES))

        def forward(self, x):
            return self.logits.expand(len(x), -1)

    text = refused(DecompositionError, Constant(), images)
    assert "the logits do not depend on the images" in text


def test_a_model_that_cannot_be_copied(images):
    class Locked(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(192, CLASSES)

        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle 'lock' object")

        def forward(self, x):
            return self.head(x.flatten(1))

    text = refused(DecompositionError, Locked(), images)
    assert "Locked cannot be copied (cannot pickle 'lock' object); pass a model whose" in text


def test_what_neither_recording_nor_export_can_follow(images):
    def body(model, x):
        return torch.from_numpy(x.detach().numpy() * 2)

    text = refused(DecompositionError, Connected(body), images)
    assert "decides on the data in its forward (numpy of a tensor)" in text


def test_a_difference_names_its_place(monkeypatch, images):
    model = build([("post", 6, 1), ("pre", 8, 2)])

    def spoil(traced):
        with torch.no_grad():
            block = traced.get_submodule("blocks.1")
            block.conv1 = copy.deepcopy(block.conv1)
            block.conv1.weight.mul_(1.5)

    names = inspect.unwrap(decompose).__globals__
    real = names["simplify"]
    monkeypatch.setitem(names, "simplify", lambda t: (spoil(t), real(t)))
    text = refused(DecompositionError, model, images)
    assert (
        "the parts do not compute what the model computes: they part in the module blocks.1.conv1"
        in text
    )


def test_a_norm_without_statistics_for_one_image_is_fine(images):
    model = Connected(lambda model, x: x + model.norm(model.conv2(x)))
    model.norm = nn.InstanceNorm2d(4)
    model.bn = norm(4)
    net = decompose(model.eval(), images)
    assert [block.kind for block in net] == ["residual"]
    torch.testing.assert_close(net(images), model(images))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_that_are_no_python_any_more(images):
    model = build([("twice", 0, 1)])
    text = refused(DecompositionError, torch.jit.trace(model, images), images)
    assert "compiled by TorchScript, which hides its modules; pass the model that it was" in text
    fixed = torch.export.export(model, (images,)).module()
    text = refused(DecompositionError, fixed, images)
    assert f"takes {len(images)} rows and not one alone (Guard failed: " in text
    assert "exported with a dynamic batch" in text


def test_weights_without_values(images):
    model = build([("twice", 0, 1)])
    text = refused(ModelError, model.to("meta"), images)
    assert text == "stem.0.weight has no values yet; expected an initialised model"
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES))
    assert "1.weight has no values yet" in refused(ModelError, lazy, images)
