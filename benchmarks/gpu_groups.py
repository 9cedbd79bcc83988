"""The groups of rows of `gpu.py`: each gives tasks, of which each makes one row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from gpu_bench import (
    CONTESTANTS,
    GRAPHS,
    Bench,
    Way,
    channels_first,
    compiled_parts,
    compiled_steps,
    kernels,
    operations,
    part_by_part,
    plain_loop,
    steady,
    swept,
)
from gpu_table import Row, Task

import ensembles
from ensembles.engine import evaluate
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


def equal_counts(bench: Bench) -> Iterator[Task]:
    """Counts of level order with graphs are those of the oracle, and do not depend on the cut."""
    _, net, images, labels = bench.network("resnet110")
    rows = 16 if bench.tiny else 1000
    data = [(images[:rows], labels[:rows])]
    sweep = [intact(), *single_deletions(len(net))[:: 4 if bench.tiny else 5]]
    size = max(rows // 4, 1)

    def counts(some: list[Lesion], **how: Any) -> list[int]:
        return [one.correct for one in evaluate(net, data, some, device=bench.device, **how)]

    def oracle(name: str) -> Row:
        told: dict[str, str] = {}
        ours = counts(sweep, engine="level", batch_size=size, told=told)
        direct = counts(sweep, engine="direct")
        said = "equal" if ours == direct else f"DIFFERENT: {ours} {direct}"
        return Row(name, value=said, note=str(told))

    def cut(precision: str, name: str) -> Row:
        whole = counts(sweep, engine="level", precision=precision)
        parts = [sweep[place : place + 3] for place in range(0, len(sweep), 3)]
        pieces = [
            one for part in parts
            for one in counts(part, engine="level", precision=precision, batch_size=size - 1)
        ]  # fmt: skip
        return Row(name, value="equal" if whole == pieces else f"DIFFERENT: {whole} {pieces}")

    yield Task(f"level order against direct, fp32, {len(sweep)} lesions x {rows} images", oracle)
    for precision in bench.precisions:
        yield Task(f"level order, {precision}, cut in two ways", partial(cut, precision))


def deletions(bench: Bench) -> Iterator[Task]:
    """Every single deletion of a ResNet-110."""
    _, net, images, labels = bench.network("resnet110")
    work = operations(net) * len(images)

    def contest(precision: str, how: dict[str, Any], name: str) -> Row:
        row = swept(bench, (net, images, labels), name, precision=precision, **how)
        assert row.seconds
        plain, peak = (bench.kept.get(f"{what} {precision}") for what in ("plain", "peak"))
        times = f"{plain / row.seconds:.1f} times the plain loop" if plain else ""
        share = f"{100 * work / row.seconds / peak:.1f} % of the peak" if peak else ""
        row.value = ", ".join(part for part in (times, share) if part)
        row.note = f"{work / row.seconds / 1e12:.2f} TFLOP/s; {row.note}"
        return row

    others: list[tuple[str, dict[str, Any]]] = [
        *((label, {"engine": engine, "ways": ways}) for label, engine, ways in CONTESTANTS),
        (f"{GRAPHS}, channels first", {"engine": "level", "ways": [channels_first]}),
        *(
            (f"{label}, batches of {size:,}", {"engine": engine, "size": size})
            for label, engine in ((GRAPHS, "level"), ("prefix engine", "prefix"))
            for size in (500, 5000, 10_000)
        ),
    ]
    others[len(CONTESTANTS) : len(CONTESTANTS)] = [
        (f"{label}, convolutions part by part", {"engine": engine, "ways": [*ways, part_by_part]})
        for label, engine, ways in CONTESTANTS
        if label != "level order"
    ]
    for precision in bench.precisions:
        yield Task(
            f"plain loop, {precision} (2 networks, extrapolated)",
            partial(plain_loop, bench, precision),
        )
        for label, how in others:
            yield Task(
                f"{len(net)} deletions x {len(images)} images, {precision}, {label}",
                partial(contest, precision, how),
            )


def small_batches(bench: Bench) -> Iterator[Task]:
    """The same in batches that leave a large card waiting for launches."""
    _, net, images, labels = bench.network("resnet110")
    rows = min(8 if bench.tiny else 512, len(images))
    about = net, images[:rows], labels[:rows]
    for size in (2, 4) if bench.tiny else (8, 32):
        for label, engine, ways in CONTESTANTS:
            yield Task(
                f"{len(net)} deletions x {rows} images, bf16, batches of {size}, {label}",
                partial(
                    swept, bench, about, engine=engine, precision="bf16", ways=ways, size=size,
                    rounds=1 if bench.tiny else 2,
                ),
            )  # fmt: skip


def peaks(bench: Bench) -> Iterator[Task]:
    """What a large product and a large copy reach."""
    size = 256 if bench.tiny else 8192

    def product(precision: str, name: str) -> Row:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
        with exact_mathematics(precision):
            torch.mm(a, b)
            row = bench.timed(name, lambda: a @ b, 5)
        assert row.seconds
        bench.kept[f"peak {precision}"] = 2.0 * size**3 / row.seconds
        row.value = f"{2.0 * size**3 / row.seconds / 1e12:.1f} TFLOP/s"
        return row

    def copied(name: str) -> Row:
        number = 1 << (20 if bench.tiny else 30)
        whole = torch.empty(number, device=bench.device, dtype=torch.uint8)
        other = torch.empty_like(whole)
        row = bench.timed(name, lambda: other.copy_(whole), 5)
        assert row.seconds
        row.value = f"{2 * whole.numel() / row.seconds / 1e9:.0f} GB/s read and written"
        return row

    for precision in bench.precisions:
        yield Task(f"product of {size} x {size}, {precision}", partial(product, precision))
    yield Task("copy of a tensor", copied)


def published(bench: Bench) -> Iterator[Task]:
    """The published lesions of a pre-activation ResNet-110, on some images."""
    _, net, images, labels = bench.network("preresnet110")
    plan = read_plan(bench.plan) if bench.plan else drawn_like_published(net, bench.tiny)
    some = min(4 if bench.tiny else 1000, len(images))
    data = [(images[:some], labels[:some])]

    def replayed(precision: str, name: str) -> Row:
        told: dict[str, str] = {}
        row = bench.timed(
            name,
            lambda: evaluate(
                net, data, plan, device=bench.device, engine="level", precision=precision, told=told
            ),
            1,
        )
        assert row.seconds
        whole = row.seconds * 10_000 / some * 4647 / len(plan)
        row.value = f"{len(plan) * some / row.seconds:,.0f} lesions x images a second"
        row.note = f"4,647 lesions x 10,000 images: {whole:.0f} s, extrapolated; {told}"
        return row

    for precision in ("bf16", "fp32"):
        yield Task(
            f"{len(plan)} {'published' if bench.plan else 'drawn'} lesions x {some} images, "
            f"{precision} (sample)",
            partial(replayed, precision),
        )


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


def large(bench: Bench) -> Iterator[Task]:
    """Networks of 224 pixels, with random weights, every block deleted once."""
    names, pixels, rows = (
        (["torchvision:resnet18"], 64, 4)
        if bench.tiny
        else (["torchvision:resnet50", "torchvision:vit_b_16"], 224, 512)
    )
    for name in names:
        torch.manual_seed(0)
        images, labels = torch.randn(rows, 3, pixels, pixels), torch.arange(rows) % 1000
        net = ensembles.decompose(ensembles.create_model(name).eval(), images[:2])
        for precision, engine in (("bf16", "level"), ("bf16", "prefix"), ("fp32", "level")):
            yield Task(
                f"{name} at {pixels}, every deletion x {rows} images, {precision}, {engine}",
                partial(
                    swept, bench, (net, images, labels), engine=engine, precision=precision,
                    rounds=1 if bench.tiny else 2,
                ),
            )  # fmt: skip


def spectra(bench: Bench) -> Iterator[Task]:
    """The path spectrum of a ResNet-110, and whether its recursion waits for launches."""
    _, net, images, labels = bench.network("resnet110")
    rows = 2 if bench.tiny else 32
    signs = 2 if bench.tiny else 64

    def run(rows: int, signs: int) -> None:
        ensembles.paths(
            net, [(images[:rows], labels[:rows])], images=rows, signs=signs, device=bench.device,
            progress=False,
        )  # fmt: skip

    def spectrum(name: str) -> Row:
        if not bench.tiny:
            run(rows, 2)
        return bench.timed(name, lambda: run(rows, signs), 1 if bench.tiny else 2)

    def launches(some: int, name: str) -> Row:
        run(some, 0)
        row = bench.timed(name, lambda: run(some, 0), 1 if bench.tiny else 2)
        assert row.seconds
        busy, count = kernels(bench, lambda: run(some, 0))
        row.value = f"{count:,} kernels that took {busy:.3f} s, {100 * busy / row.seconds:.0f} %"
        row.note = "the rest of the time waits for the host"
        if bench.device.type != "cuda":
            row.note = "a processor launches no kernels"
        return row

    yield Task(f"path spectrum of ResNet-110, {rows} images, {signs} signs", spectrum)
    for some in (1, 2) if bench.tiny else (1, 8, 32):
        yield Task(f"its exact recursion alone, {some} images", partial(launches, some))


def training_step(
    bench: Bench, model: str, contestant: str, name: str, ways: Sequence[Way] = ()
) -> Row:
    """Steps of training, as `training_steps.py` measures them."""
    from training_steps import main as steps

    with ExitStack() as stack:
        for way in ways:
            stack.enter_context(way())
        (one,) = steps([
            "--model", model, "--batch-size", "8" if bench.tiny else "128",
            "--steps", "2" if bench.tiny else "12", "--epochs", "2" if bench.tiny else "3",
            "--device", str(bench.device), "--contestants", contestant,
        ])  # fmt: skip
    median, least, most = (float(str(one[part])) / 1000 for part in ("ms", "least", "most"))
    said = f"graphs: {one['graphs']}; first epoch {one['first_epoch_s']:.1f} s"
    return Row(name, median, least, most, f"{1 / median:.1f} steps a second", said)


def training(bench: Bench) -> Iterator[Task]:
    """Steps of training from graphs and one by one."""
    model = "preresnet20" if bench.tiny else "preresnet110"
    for contestant in ("graphs", "one by one"):
        yield Task(
            f"training step of {model}, bf16, {contestant}",
            partial(training_step, bench, model, contestant),
        )


def compiled(bench: Bench) -> Iterator[Task]:
    """Blocks as they are and compiled, of a shallow network: each takes seconds to compile."""
    backend = "eager" if bench.tiny else "inductor"
    _, net, images, _ = bench.network("resnet20")
    for label, engine, more in CONTESTANTS[: 1 if bench.tiny else None]:
        for ways in ([], [partial(compiled_parts, backend, 2 if bench.tiny else None)]):
            by = f"compiled by {backend}" if ways else "as they are"
            yield Task(
                f"{len(net)} deletions x {len(images)} images, bf16, {label}, blocks {by}",
                partial(steady, bench, (net, images), engine=engine, ways=[*more, *ways]),
            )
    for steps in ([], [partial(compiled_steps, backend)]):
        by = f"compiled by {backend}" if steps else "as they are"
        yield Task(
            f"training step of preresnet20, bf16, graphs, blocks {by}",
            partial(training_step, bench, "preresnet20", "graphs", ways=steps),
        )


GROUPS: dict[str, Callable[[Bench], Iterator[Task]]] = {
    "equal": equal_counts,
    "peaks": peaks,
    "deletions": deletions,
    "training": training,
    "paths": spectra,
    "small": small_batches,
    "published": published,
    "large": large,
    "compiled": compiled,
}
