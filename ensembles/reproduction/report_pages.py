"""The whole reproduction: experiments are measured, kept, judged, and written as a report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ensembles.files import atomic, refusals
from ensembles.plots.style import save_figure
from ensembles.report import Page, Section, Table, drawing, table, write_page
from ensembles.report.lesion_tables import lesion_tables
from ensembles.report.parts import number
from ensembles.reproduction.bench import Bench
from ensembles.reproduction.experiment import Comparison, Experiment
from ensembles.reproduction.experiments import experiment
from ensembles.reproduction.judgements import VERDICTS, Frames, claim_rows
from ensembles.reproduction.published import facts
from ensembles.reproduction.request import Request
from ensembles.reproduction.scale import QUICK
from ensembles.store import Store
from ensembles.studies import study_text
from ensembles.tables import write_frame

__all__ = ["reproduce"]

_TONES = {"holds": "good", "does not hold": "bad", "not measured": "open"}


_DETAIL = ("claim", "verdict", "criterion", "published", "ours", "interval", "note", "network")


def reproduce(
    request: Request,
    experiments: Sequence[Experiment],
    folder: str | Path,
    say: Callable[[str], None] = lambda line: None,
    command: Sequence[str] = (),
) -> pd.DataFrame:
    """Measure experiments as one study, judge them, and write what they show.

    The folder gets ``report.html``, ``claims.csv``, ``figures/*.svg``, ``frames/*.csv``,
    ``results.db``, a store from which an interrupted run goes on, and ``study.toml``, the study
    that fills it.

    Args:
        request: What is measured on what.
        experiments: As :func:`ensembles.reproduction.experiments.choose` gives them.
        folder: Where everything goes; made if need be.
        say: Takes a line about what is going on.
        command: The command line that makes all of it again, where it is not `reproduce`.

    Returns:
        The claims, one row each, as :func:`ensembles.reproduction.judgements.claim_rows`.
    """
    folder = Path(folder)
    for place in (folder, folder / "figures", folder / "frames"):
        place.mkdir(parents=True, exist_ok=True)
    rows, sections = [], []
    with Store(folder / "results.db") as store:
        bench = Bench(request, store, say)
        measured = bench.measure([experiment.parts(bench) for experiment in experiments])
        for experiment, tables in zip(experiments, measured, strict=True):
            frames = experiment.frames(tables, bench)
            decided = claim_rows(experiment.key, experiment.claims(), frames)
            rows.append(decided)
            _write(experiment, frames, folder)
            told = shlex.join(command) or _command(request, experiment.key, folder)
            sections.append(_section(experiment, frames, decided, folder, told))
    if bench.study is not None:
        place = folder / "study.toml"
        with refusals(f"study {place}"), atomic(place) as scratch:
            scratch.write_text(study_text(bench.study), encoding="utf-8")
    claims = pd.concat(rows, ignore_index=True)
    write_frame(claims, folder / "claims.csv")
    keys = ",".join(claims["experiment"].unique())
    told = shlex.join(command) or _command(request, keys, folder)
    write_page(_page(bench, claims, sections, told), folder / "report.html")
    return claims


def _write(experiment: Experiment, frames: Frames, folder: Path) -> None:
    for name, frame in frames.items():
        file = f"{experiment.key}-{name}".replace(" ", "-")
        write_frame(frame, folder / "frames" / f"{file}.csv")


def _section(
    experiment: Experiment, frames: Frames, decided: pd.DataFrame, folder: Path, command: str
) -> Section:
    drawings = []
    for place, picture in enumerate(experiment.draw(frames)):
        key = f"figure-{experiment.key}" + (f"-{place + 1}" if place else "")
        save_figure(picture.figure, folder / "figures" / f"{key}.svg")
        drawings.append(drawing(picture.figure, key, picture.caption))
    shown = experiment.shown(frames)
    measured = [frame for frame in shown.values() if "lesion" in frame.columns]
    return Section(
        experiment.key,
        experiment.title,
        (*experiment.about, *_open_questions(frames)),
        tuple(drawings),
        (
            table(decided[list(_DETAIL)], "Claims", tones=_TONES, cards=True),
            *(_compared(part) for part in experiment.compare(frames)),
            *(part for frame in measured for part in lesion_tables(frame)),
        ),
        command,
        {f"{name}:": frame.attrs.get("provenance", {}) for name, frame in shown.items()},
    )


def _open_questions(frames: Frames) -> list[str]:
    """What could not be measured, and what would make it measurable."""
    lines = [
        f"Not measured: {reason.why}."
        + (f" To measure it: {reason.command}" if reason.command else "")
        for reason in frames.missing.values()
    ]
    return list(dict.fromkeys(lines))


def _compared(part: Comparison) -> Table:
    shares = [str(name) for name in part.frame.columns if str(name).endswith("%")]
    return table(part.frame, part.caption, formats=dict.fromkeys(shares, "{:.2f}".format))


def _page(bench: Bench, claims: pd.DataFrame, sections: list[Section], command: str) -> Page:
    counts = claims["verdict"].value_counts()
    held, failed, left = (int(counts.get(word, 0)) for word in VERDICTS.values())
    data, request = bench.data, bench.request
    papers = [
        facts()["sources"][name]
        for name in dict.fromkeys(experiment(key).paper for key in claims["experiment"])
    ]
    used = list(dict.fromkeys(one.card.architecture for one in bench.subjects.values()))
    lead = (
        f"The findings of {' and of '.join(one['paper'] for one in papers)}, measured again"
        + (f" with {' and '.join(used)}" if used else "")
        + f" on {data.name}, {len(data):,} images for each lesion"
        + (", a quick look at small samples." if request.scale.quick else "."),
        f"Of {len(claims)} claims, {held} hold, {failed} do not hold and {left} were not measured. "
        "Each is decided from results of this run by the "
        "criterion that its part states. Published numbers are labelled as such; they were "
        "measured on other networks, and where the note says so on other data.",
    )
    shown = pd.crosstab(claims["experiment"], claims["verdict"])
    shown = shown.reindex(claims["experiment"].unique()).reindex(
        columns=list(VERDICTS.values()), fill_value=0
    )
    shown = shown.rename_axis(index="part", columns=None).reset_index()
    first = Section(
        "claims",
        "Claims",
        (),
        (),
        (table(shown, "How many claims of each part hold on these networks and images"),),
        command,
    )
    networks = [_networks(bench)] if bench.subjects else []
    return Page("; ".join(one["title"] for one in papers), lead, (first, *networks, *sections))


def _networks(bench: Bench) -> Section:
    rows = []
    for name, subject in bench.subjects.items():
        card = subject.card
        on_card = "; ".join(
            f"{one.error:.2f} % of {number(one.total)} ({one.dataset} {one.split})"
            for one in card.measured
        )
        training = ", ".join(
            f"{key} {value}" for key, value in card.training.items() if "sha256" not in key
        )
        rows.append((name, card.architecture, len(subject.net), card.dataset, on_card, training))
    frame = pd.DataFrame(
        rows,
        columns=["checkpoint", "network", "blocks", "trained on", "error on its card", "training"],
    )
    return Section(
        "networks",
        "Networks",
        (),
        (),
        (table(frame, "Trained networks that were measured", cards=True),),
        "ensembles checkpoints list",
    )


def _command(request: Request, key: str, folder: Path) -> str:
    """What makes a part again."""
    plain = Request()
    words = ["ensembles", "reproduce", "--figure", key]
    for name in ("dataset", "split", "model", "checkpoint", "plain", "seed", "device", "precision"):
        value = getattr(request, name)
        if value != getattr(plain, name):
            words += [f"--{name}", str(value)]
    if request.published_lesions is not None:
        words += ["--published-lesions", str(request.published_lesions)]
    if request.published_layers is not None:
        words += ["--published-layers", str(request.published_layers)]
    words += ["--quick"] if request.scale.quick else []
    if request.scale.images != (QUICK.images if request.scale.quick else None):
        words += ["--limit", str(request.scale.images)]
    return shlex.join([*words, "--out", str(folder)])
