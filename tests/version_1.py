"""The store that version 1 of the program made, with what it said was in it.

`data/store-version-1.db` and `data/store-version-1.json` were made once, with version 1 (the commit
`0ae38eb`) installed in place of this program, in an empty folder, by

    PYTHONPATH=VERSION_1:TESTS python -m version_1 FOLDER

and are never made again. They hold two small networks and `resnet110` on eight digits: lesions of
all kinds that there were, drawn and by themselves, with and without predictions, one whose logits
are not finite, one that failed, one that a process was measuring, path analyses of both directions,
a study with a unit that failed, and notes. The weights and images are whole numbers over 1024, so
that any version of torch makes the same ones.
"""

from __future__ import annotations

import base64
import json
import platform
import sqlite3
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

DATA = Path(__file__).parent / "data"
STORE, CONTENTS = DATA / "store-version-1.db", DATA / "store-version-1.json"
CLASSES, IMAGES = 5, 12


class Block(nn.Module):
    """A residual block with BatchNorm."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)
        self.last = nn.Conv2d(out, out, 1, bias=False)
        self.project = None if width == out else nn.Conv2d(width, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.project is None else self.project(x)
        return torch.relu(shortcut + self.last(torch.relu(self.bn(self.conv(x)))))


class Join(nn.Module):
    """Two roads and their mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.a(x), torch.relu(self.b(x))]).mean(0)


