"""Networks, trained and not, and rows of data, for `benchmarks/cancellation.py`."""

from __future__ import annotations

import copy
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from cancellation_training import NAMES, kept
from torch import Tensor, nn

import ensembles
from ensembles.checkpoints import list_checkpoints
from ensembles.checkpoints.text_subject import tokens_for
from ensembles.data.texts import open_text
from ensembles.decomposition import Decomposition
from ensembles.unravelling.measurement import prepared, with_batch_statistics
from ensembles.unravelling.token_streams import at_token, counting

__all__ = ["Case", "cases"]

IMAGES, CONTROL_IMAGES = 8, 4
WINDOWS, CONTROL_WINDOWS = 12, 4
SEEDS = (0, 1)
WEIGHTS = ("trained", *(f"{kind} {seed}" for kind in ("random", "permuted") for seed in SEEDS))
SMOLLM2 = "smollm2-135m"
CONTROLLED = (
    "resnet110-digits", "preresnet110-digits", "preresnet20-cifar10", "resnet44-014dd654.th",
    "vit12-digits",
)  # fmt: skip
"""Networks of images that are measured with other weights too."""

TOKENS = {SMOLLM2: 16}
_TOKENS = 64
_ASSETS = Path(os.environ.get("ENSEMBLES_ASSETS", "."))


@dataclass(frozen=True)
class Case:
    """One measurement: a network with some weights, and how its paths are taken.

    Attributes:
        group: "images" or "language".
        name: The network.
        weights: "trained", "random SEED" or "permuted SEED"; of a training "after N steps".
        rows: How many images or windows.
        tokens: Tokens of a window; the last is predicted, unless `token` is another.
        token: Which token is predicted; 0 for the last.
        counted: Which branches are counted.
        linearization: "derivatives" or "additive".
    """

    group: str
    name: str
    weights: str = "trained"
    rows: int = IMAGES
    tokens: int = 0
    token: int = 0
    counted: str = "all"
    linearization: str = "derivatives"

    @property
    def key(self) -> str:
        """A name of the case, for files."""
        words = (self.name, self.weights, self.tokens, self.token, self.counted)
        return "_".join(map(str, (*words, self.linearization, self.rows))).replace(" ", "-")


def cases(training: Path) -> Iterator[Case]:
    """All of them, the quick ones first."""
    gpt = Case("language", "gpt12", rows=WINDOWS, tokens=_TOKENS)
    yield from _of_language(gpt)
    yield replace(gpt, tokens=TOKENS[SMOLLM2])
    for name in NAMES:
        for steps in kept(training, name):
            yield replace(gpt, name=name, weights=f"after {steps} steps")
    images = [one.card.name for one in list_checkpoints() if one.place == "packaged"]
    images = [name for name in images if not name.startswith(("vgg", "gpt"))]
    public = sorted(path.name for path in (_ASSETS / "checkpoints").glob("resnet*.th"))
    for name in (*images, *public):
        yield Case("images", name)
    smol = Case("language", SMOLLM2, rows=WINDOWS, tokens=TOKENS[SMOLLM2])
    yield from _of_language(smol)
    for name in CONTROLLED:
        for weights in ("permuted 0", "random 0"):
            yield Case("images", name, weights, rows=CONTROL_IMAGES)


def _of_language(trained: Case) -> Iterator[Case]:
    yield trained
    yield replace(trained, linearization="additive")
    for weights in WEIGHTS[1:]:
        yield replace(trained, weights=weights, rows=CONTROL_WINDOWS)
    yield replace(trained, counted="attention")
    yield replace(trained, counted="mlp")


def opened(case: Case, training: Path) -> tuple[Decomposition, list[tuple[Tensor, Tensor]]]:
    """The network of a case in double precision, and its rows, one batch after the other."""
    build = _language if case.group == "language" else _images
    net, rows = build(case, training)
    return net, [(x.double(), y) for x, y in rows]


