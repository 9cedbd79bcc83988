"""What a GPU does with sweeps of lesions, path spectra and training steps, as one table.

    python benchmarks/gpu.py --out results                 # everything, within --budget seconds
    python benchmarks/gpu.py --tiny                        # the same rows on tiny sizes, anywhere
    python benchmarks/gpu.py --rows equal,deletions        # some of the rows

Rows run in the order of their importance, each in a time of its own; what does not fit the budget
is left out and said. The table is printed and written (`gpu.md`, `gpu.json`) row by row, so that a
process that is killed loses one row. A time is the median of the rounds, with the least and the
most. Rates of "sample" rows are extrapolated: the plain loop from some of its networks to all, the
4,647 lesions from some images to 10,000. Without a file of the published lesions (`--plan`), as
many are drawn of each kind and size. Images are the digits over and over, for images of 224 pixels
noise; the times depend on neither.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from machine import describe
from torch import Tensor, nn

import ensembles
from ensembles.engine import choose_device, device_name, evaluate, pages, shared
from ensembles.engine import level as level_module
from ensembles.lesions import (
    Lesion,
    Structure,
    intact,
    random_deletions,
    random_duplications,
    random_swaps,
    read_plan,
    single_deletions,
)
from ensembles.numerics import exact_mathematics
from ensembles.reproduction.published import facts

_ENOUGH = 9.0
"""Seconds of one contestant, after which there is no further round."""

PRECISIONS = ("bf16", "fp32", "tf32")


@dataclass
class Row:
    """One line of the table."""

    name: str
    seconds: float | None = None
    least: float | None = None
    most: float | None = None
    value: str = ""
    note: str = ""

    @property
    def line(self) -> str:
        """As a row of Markdown."""
        spread = "" if self.least is None else f"{self.least:.3f} to {self.most:.3f}"
        median = "" if self.seconds is None else f"{self.seconds:.3f}"
        return f"| {self.name} | {median} | {spread} | {self.value} | {self.note} |"


@dataclass
class Bench:
    """What the rows share."""

    device: torch.device
    tiny: bool
    rounds: int
    plan: str | None
    images: int
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those that the device has."""
        return PRECISIONS if self.device.type == "cuda" else ("fp32", "bf16")

    def network(self, name: str) -> tuple[nn.Module, Any, Tensor, Tensor]:
        """A packaged network, as it is and taken apart, and images of digits."""
        if name not in self.kept:
            if self.tiny:
                model = ensembles.create_model(name.replace("110", "20"))
            else:
                model, _ = ensembles.load(name, "digits")
            digits = ensembles.dataset("digits", split="test")
            images, labels = next(digits.batches(len(digits)))
            net = ensembles.decompose(model, images[:2])
            times = math.ceil(self.images / len(images))
            images = images.repeat(times, 1, 1, 1)[: self.images]
            self.kept[name] = model.eval(), net, images, labels.repeat(times)[: self.images]
        found: tuple[nn.Module, Any, Tensor, Tensor] = self.kept[name]
        return found

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def timed(self, name: str, work: Callable[[], Any], rounds: int | None = None) -> Row:
        """Rounds of some work."""
        times = []
        for _ in range(rounds or self.rounds):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - begun)
            if sum(times) > _ENOUGH:
                break
        return Row(name, statistics.median(times), min(times), max(times))


class ShortcutOnly(nn.Module):
    """A post-activation residual block without its branch."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.shortcut = block.shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x))


@contextmanager
def without_graphs() -> Iterator[None]:
    """Level order, step by step."""
    with mock.patch.object(level_module, "recorder_for", lambda _: None):
        yield


@contextmanager
def channels_first() -> Iterator[None]:
    """Images with their channels before their pixels, in all engines."""

    def placed(part: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
        return part.to(device=device, dtype=dtype)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(shared, "_placed", placed))
        stack.enter_context(mock.patch.object(shared, "_channels_last", torch.Tensor.contiguous))
        stack.enter_context(mock.patch.object(pages, "settled", torch.Tensor.contiguous))
        yield


@contextmanager
def compiled() -> Iterator[None]:
    """Parts compiled by torch."""
    usual = shared._placed

    def placed(part: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
        made: Any = torch.compile(usual(part, device, dtype), dynamic=False)
        return made

    with mock.patch.object(shared, "_placed", placed):
        yield


# Rows


def equal_counts(bench: Bench) -> Iterator[Row]:
    """Counts of level order with graphs are those of the oracle, and do not depend on the cut."""
    _, net, images, labels = bench.network("resnet110")
    rows = 16 if bench.tiny else 1000
    data = [(images[:rows], labels[:rows])]
    sweep = [intact(), *single_deletions(len(net))[:: 4 if bench.tiny else 5]]
    told: dict[str, str] = {}
    size = max(rows // 4, 1)

    def counts(some: list[Lesion], **how: Any) -> list[int]:
        return [one.correct for one in evaluate(net, data, some, device=bench.device, **how)]

    ours = counts(sweep, engine="level", batch_size=size, told=told)
    oracle = counts(sweep, engine="direct")
    yield Row(
        f"level order against direct, fp32, {len(sweep)} lesions x {rows} images",
        value="equal" if ours == oracle else f"DIFFERENT: {ours} {oracle}", note=str(told),
    )  # fmt: skip
    for precision in bench.precisions:
        whole = counts(sweep, engine="level", precision=precision)
        parts = [sweep[place : place + 3] for place in range(0, len(sweep), 3)]
        cut = [
            one for part in parts
            for one in counts(part, engine="level", precision=precision, batch_size=size - 1)
        ]  # fmt: skip
        yield Row(
            f"level order, {precision}, cut in two ways",
            value="equal" if whole == cut else f"DIFFERENT: {whole} {cut}",
        )


def plain_loop(bench: Bench, precision: str) -> Row:
    """Some networks edited by hand, extrapolated to all."""
    model, net, images, labels = bench.network("resnet110")
    names = [block.name for block in net]
    chosen = [names[0], names[len(names) // 2], names[-1]]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    batch, counts = 500, []

    def one(name: str) -> None:
        edited = copy.deepcopy(model)
        parent, _, last = name.rpartition(".")
        setattr(edited.get_submodule(parent), last, ShortcutOnly(edited.get_submodule(name)))
        edited.to(bench.device, dtype)
        for x, y in zip(images.split(batch), labels.split(batch), strict=True):
            answers = edited(x.to(bench.device, dtype)).argmax(1)
            counts.append(int((answers == y.to(bench.device)).sum()))

    with torch.inference_mode(), exact_mathematics(precision):
        one(chosen[0])
        row = bench.timed("", lambda: [one(name) for name in chosen[1:]], min(bench.rounds, 2))
    share = (len(names) + 1) / (len(chosen) - 1)
    return Row(
        f"plain loop, {precision} (2 networks, extrapolated)",
        *(None if value is None else value * share for value in (row.seconds, row.least, row.most)),
    )


def operations(net: Any) -> float:
    """Floating point operations of a sweep of single deletions, for an image: convolutions."""
    found = 0.0
    for block in net:
        runs = block.index  # intact, and without one of the blocks before it
        for module in block.modules():
            if isinstance(module, nn.Conv2d):
                pixels = math.prod(block.out_shape[1:])
                found += runs * 2.0 * module.weight.numel() * pixels
    return found


def deletions(bench: Bench) -> Iterator[Row]:
    """Every single deletion of a ResNet-110."""
    _, net, images, labels = bench.network("resnet110")
    sweep = [intact(), *single_deletions(len(net))]
    data = [(images, labels)]
    work = operations(net) * len(images)
    contestants: list[tuple[str, str, list[Any], int | None]] = [
        ("level order with graphs", "level", [], None),
        ("level order", "level", [without_graphs], None),
        ("prefix engine", "prefix", [], None),
        ("level order with graphs, channels first", "level", [channels_first], None),
        ("level order with graphs, batches of 500", "level", [], 500),
    ]
    for precision in bench.precisions:
        plain = plain_loop(bench, precision)
        yield plain
        for name, engine, ways, size in contestants:
            told: dict[str, str] = {}
            with ExitStack() as stack:
                for way in ways:
                    stack.enter_context(way())

                def run(how: Any = (engine, precision, size), told: dict[str, str] = told) -> None:
                    evaluate(
                        net, data, sweep, engine=how[0], device=bench.device,
                        precision=how[1], batch_size=how[2], told=told,
                    )  # fmt: skip

                evaluate(
                    net, [(images[:64], labels[:64])], sweep[:2], engine=engine,
                    device=bench.device, precision=precision,
                )  # fmt: skip
                row = bench.timed(
                    f"{len(net)} deletions x {len(images)} images, {precision}, {name}", run
                )
            assert row.seconds and plain.seconds
            peak = bench.kept.get(f"peak {precision}")
            share = f", {100 * work / row.seconds / peak:.1f} % of the peak" if peak else ""
            row.value = f"{plain.seconds / row.seconds:.1f} times the plain loop{share}"
            row.note = f"{work / row.seconds / 1e12:.2f} TFLOP/s; {told}"
            yield row


def peaks(bench: Bench) -> Iterator[Row]:
    """What a large product and a large copy reach."""
    size = 256 if bench.tiny else 8192
    for precision in bench.precisions:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
        with exact_mathematics(precision):
            torch.mm(a, b)
            row = bench.timed(f"product of {size} x {size}, {precision}", lambda a=a, b=b: a @ b, 5)
        assert row.seconds
        bench.kept[f"peak {precision}"] = 2.0 * size**3 / row.seconds
        row.value = f"{2.0 * size**3 / row.seconds / 1e12:.1f} TFLOP/s"
        yield row
    whole = torch.empty(1 << (20 if bench.tiny else 30), device=bench.device, dtype=torch.uint8)
    other = torch.empty_like(whole)
    row = bench.timed("copy of a tensor", lambda: other.copy_(whole), 5)
    assert row.seconds
    row.value = f"{2 * whole.numel() / row.seconds / 1e9:.0f} GB/s read and written"
    yield row


def published(bench: Bench) -> Iterator[Row]:
    """The published lesions of a pre-activation ResNet-110, on some images."""
    _, net, images, labels = bench.network("preresnet110")
    plan = read_plan(bench.plan) if bench.plan else drawn_like_published(net, bench.tiny)
    rows = 4 if bench.tiny else 1000
    some = min(rows, len(images))
    told: dict[str, str] = {}
    for precision in ("bf16", "fp32"):
        row = bench.timed(
            f"{len(plan)} {'published' if bench.plan else 'drawn'} lesions x {some} images, "
            f"{precision} (sample)",
            lambda precision=precision: evaluate(
                net, [(images[:some], labels[:some])], plan, device=bench.device,
                engine="level", precision=precision, told=told,
            ),
            1,
        )  # fmt: skip
        assert row.seconds
        whole = row.seconds * 10_000 / some * 4647 / len(plan)
        row.value = f"{len(plan) * some / row.seconds:,.0f} lesions x images a second"
        row.note = f"4,647 lesions x 10,000 images: {whole:.0f} s, extrapolated; {told}"
        yield row


def drawn_like_published(net: Any, tiny: bool) -> list[Lesion]:
    """As many lesions of each kind and size as were published; of tiny sizes one each."""
    n, structure = len(net), Structure.of(net)
    uneven = list(net.transitions)
    found: list[Lesion] = []
    for kind in ("delete", "reorder", "duplicate"):
        sizes = facts()["sweeps"][kind]["by_count"]
        if tiny:
            sizes = {"count": [1, 2], "n": [1, 1]}
        for count, trials in zip(sizes["count"], sizes["n"], strict=True):
            if kind == "delete":
                found += random_deletions(n, [count], trials, 0)
            elif kind == "reorder":
                found += random_swaps(structure.stages, [count], trials, 0)
            else:
                found += random_duplications(n, [count], trials, 0, uneven)
    return found


def large(bench: Bench) -> Iterator[Row]:
    """Networks of 224 pixels, every block deleted once."""
    if bench.tiny:
        yield from large_network(bench, "torchvision:resnet18", 64, 4)
        return
    for name in ("resnet50", "vit_b_16"):
        yield from large_network(bench, f"torchvision:{name}", 224, 512)


def large_network(bench: Bench, name: str, pixels: int, rows: int) -> Iterator[Row]:
    """One of them, with random weights."""
    torch.manual_seed(0)
    model = ensembles.create_model(name).eval()
    images = torch.randn(rows, 3, pixels, pixels)
    labels = torch.arange(rows) % 1000
    begun = time.perf_counter()
    net = ensembles.decompose(model, images[:2])
    took = time.perf_counter() - begun
    sweep = [intact(), *single_deletions(len(net), [b.index for b in net if not b.deletable])]
    for precision, engine in (("bf16", "level"), ("bf16", "prefix"), ("fp32", "level")):
        told: dict[str, str] = {}

        def run(precision: str = precision, engine: str = engine, told: Any = told) -> None:
            evaluate(
                net, [(images, labels)], sweep, device=bench.device, engine=engine,
                precision=precision, told=told,
            )  # fmt: skip

        row = bench.timed(
            f"{name} at {pixels}, {len(sweep) - 1} deletions x {rows} images, {precision}, "
            f"{engine}", run, 1 if bench.tiny else 2,
        )  # fmt: skip
        assert row.seconds
        row.value = f"{len(sweep) * rows / row.seconds:,.0f} lesions x images a second"
        row.note = f"taken apart in {took:.1f} s; {told}"
        yield row


def spectra(bench: Bench) -> Iterator[Row]:
    """The path spectrum of a ResNet-110."""
    model, net, images, labels = bench.network("resnet110")
    rows = 2 if bench.tiny else 32
    assert model is not None
    options: dict[str, Any] = {"images": rows, "device": bench.device, "progress": False}
    if bench.tiny:
        options["signs"] = 2
    data = [(images[:rows], labels[:rows])]
    if not bench.tiny:
        ensembles.paths(net, data, **{**options, "signs": 2})
    yield bench.timed(
        f"path spectrum of ResNet-110, {rows} images",
        lambda: ensembles.paths(net, data, **options),
        1 if bench.tiny else 2,
    )  # fmt: skip


def training(bench: Bench) -> Iterator[Row]:
    """Steps of training, as `training_steps.py` measures them."""
    from training_steps import main as steps

    model, batch = ("preresnet20", 8) if bench.tiny else ("preresnet110", 128)
    found = steps([
        "--model", model, "--batch-size", str(batch), "--steps", "2" if bench.tiny else "12",
        "--epochs", "2" if bench.tiny else "3", "--device", str(bench.device),
        "--contestants", "graphs" if bench.tiny else "graphs;one by one",
    ])  # fmt: skip
    for one in found:
        median, least, most = (float(str(one[name])) / 1000 for name in ("ms", "least", "most"))
        yield Row(
            f"training step of {model}, {batch} images, {one['precision']}, {one['steps']}",
            median, least, most, f"{1 / median:.1f} steps a second", f"graphs: {one['graphs']}",
        )  # fmt: skip


def compiled_parts(bench: Bench) -> Iterator[Row]:
    """Level order with parts compiled by torch; it takes minutes to compile."""
    _, net, images, labels = bench.network("resnet110")
    sweep = [intact(), *single_deletions(len(net))]

    def run() -> None:
        evaluate(
            net, [(images, labels)], sweep, engine="level", device=bench.device, precision="bf16"
        )

    with compiled():
        run()
        yield bench.timed(f"{len(net)} deletions x {len(images)} images, bf16, compiled", run, 2)


ROWS: dict[str, tuple[Callable[[Bench], Iterator[Row]], float]] = {
    "equal": (equal_counts, 30.0),
    "peaks": (peaks, 10.0),
    "deletions": (deletions, 110.0),
    "published": (published, 60.0),
    "training": (training, 40.0),
    "paths": (spectra, 30.0),
    "large": (large, 60.0),
    "compiled": (compiled_parts, 200.0),
}
"""Each group of rows, and the seconds after which it ends."""

USUAL = [name for name in ROWS if name != "compiled"]


class Table:
    """Rows as they come, printed and written at once."""

    def __init__(self, about: str, folder: Path | None) -> None:
        self.about, self.folder = about, folder
        self.rows: list[Row] = []
        head = "| what | median, s | least to most, s | | |\n|---|---|---|---|---|"
        self.text = f"{about}\n\n{head}\n"
        print(self.text, end="", flush=True)

    def add(self, row: Row) -> None:
        """One more row."""
        self.rows.append(row)
        self.text += row.line + "\n"
        print(row.line, flush=True)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "gpu.md").write_text(self.text)
            rows = [asdict(one) for one in self.rows]
            (self.folder / "gpu.json").write_text(json.dumps({"about": self.about, "rows": rows}))


class OverTimeError(Exception):
    """A group of rows took its time."""


def _ring(*_: object) -> None:
    raise OverTimeError


def fill(table: Table, bench: Bench, names: list[str], budget: float) -> None:
    """Run groups of rows until the time is over."""
    end = time.monotonic() + budget
    signal.signal(signal.SIGALRM, _ring)
    for name in names:
        group, most = ROWS[name]
        left = min(most, end - time.monotonic())
        if left < 1:
            table.add(Row(name, note="left out: the time was over"))
            continue
        begun = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, left)
        try:
            for row in group(bench):
                table.add(row)
        except OverTimeError:
            table.add(Row(name, note=f"ended after {time.monotonic() - begun:.0f} s"))
        except Exception as error:
            table.add(Row(name, note=f"FAILED: {type(error).__name__}: {str(error)[:300]}"))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for the table")
    parser.add_argument("--budget", type=float, default=255.0, help="seconds for all rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default=",".join(USUAL), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--plan", help="file of the published lesions")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes; so it is without CUDA")
    options = parser.parse_args(arguments)
    names = options.rows.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"--rows: '{unknown[0]}'; expected {', '.join(ROWS)}")
    device = choose_device(options.device)
    tiny = options.tiny or device.type != "cuda"
    table = Table(f"{device_name(device)}; {describe()}{'; tiny sizes' if tiny else ''}",
                  options.out)  # fmt: skip
    images = 16 if tiny else 10_000
    bench = Bench(device, tiny, 1 if tiny else options.rounds, options.plan, images)
    fill(table, bench, names, options.budget)
    return table.rows


if __name__ == "__main__":
    main()
