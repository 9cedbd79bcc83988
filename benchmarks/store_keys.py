"""What is the same result, and what is not: every way to change a network or its data a little.

    python benchmarks/store_keys.py                    # resnet20 and vgg15, every tensor
    python benchmarks/store_keys.py --every 40

A store holds a few lesions of a network on the digits. *Never a hit*: one bit of one number of each
parameter and buffer in turn; a setting of each layer in turn; another architecture, precision,
engine, version of the engine; other pixels, labels, normalisation, split, limit, order; each
lesion that was not measured. *A hit*: the weights from files of other names and formats (.pt, .th,
safetensors, wrapped, named as of DataParallel), the network cast or taken apart again.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from machine import describe as machine
from machine import parser
from safetensors.torch import save_file
from torch import Tensor, nn

import ensembles
from ensembles.data import ImageDataset
from ensembles.data.normalization import Normalization
from ensembles.lesions import Lesion, single_deletions
from ensembles.store import Store, description

LIMIT = 8
MEASURED = [Lesion("none"), Lesion("delete", (1,)), Lesion("delete", (2, 3))]


def images(split: str = "test", limit: int = LIMIT) -> ImageDataset:
    return ensembles.dataset("digits", split=split).limited(limit)


def network(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ensembles.create_model(name, num_classes=10).eval()


def apart(model: nn.Module) -> Any:
    return ensembles.decompose(model, next(images().batches(2))[0])


def missing(store: Store, net: Any, data: Any, wanted: list[Lesion], **options: Any) -> int:
    """How many lesions a store lacks of a network on data."""
    context, _ = description.describe(net, data, **options)
    return len(store.missing(context, wanted))


def flipped(value: Tensor) -> None:
    """Change the lowest bit of the number in the middle."""
    kinds = {4: torch.int32, 8: torch.int64}
    bits = value.detach().view(-1).view(kinds[value.element_size()])
    bits[len(bits) // 2] ^= 1


def tensors(model: nn.Module) -> list[str]:
    return [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]


def changed_settings(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network, each with one layer that works a little otherwise."""
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            other = copy.deepcopy(model)
            other.get_submodule(name).eps *= 1.001  # type: ignore[operator]
            yield f"eps of {name}", other


def changed_data(data: ImageDataset) -> Iterator[tuple[str, Any]]:
    """Other data."""
    source = data._source
    pixels, labels = source.images.clone(), data.labels.clone()
    pixels.view(-1)[7] ^= 1
    labels[3] = (labels[3] + 1) % 10
    reverse = torch.arange(len(labels) - 1, -1, -1)
    mean = [value * 1.0001 for value in data.normalization.mean]

    def made(source: Any, normalization: Normalization = data.normalization) -> ImageDataset:
        return ImageDataset(data.name, data.split, data.classes, source, normalization)

    yield "one pixel", made(replace(source, images=pixels))
    yield "one label", made(replace(source, labels=labels))
    yield "order", made(replace(source, images=source.images[reverse], labels=data.labels[reverse]))
    yield "normalisation", made(source, replace(data.normalization, mean=tuple(mean)))
    yield "limit", images(limit=LIMIT - 1)
    yield "split", images("train")


def saved(model: nn.Module, folder: Path) -> Iterator[Path]:
    """The weights in files of many kinds."""
    state = model.state_dict()
    forms: dict[str, Any] = {
        "plain.pt": state,
        "other name.th": state,
        "wrapped.pth": {"state_dict": state, "epoch": 3},
        "model.pt": {"model": state},
        "parallel.pt": {f"module.{name}": value for name, value in state.items()},
    }
    for name, content in forms.items():
        torch.save(content, folder / name)
        yield folder / name
    save_file(state, folder / "x.safetensors")
    yield folder / "x.safetensors"


def misses(store: Store, model: nn.Module, every: int) -> int:
    """Count changes, none of which may find a result."""
    net, data, tried = apart(model), images(), 0

    def never(what: str, net: Any = net, data: Any = data, **options: Any) -> None:
        nonlocal tried
        tried += 1
        assert missing(store, net, data, MEASURED, **options) == len(MEASURED), f"a hit: {what}"

    for name in tensors(model)[::every]:
        other = copy.deepcopy(model)
        flipped(other.state_dict()[name])
        never(name, apart(other))
    for what, other in list(changed_settings(model))[::every]:
        never(what, apart(other))
    for what, changed in changed_data(data):
        never(what, data=changed)
    for precision in ("bf16", "tf32", "fp64"):
        never(precision, precision=precision)
    never("engine", engine="direct")
    version = description.ENGINE_VERSION
    description.ENGINE_VERSION = version + 1
    never("engine version")
    description.ENGINE_VERSION = version
    others = [one for one in single_deletions(len(net)) if one not in MEASURED]
    others += [Lesion("duplicate", (1,)), Lesion("delete", (1, 2)), Lesion("delete", (2, 4))]
    assert missing(store, net, data, others) == len(others), "a hit: another lesion"
    return tried + len(others)


def hits(store: Store, name: str, model: nn.Module, folder: Path) -> int:
    """Count other ways to the same network, all of which must find the results."""
    data, found = images(), 0

    def always(what: str, net: Any, data: Any = data, **options: Any) -> None:
        nonlocal found
        found += 1
        assert missing(store, net, data, MEASURED, **options) == 0, f"a miss: {what}"

    for path in saved(model, folder):
        loaded, _ = ensembles.load(name, checkpoint=path)
        always(path.name, apart(loaded))
    always("taken apart again", apart(model), images())
    always("cast there and back", apart(copy.deepcopy(model).double().float()))
    always("another name", apart(model), model="other", about={})
    return found


def tried(name: str, folder: Path, every: int) -> str:
    model, path = network(name), folder / f"{name}.db"
    ensembles.lesion(apart(model), images(), MEASURED, store=path, device="cpu", progress=False)
    steps: list[Callable[[Store], int]] = [
        lambda store: misses(store, model, every),
        lambda store: hits(store, name, model, folder),
    ]
    with Store(path) as store:
        missed, found = (step(store) for step in steps)
    return f"{name}: {missed} changes never a hit, {found} other ways to the same always one"


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--models", nargs="*", default=["resnet20", "vgg15"])
    options.add_argument("--every", type=int, default=1, help="try every so many tensors only")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.models:
            print(tried(name, Path(folder), chosen.every), flush=True)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"failed: {error}")
