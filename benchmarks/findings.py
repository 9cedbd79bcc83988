"""What analyses say of the packaged networks: tables, figures, and the numbers of a page.

    python benchmarks/findings.py FOLDER                    # all; some minutes of one core
    python benchmarks/findings.py FOLDER --only influence,depth
    python benchmarks/findings.py FOLDER --networks smollm2-135m    # needs the extra `lm`
    python benchmarks/findings.py FOLDER --draw             # from the tables that lie there

FOLDER gets a store, from which an interrupted run goes on, and a table for each analysis and
network. From the tables come `docs/figures/findings-ANALYSIS-NETWORK.png` and, between the marks of
docs/findings.md, the commands and what they say. With
`--published FILE` the authors' own deletions (their raw results as one table) are looked at too,
and with `--images FOLDER` a sample of them is run on the packaged pre-activation ResNet-110 for
CIFAR-10.
"""

from __future__ import annotations

import argparse
import io
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from PIL import Image

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.checkpoints import Subject, open_subject
from ensembles.lesions import Delete, parse_lesion
from ensembles.plots.layout import put_title
from ensembles.plots.style import paper_style
from ensembles.reproduction.experiments.replay import read_published, sampled
from ensembles.reproduction.published import published_singles
from ensembles.statistics import additive_deletions
from ensembles.tables import read_frame, write_frame

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "findings.md"
DOTS, COLOURS = 130, 200
"""Dots an inch, and colours of a picture."""

SMOLLM = "smollm2-135m"

TITLES = {
    "resnet110": "ResNet-110, digits",
    "vgg15": "VGG-15, digits",
    "gpt12": "gpt12, prose",
    "vit12": "vit12, digits",
    SMOLLM: "SmolLM2-135M, prose",
}


@dataclass(frozen=True)
class Case:
    """A network under an analysis.

    Attributes:
        network: Its name.
        limit: At most so many rows of the data.
        options: Options of the analysis, where they are not the usual ones.
        window: Tokens of a window of a text.
    """

    network: str
    limit: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    window: int | None = None

    def command(self, analysis: str) -> str:
        """What measures it."""
        words = ["ensembles", "analyze", analysis, "--model", self.network]
        words += [] if self.limit is None else ["--limit", str(self.limit)]
        words += [] if self.window is None else ["--window", str(self.window)]
        for name, value in self.options.items():
            words += [f"--no-{name}"] if value is False else [f"--{name}", str(value)]
        return " ".join(words)


def smollm(window: int = 64, limit: int = 4, **options: Any) -> Case:
    """SmolLM2 on few and short windows: it is a hundred times as large as the others."""
    return Case(SMOLLM, limit, options, window)


CASES: dict[str, tuple[Case, ...]] = {
    "influence": (
        Case("resnet110", 64),
        Case("vgg15", 64),
        Case("gpt12", 8),
        Case("vit12", 64),
        smollm(),
    ),
    "downstream": (Case("resnet110", 64), Case("gpt12", 8), Case("vit12", 64), smollm()),
    "execution": (smollm(rows=2, lengths="8"),),
    "interactions": (
        Case("resnet110", options={"rows": 4, "sets": 100}),
        Case("vit12"),
        smollm(32, pairs=False, sets=60, permutations=2),
    ),
    "criticality": (
        Case("resnet110", options={"rows": 16, "trials": 1}),
        Case("vgg15", options={"rows": 16, "trials": 1}),
        Case("gpt12", options={"rows": 4, "trials": 1}),
        Case("vit12", options={"trials": 1}),
        smollm(trials=1),
    ),
    "interchange": (
        Case("resnet110"),
        Case("gpt12", options={"rows": 8}),
        Case("vit12", options={"rows": 64}),
        smollm(rows=2, distance=1),
    ),
    "depth": (
        Case("resnet110"),
        Case("gpt12", options={"rows": 8, "images": 1}),
        Case("vit12"),
        smollm(images=0),
    ),
    "sublayers": (smollm(order="influence"),),
    "repair": (smollm(),),
    "refinement": (smollm(),),
    "diversity": (smollm(members=6, share=0.05),),
    "coupling": (
        Case("resnet110", options={"rows": 4}),
        Case("gpt12", options={"rows": 1}),
        Case("vit12"),
    ),
}
"""Networks of each analysis."""