def _language(case: Case, training: Path) -> tuple[Decomposition, list[tuple[Tensor, Tensor]]]:
    net, windows = _language_net(case.name, case.tokens)
    net = copy.deepcopy(net)
    if case.weights.startswith("after"):
        steps = int(case.weights.split()[1])
        model = ensembles.create_model(case.name)
        model.load_state_dict(torch.load(kept(training, case.name)[steps]))
        net = ensembles.decompose(model, windows[:2])
    else:
        _other_weights(net, case.weights, _gpt_weights)
    chosen = windows[[i * len(windows) // case.rows for i in range(case.rows)]]
    twin, ((streams, right),) = at_token(net, chosen, case.token or None)
    net = prepared(counting(twin, case.counted), torch.device("cpu"), "fp64")
    return net, list(zip(streams.split(1), right.split(1), strict=True))


@cache
def _language_net(name: str, tokens: int) -> tuple[Decomposition, Tensor]:
    """A language model with its trained weights, and all windows of `prose`."""
    if name in NAMES and name != "gpt12":
        model, tokenizer = ensembles.create_model(name), None
    else:
        model, card = ensembles.load(name)
        tokenizer = tokens_for(card)
    data = open_text("prose", window=tokens, tokenizer=tokenizer)
    return ensembles.decompose(model, data.windows[:2]), data.windows


def _gpt_weights(parameter: Tensor, seed: torch.Generator) -> Tensor:
    """LeCun et al. 1998: deviations of sqrt(1 / inputs), gains of 1."""
    if parameter.ndim > 1:
        return parameter.shape[-1] ** -0.5 * torch.randn(parameter.shape, generator=seed)
    return torch.ones_like(parameter)


def _he_weights(parameter: Tensor, seed: torch.Generator) -> Tensor:
    """He et al. 2015: deviations of sqrt(2 / inputs), gains of 1."""
    if parameter.ndim > 1:
        deviation = (2 / parameter[0].numel()) ** 0.5
        return deviation * torch.randn(parameter.shape, generator=seed)
    return torch.ones_like(parameter)


@torch.no_grad()
def _other_weights(
    net: nn.Module, weights: str, draw: Callable[[Tensor, torch.Generator], Tensor]
) -> None:
    """Give a network random or permuted weights, in place; biases of random ones are zero."""
    kind, _, seed = weights.partition(" ")
    if kind == "trained":
        return
    chance = torch.Generator().manual_seed(int(seed))
    for name, parameter in net.named_parameters():
        if kind == "permuted":
            order = torch.randperm(parameter.numel(), generator=chance)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
        elif name.endswith("bias"):
            parameter.zero_()
        else:
            parameter.copy_(draw(parameter, chance))


def _images(case: Case, training: Path) -> tuple[Decomposition, list[tuple[Tensor, Tensor]]]:
    net, rows, labels = _image_net(case.name)
    net = copy.deepcopy(net)
    _other_weights(net, case.weights, _he_weights)
    net = prepared(net, torch.device("cpu"), "fp64")
    if case.weights != "trained" and any(
        isinstance(one, nn.modules.batchnorm._BatchNorm) for one in net.modules()
    ):
        net = with_batch_statistics(net, rows.double())
    chosen = [i * len(rows) // case.rows for i in range(case.rows)]
    return net, list(zip(rows[chosen].split(4), labels[chosen].split(4), strict=True))


@cache
def _image_net(name: str) -> tuple[Decomposition, Tensor, Tensor]:
    """A network for images with its trained weights, and 64 test images."""
    if name.endswith(".th"):
        depth = name.partition("-")[0]
        model, card = ensembles.load(depth, checkpoint=_ASSETS / "checkpoints" / name)
        data = ensembles.dataset(_cifar10(), normalize="imagenet")
    else:
        model, card = ensembles.load(name)
        where = "digits" if card.dataset == "digits" else _cifar10()
        data = ensembles.dataset(where, normalize=card.normalization)
    rows, labels = next(iter(data.limited(64).batches(64)))
    return ensembles.decompose(model, rows[:2]), rows, labels


@cache
def _cifar10() -> str:
    folder = tempfile.mkdtemp()
    with tarfile.open(_ASSETS / "data" / "cifar10-original-val.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder
