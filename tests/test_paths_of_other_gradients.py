"""Paths follow the user's own autograd, or say why they do not; sums are held to the logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES
from torch import nn
from torch.utils.checkpoint import checkpoint

import ensembles
from ensembles.decomposition import decompose
from ensembles.errors import EnsemblesError, PathError

ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 0])


class Through(torch.autograd.Function):
    """Rounds, and has the derivative of the identity."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class TurnedInSome(torch.autograd.Function):
    """Turns the gradient round in rows that only some batches have."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.tanh(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        sign = 1 - 2 * (torch.arange(len(x)) == 2).to(g)[:, None]
        return g * (1 - torch.tanh(x) ** 2) * sign


class Bounded(Through):
    """Keeps values within bounds that the example does not reach; the gradient passes them."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(-20, 20)


class Modern(Through):
    """The same without a context in the forward."""

    @staticmethod
    def forward(x):
        return x.clamp(-20, 20)

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Nothing is kept."""


class Swish(torch.autograd.Function):
    """Has the derivative that its operations have."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return gradient * gate * (1 + x * (1 - gate))


class Chain(nn.Module):
    """Three residual blocks whose branch a given function computes."""

    def __init__(self, branch, classes=CLASSES):
        super().__init__()
        self.stem, self.head = nn.Linear(6, 4), nn.Linear(4, classes)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.branch = branch

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = x + self.branch(layer, x)
        return self.head(x)


def chain(branch, classes=CLASSES):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Chain(branch, classes).eval()


def gradient(model):
    rows = ROWS.clone().requires_grad_()
    loss = F.cross_entropy(model(rows), LABELS, reduction="sum")
    return torch.autograd.grad(loss, rows)[0]


def _part_without(layer, x):
    with torch.no_grad():
        shift = layer(x)
    return torch.tanh(layer(x)) * shift


def _hooked(layer, x):
    made = layer(x)
    made.register_hook(lambda gradient: gradient * 2)
    return torch.tanh(made)


def _clipped(layer, x):
    made = layer(x)
    made.register_hook(lambda gradient: gradient.clamp(-1e2, 1e2))
    return torch.tanh(made)


def _without(layer, x):
    with torch.no_grad():
        return torch.tanh(layer(x))


SAME = {
    "no_grad in a part": _part_without,
    "detached part": lambda layer, x: torch.tanh(layer(x)) * x.detach(),
    "through by detaching": lambda layer, x: layer(x) + (layer(x).round() - layer(x)).detach(),
    "exact function": lambda layer, x: Swish.apply(layer(x)),
    "checkpoint": lambda layer, x: checkpoint(
        lambda v: torch.tanh(layer(v)), x, use_reentrant=False
    ),
}
SAME["added to all"] = lambda layer, x: torch.tanh(layer(x)).mean(1, keepdim=True)
OTHER = {
    "straight through": (lambda layer, x: layer(Through.apply(x)), r"the custom function Through"),
    "some rows": (lambda layer, x: TurnedInSome.apply(layer(x)), r"custom function TurnedInSome"),
    "bounds": (lambda layer, x: Bounded.apply(layer(x)), r"Bounded in .* is 100 times that of the"),
    "bounds, modern": (
        lambda layer, x: Modern.apply(layer(x)),
        r"custom function Modern .* values",
    ),
    "clipped": (_clipped, r"a hook on a tensor"),
    "tensor hook": (_hooked, r"a hook on a tensor"),
    "no_grad": (_without, r"block 1 \(layers.0\) is not differentiable"),
    "inference": (torch.inference_mode()(_without), r"block 1 \(layers.0\) is not differentiable"),
}


def test_a_custom_function_is_left_as_it_is():
    before = dict(Bounded.__dict__)
    decompose(chain(lambda layer, x: Bounded.apply(layer(x))), ROWS)
    assert dict(Bounded.__dict__) == before


@pytest.mark.parametrize("kind", SAME)
def test_the_gradient_is_the_models_own(kind):
    model = chain(SAME[kind])
    net = decompose(model, ROWS)
    torch.testing.assert_close(gradient(net), gradient(model))
    frame = ensembles.paths(net, [(ROWS, LABELS)], images=4, signs=0, progress=False)
    assert frame.attrs["sum_error"] < 1e-5 and len(frame) == 4
    for asked in ({"at": "parameters 2"}, {"direction": "logits"}):
        frame = ensembles.paths(net, [(ROWS, LABELS)], images=4, signs=0, progress=False, **asked)
        assert frame.attrs["sum_error"] < 1e-5


@pytest.mark.parametrize("kind", OTHER)
def test_another_gradient_is_refused_for_paths_alone(kind):
    branch, message = OTHER[kind]
    net = decompose(chain(branch), ROWS)
    assert len(ensembles.lesion(net, [(ROWS, LABELS)], progress=False)) == 4
    with pytest.raises(PathError, match=message):
        ensembles.paths(net, [(ROWS, LABELS)], images=4, signs=0, progress=False)