def table_of(folder: Path, analysis: str, case: Case) -> Path:
    """Where the table of an analysis lies."""
    return folder / f"{analysis}-{case.network}.csv"


@lru_cache(maxsize=1)
def opened(network: str, limit: int | None, window: int | None) -> Subject:
    """A network and its data; the last one is held for the next analysis."""
    return open_subject(network, limit=limit, window=window, check=False)


def measure(folder: Path, analysis: str, case: Case) -> None:
    """Run an analysis on a network, and keep its table."""
    subject = opened(case.network, case.limit, case.window)
    start = time.process_time()
    frame = ensembles.analyze(
        subject.net,
        subject.data,
        analysis,
        store=folder / "results.db",
        model=case.network,
        about=subject.about,
        progress=False,
        **subject.materials,
        **case.options,
    )
    write_frame(frame, table_of(folder, analysis, case))
    print(f"{analysis} {case.network}: {time.process_time() - start:.0f} s", flush=True)


def known(folder: Path, analysis: str) -> list[tuple[Case, pd.DataFrame]]:
    """The networks whose tables are there."""
    found = [(case, table_of(folder, analysis, case)) for case in CASES[analysis]]
    return [(case, read_frame(path)) for case, path in found if path.is_file()]


def picture_of(analysis: str, network: str) -> Path:
    """The picture of a network; those of an analysis stand beside each other on the page."""
    return DOCS / "figures" / f"findings-{analysis}-{network}.png"


def draw(folder: Path, analysis: str) -> None:
    """Draw the figure of each network that was measured, with few colours."""
    for case, frame in known(folder, analysis):
        try:
            figure = ensembles.plot_analysis(frame)
        except (
            ensembles.EnsemblesError
        ) as error:  # such as no pairs of blocks, where none were asked
            print(f"{analysis} {case.network}: no figure ({error})")
            continue
        put_title(figure, TITLES.get(case.network, case.network))
        with io.BytesIO() as file, paper_style():
            figure.savefig(file, format="png", dpi=DOTS)
            few = Image.open(file).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        path = picture_of(analysis, case.network)
        few.save(path, optimize=True, dpi=(DOTS, DOTS))


def said(folder: Path, analysis: str) -> str:
    """The commands of an analysis and what they say, as a table of the page.

    Networks whose tables are not in the folder keep the rows that the page has.
    """
    told = dict(re.findall(r"^\| (`[^`]+`) (\|.*\|)$", PAGE.read_text("utf-8"), re.MULTILINE))
    for case, frame in known(folder, analysis):
        notes = "; ".join(ANALYSES.get(analysis).notes(frame)).replace("|", "\\|")
        told[f"`{case.command(analysis)}`"] = f"| {notes} |"
    names = [f"`{case.command(analysis)}`" for case in CASES[analysis]]
    lines = [f"| {name} {told[name]}" for name in names if name in told]
    return "\n".join(["| command | what it says |", "|---|---|", *lines])