class Network(nn.Module):
    """Two equal blocks, a transition, and two more."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4, 4), Block(4, 4), Block(4, 6), Block(6, 6), Block(6, 6))
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Roads(nn.Module):
    """Blocks in which two roads meet; without its first block it overflows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, CLASSES)
        self.blocks = nn.Sequential(Join(4), Join(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Squares(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * x)


class Overflowing(nn.Module):
    """Without its first block, the logits are not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, CLASSES)
        self.weigh, self.square = nn.Conv2d(4, 4, 1, bias=False), Squares()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) * 1e30
        x = x + self.weigh(-x)
        x = x + self.square(x)
        return self.head(x.mean((2, 3)))


def numbers(shape: tuple[int, ...], seed: int, low: int, high: int) -> Tensor:
    """Whole numbers from low to high - 1 that look drawn."""
    size = torch.Size(shape).numel()
    mixed = (torch.arange(1, size + 1) * 7919 + seed * 104729) % 1000003
    return (mixed * mixed % 1000003 % (high - low) + low).reshape(shape)


def weighted(model: nn.Module) -> nn.Module:
    """The network with weights that are whole numbers over 1024."""
    with torch.no_grad():
        for seed, (name, value) in enumerate(model.state_dict().items()):
            if name.endswith("num_batches_tracked"):
                continue
            low, high = (512, 1536) if name.endswith(("running_var", "bn.weight")) else (-700, 701)
            value.copy_(numbers(tuple(value.shape), seed, low, high) / 1024)
        if isinstance(model, Network):  # so that it does not find one class everywhere
            model.head.bias -= torch.tensor([7686, -9651, -6974, -12500, 9699]) / 1024
        if isinstance(model, Overflowing):
            model.weigh.weight.copy_(torch.eye(4)[:, :, None, None])
    return model.eval()


def network() -> nn.Module:
    return weighted(Network())


def decomposed(model: nn.Module | None = None) -> Any:
    """A network taken apart, by whichever version of the program is installed."""
    import ensembles

    example = numbers((2, 3, 8, 8), 3, -1024, 1025) / 1024
    return ensembles.decompose(model or network(), example)


def images() -> Any:
    """Images with labels that the network partly finds."""
    from ensembles.data import ImageDataset
    from ensembles.data.normalization import Normalization
    from ensembles.data.sources import MemorySource

    drawn = numbers((IMAGES, 3, 8, 8), 5, 0, 256)
    light = torch.arange(1, IMAGES + 1).reshape(-1, 1, 1, 1)
    pixels = (drawn * light // IMAGES).to(torch.uint8)
    labels = numbers((IMAGES,), 8, 0, CLASSES)
    classes = tuple(f"class {number}" for number in range(CLASSES))
    chosen = Normalization.parse("0.4/0.2")
    return ImageDataset("noise", "test", classes, MemorySource(pixels, labels), chosen)


def foreign() -> list[tuple[Tensor, Tensor]]:
    """The same, as batches of another make."""
    return list(images().batches(7))


# What follows runs with version 1 alone.


def lesions() -> list[Any]:
    from ensembles.lesions import (
        Lesion,
        intact,
        random_deletions,
        random_duplications,
        random_swaps,
        single_deletions,
    )

    return [
        intact(),
        *single_deletions(5),
        *random_deletions(5, [2, 3], 3, seed=1),
        *random_swaps([(1, 2), (4, 5)], [1, 2], 2, seed=4),
        *random_duplications(5, [1, 2], 2, seed=2, skip=[3]),
        Lesion("delete", (1, 2)),
        Lesion("delete", (1, 2), trial=7, seed=9),
    ]


def fill(path: Path) -> None:
    """Measure into a store."""
    import ensembles
    from ensembles.lesions import Lesion, intact, single_drops
    from ensembles.results.store import Store

    common: dict[str, Any] = {"device": "cpu", "progress": False}
    net, data, batches = decomposed(), images(), foreign()
    with Store(path) as store:
        common["store"] = store
        ensembles.lesion(net, data, lesions(), predictions=True, model="small", **common)
        ensembles.lesion(net, batches, engine="direct", precision="bf16", **common)
        ensembles.lesion(decomposed(weighted(Roads())), data, single_drops([2, 2]), **common)
        ensembles.lesion(decomposed(weighted(Overflowing())), data, predictions=True, **common)
        gradients = {"signs": 4, "samples": 6, "images": 3, "method": "all", "at": "blocks"}
        ensembles.paths(net, data, model="small", **gradients, **common)
        ensembles.paths(net, data, images=2, signs=0, precision="fp64", engine="general", **common)
        ensembles.paths(net, data, direction="logits", per_class=True, model="small", **common)
        ensembles.paths(net, batches, direction="logits", images=4, **common)
        context = store.contexts()[0]
        odd = [Lesion("duplicate", (k, k + 1, k + 2)) for k in (1, 2)]
        odd.append(Lesion("delete", (3, 4, 5)))
        store.ask(context, odd)
        run = store.begin({"command": "by hand", "device": "cpu"})
        add_by_hand(store, context, odd[0], run)
        store.fail(context, {odd[1]: "memory ran out on cpu for a single image"}, run)
        store.claim(context, [odd[2]])
        store.keep_note("plan", {"seeds": [1, 2], "ratio": 0.1, "none": None})
        store.keep_note("a text", "with ümlauts, 'quotes' and\nlines")
    assert intact() is not None


def add_by_hand(store: Any, context: Any, lesion: Any, run: int) -> None:
    """A program may add counts without those of each class, and a loss that is no number."""
    from ensembles.evaluation import Outcome

    store.add(context, [Outcome(lesion, 3, IMAGES, float("nan"))], run)


def study() -> Any:
    from ensembles.lesions import Choice
    from ensembles.results.path_options import PathOptions
    from ensembles.studies.values import Analysis, Images, Network, Study, Sweep

    return Study(
        "figures",
        models=(Network("resnet110"), Network("resnet110", checkpoint="none.pt", label="lost")),
        data=(Images("digits", limit=8),),
        lesions=(Sweep(Choice("delete", blocks="1-4")), Sweep(Choice("reorder", "1", 2))),
        paths=(Analysis(PathOptions(images=1, direction="logits")),),
        seeds=(0, 1),
    )


def told(store: Any) -> dict[str, Any]:
    """All that version 1 tells of its store."""
    return {
        "summary": store.summary(),
        "notes": dict(store.notes()),
        "contexts": [told_of(store, context) for context in store.contexts()],
        "rows": {
            table: store.connection.rows(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("runs", "lesions", "draws", "outcomes", "details", "failures", "claims",
                          "analyses", "path_rows", "notes")
        },
        "runs": store.connection.rows("SELECT token, provenance FROM runs ORDER BY id"),
    }  # fmt: skip


def told_of(store: Any, context: Any) -> dict[str, Any]:
    named = {f"{one.kind} {one.text}": found for one, found in store.lesions(context).items()}
    predicted = store.predictions(context).items()
    return {
        "digest": context.key.digest,
        "key": context.key.text,
        "about": context.about,
        "labels": base64.b64encode(context.labels).decode(),
        "lesions": {
            name: [one.correct, one.total, one.loss_sum, one.nonfinite, one.class_correct]
            for name, one in named.items()
        },
        "predictions": {f"{one.kind} {one.text}": found.tolist() for one, found in predicted},
        "drawn": sorted(map(list, store.drawn(context)), key=str),
        "failures": {f"{k.kind} {k.text}": why for k, why in store.failures(context).items()},
        "provenance": store.provenance(context),
        "frame": laid_out(store.frame(context)),
        "class_frame": laid_out(store.class_frame(context)),
        "paths": [laid_out(frame) for frame in store.path_frames(context)],
    }


def laid_out(frame: Any) -> dict[str, Any]:
    """A frame as JSON: the type and the values of each column, and its attributes."""
    missing = frame.astype(object).where(frame.notna(), None)
    return {
        "dtypes": {name: str(dtype) for name, dtype in frame.dtypes.items()},
        "columns": {name: missing[name].tolist() for name in frame.columns},
        "attrs": {name: value for name, value in frame.attrs.items() if name != "runs"},
    }


def main(folder: Path) -> None:
    from ensembles.results.store import Store
    from ensembles.studies.running import run

    sys.argv = ["version_1.py"]
    platform.node, platform.platform = lambda: "machine", lambda **_: "Linux"
    path = folder / STORE.name
    torch.set_num_threads(1)
    fill(path)
    run(study(), path, device="cpu", check=False, progress=False)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE claims SET expires = 0")
    raw.execute("VACUUM")
    raw.close()
    with Store(path, mode="r") as store:
        contents = told(store)
    text = json.dumps(contents, indent=1)
    (folder / CONTENTS.name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