@pytest.mark.parametrize("register", ["full_backward_hook", "full_backward_pre_hook"])
def test_a_hook_on_the_gradient_is_named(register):
    model = chain(lambda layer, x: torch.tanh(layer(x)))

    def doubled(module, *gradients):
        return tuple(g * 2 for g in gradients[0])

    getattr(model.layers[1], f"register_{register}")(doubled)
    net = decompose(model, ROWS)
    with pytest.raises(PathError, match=r"\(a backward (pre-)?hook on layers.1\)"):
        ensembles.paths(net, [(ROWS, LABELS)], images=4, signs=0, progress=False)


class Signed(nn.Linear):
    """Reads the signs of its weights, which learn as if it read them."""

    def forward(self, x):
        return F.linear(x, ThroughSigns.apply(self.weight), self.bias)


class ThroughSigns(Through):
    @staticmethod
    def forward(ctx, x):
        return x.sign()


def test_another_gradient_of_weights_is_refused_where_it_is_asked_for():
    model = chain(lambda layer, x: torch.tanh(layer(x)))
    model.layers = nn.ModuleList(Signed(4, 4) for _ in range(2))
    net = decompose(model, ROWS)
    assert not any(weight.requires_grad for weight in net.parameters())
    assert all(weight.requires_grad for weight in model.parameters())
    asked = {"images": 4, "signs": 0, "progress": False}
    assert len(ensembles.paths(net, [(ROWS, LABELS)], **asked)) == 3
    with pytest.raises(PathError, match=r"another gradient of layers.\d.weight .* ThroughSigns"):
        ensembles.paths(net, [(ROWS, LABELS)], at="parameters 1", **asked)


def test_one_logit_has_no_gradient():
    net = decompose(chain(lambda layer, x: torch.tanh(layer(x)), 1), ROWS)
    with pytest.raises(EnsemblesError, match=r"gives (a single|one) logit"):
        ensembles.paths(net, [(ROWS, LABELS * 0)], images=4, signs=0, progress=False)


class Cancelling(nn.Module):
    """Blocks that undo their input, so that lengths cancel all the more the more there are."""

    def __init__(self, count, factor):
        super().__init__()
        self.stem, self.head = nn.Linear(6, 4), nn.Linear(4, CLASSES, bias=False)
        self.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(count))
        with torch.no_grad():
            for layer in self.layers:
                layer.weight.mul_(0.01).sub_(factor * torch.eye(4))

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x)


@pytest.mark.parametrize("direction", ["gradient", "logits"])
def test_lengths_that_cancel_are_told_in_double_precision_or_refused(direction):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mild, strong = Cancelling(14, 0.5).eval(), Cancelling(16, 1.0).eval()
    asked = {"direction": direction, "images": 4, "signs": 0, "progress": False}
    data = [(ROWS, LABELS)]
    for given in (data, iter(data)):
        frame = ensembles.paths(decompose(mild, ROWS), given, **asked)
        assert frame.attrs["provenance"]["precision"] == "fp64"
        assert frame.attrs["sum_error"] < 1e-6
    message = r"lengths cancel, the norms of the lengths sum to [\d.]+e\+\d+ times the norm"
    with pytest.raises(PathError, match=message):
        ensembles.paths(decompose(strong, ROWS), data, **asked)
    with torch.no_grad():
        for layer in strong.layers:
            layer.weight.copy_(-torch.eye(4))
    with pytest.raises(PathError, match=r"the norms of the lengths sum to .*, and their sum is 0"):
        ensembles.paths(decompose(strong, ROWS), data, **asked)


class Tokens(nn.Module):
    """Residual blocks on tokens in one of four layouts."""

    def __init__(self, layout):
        super().__init__()
        self.embed, self.head = nn.Linear(2, 4), nn.Linear(4, CLASSES)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.layout = layout

    def forward(self, x):
        x = self.embed(x.unflatten(1, (3, 2)))
        if self.layout == "tokens first":
            x = x.transpose(0, 1)
        elif self.layout == "rows":
            x = x.flatten(0, 1)
        elif self.layout == "twice":
            x = torch.cat([x, x.flip(1)])
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        if self.layout == "tokens first":
            x = x.transpose(0, 1)
        elif self.layout == "rows":
            x = x.unflatten(0, (-1, 3))
        elif self.layout == "twice":
            one, two = x.chunk(2)
            x = torch.cat([one, two], 1)
        return self.head(x.mean(1))


@pytest.mark.parametrize("method", ["all", "exact"])
@pytest.mark.parametrize("layout", ["tokens first", "rows", "twice"])
def test_paths_are_the_same_in_every_layout(layout, method):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = Tokens("").eval()
    other = Tokens(layout).eval()
    other.load_state_dict(plain.state_dict())
    asked = {"images": 4, "signs": 0, "samples": 50, "progress": False, "method": method}
    asked["at"] = "input" if method == "all" else "block 2"
    frames = [
        ensembles.paths(decompose(model, ROWS), [(ROWS, LABELS)], **asked)
        for model in (plain, other)
    ]
    if layout == "twice" and method == "exact":  # a gradient for each copy of the image
        frames[0]["gradient_coherent"] /= 2**0.5
    for column in ("gradient_coherent", "gradient_mean"):
        one, two = (torch.tensor(frame[column].to_numpy()) for frame in frames)
        torch.testing.assert_close(one, two, equal_nan=True, rtol=1e-4, atol=1e-7)