def put(mark: str, text: str) -> None:
    """Put a text between the marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    if begin not in page:
        raise SystemExit(f"{PAGE}: no mark {begin}")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    new = pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)
    PAGE.write_text(new, encoding="utf-8")


# The authors' own deletions


def their_deletions(path: Path) -> pd.DataFrame:
    """The published deletions with the single ones before them, as a table of lesions."""
    sets = read_published(path).query("lesion == 'delete'")
    texts = [parse_lesion("delete", str(blocks)).text for blocks in sets["blocks"]]
    joint = pd.DataFrame(
        {
            "lesion": "delete",
            "count": [len(text.split()) for text in texts],
            "blocks": texts,
            "error": sets["published_error"].to_numpy(),
        }
    )
    joint = joint[joint["count"] > 1]
    return pd.concat([published_singles(), joint], ignore_index=True)


class Sizes(NamedTuple):
    """How many of their sets are deleted from our network, and on how many images."""

    sets: int
    rows: int


def our_deletions(folder: Path, theirs: pd.DataFrame, images: Path, sizes: Sizes) -> None:
    """Every single deletion, and a sample of theirs, of the packaged network for CIFAR-10."""
    single = theirs[theirs["count"] == 1]
    joint = sampled(theirs[theirs["count"] > 1], "delete", sizes.sets, seed=0)
    texts = [str(text) for text in (*single["blocks"], *joint["blocks"])]
    lesions = [Delete(tuple(map(int, text.split()))) for text in texts]
    subject = open_subject(
        "preresnet110", "preresnet110-cifar10", dataset=str(images), limit=sizes.rows, check=False
    )
    frame = ensembles.lesion(
        subject.net,
        subject.data,
        lesions,
        store=folder / "results.db",
        model="preresnet110",
        about=subject.about,
        progress=False,
    )
    write_frame(frame, folder / "published-deletions.csv")


def additivity(theirs: pd.DataFrame, ours: pd.DataFrame | None) -> str:
    """Joint damage beside the sum of single damage by number of blocks, as a table of the page."""
    tables = {"published, points": (additive_deletions(theirs), 100)}
    if ours is not None:
        tables["ours, points"] = additive_deletions(ours), 100
        tables["ours, nats"] = additive_deletions(ours, "loss"), 1
    head = [f"{name}: sets | measured | sum | Spearman" for name in tables]
    lines = [f"| blocks | {' | '.join(head)} |", "|---|" + "---|---|---|---|" * len(tables)]
    for blocks in tables["published, points"][0]["blocks"]:
        cells = [_cells(table, blocks, scale) for table, scale in tables.values()]
        lines.append(f"| {blocks} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(table: pd.DataFrame, blocks: str, scale: float) -> str:
    """Sets, what was measured, the sum, and the rank correlation with its interval."""
    found = table[table["blocks"] == blocks]
    if found.empty:
        return " | | | "
    row = found.iloc[0]
    interval = "" if pd.isna(row["low"]) else f" ({row['low']:.2f} to {row['high']:.2f})"
    rank = "" if pd.isna(row["spearman"]) else f"{row['spearman']:.2f}{interval}"
    means = [f"{scale * row[name]:.3g}" for name in ("measured", "predicted")]
    return f"{row['sets']} | {means[0]} | {means[1]} | {rank}"


def parts_of(names: str | None) -> Iterable[str]:
    """The analyses asked for, or all."""
    return names.split(",") if names else CASES


def main() -> None:
    """Measure, draw, and write the numbers into the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path, help="for the store and the tables")
    options.add_argument("--only", help="names of analyses, separated by commas")
    options.add_argument("--networks", help="names of networks, separated by commas")
    options.add_argument("--draw", action="store_true", help="measure nothing")
    options.add_argument("--measure", action="store_true", help="draw and write nothing")
    options.add_argument("--published", type=Path, help="the authors' lesions of several blocks")
    options.add_argument("--images", type=Path, help="CIFAR-10 as a folder, for these on ours")
    options.add_argument("--sets", type=int, default=300, help="how many of them")
    options.add_argument("--rows", type=int, default=64, help="images for these")
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    networks = given.networks.split(",") if given.networks else None
    for analysis in parts_of(given.only):
        wanted = [one for one in CASES[analysis] if not networks or one.network in networks]
        for case in wanted if not given.draw else ():
            try:
                measure(given.folder, analysis, case)
            except ensembles.EnsemblesError as error:
                print(f"{analysis} {case.network}: not measured ({error})", flush=True)
        if wanted and not given.measure:
            draw(given.folder, analysis)
            put(analysis, said(given.folder, analysis))
    if given.published:
        theirs = their_deletions(given.published)
        path, sizes = given.folder / "published-deletions.csv", Sizes(given.sets, given.rows)
        if given.images and not given.draw:
            our_deletions(given.folder, theirs, given.images, sizes)
        put("deletions", additivity(theirs, read_frame(path) if path.is_file() else None))


if __name__ == "__main__":
    main()
