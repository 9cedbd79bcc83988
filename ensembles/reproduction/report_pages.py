"""The whole reproduction: experiments are run, kept, decided, and written as a report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ensembles.errors import UsageError, nearest
from ensembles.plots.style import save_figure
from ensembles.report import Page, Section, Table, drawing, table, write_page
from ensembles.report.parts import number
from ensembles.report.sections import lesion_tables
from ensembles.reproduction import (
    identity_mappings,
    imagenet,
    path_lengths,
    replay,
    single_deletion,
    sweeps,
    training,
)
from ensembles.reproduction.bench import Bench, Setting
from ensembles.reproduction.experiment import VERDICTS, Comparison, Experiment, Frames, claim_rows
from ensembles.reproduction.published import facts
from ensembles.reproduction.scale import QUICK
from ensembles.store import Store
from ensembles.tables import write_frame

__all__ = ["EXPERIMENTS", "choose", "reproduce"]

EXPERIMENTS: dict[str, Experiment] = {
    experiment.key: experiment
    for experiment in (
        single_deletion.EXPERIMENT,
        imagenet.EXPERIMENT,
        sweeps.DELETIONS,
        sweeps.REORDERINGS,
        path_lengths.EXPERIMENT,
        training.EFFECTIVE_ONLY,
        training.STOCHASTIC_DEPTH,
        training.DEPTH,
        sweeps.DUPLICATIONS,
        replay.EXPERIMENT,
        identity_mappings.EXPERIMENT,
    )
}
_TRAINS = (identity_mappings.EXPERIMENT.key,)
_ALIASES = {
    "5": ("5a", "5b"), "6a": ("6",), "6b": ("6",), "6c": ("6",), "7": ("stochastic-depth",),
}  # fmt: skip
_TONES = {"holds": "good", "does not hold": "bad", "not measured": "open"}
_SUMMARY = ("experiment", "claim", "verdict", "published", "ours", "interval", "note")
_DETAIL = ("claim", "verdict", "criterion", "published", "ours", "interval", "note", "network")


def choose(text: str) -> list[Experiment]:
    """Read a list of experiments such as ``"3,5a,5b,6"``.

    Args:
        text: Keys of :data:`EXPERIMENTS`, or numbers of figures; ``all`` for all but those that
            train networks.

    Raises:
        UsageError: A key is unknown.
    """
    if text.strip() == "all":
        return [found for key, found in EXPERIMENTS.items() if key not in _TRAINS]
    keys: list[str] = []
    for word in text.replace(",", " ").split():
        found = _ALIASES.get(word, (word,))
        if found[0] not in EXPERIMENTS:
            known = [*EXPERIMENTS, *_ALIASES, "all"]
            raise UsageError(
                f"figure {word!r} is unknown: expected {', '.join(known)}{nearest(word, known)}"
            )
        keys += [key for key in found if key not in keys]
    if not keys:
        raise UsageError(f"figure {text!r}: names none; expected such as 3,5a,5b,6")
    return [EXPERIMENTS[key] for key in EXPERIMENTS if key in keys]


def reproduce(
    setting: Setting,
    experiments: Sequence[Experiment],
    folder: str | Path,
    say: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Run experiments, and write what they show.

    The folder gets ``report.html``, ``claims.csv``, ``figures/*.svg``, ``frames/*.csv``, and
    ``results.db``, a store from which an interrupted run goes on.

    Args:
        setting: What is measured on what.
        experiments: Some of :data:`EXPERIMENTS`.
        folder: Where everything goes; made if need be.
        say: Takes a line about what is going on.

    Returns:
        The claims, one row each, as :func:`ensembles.reproduction.experiment.claim_rows`.
    """
    folder = Path(folder)
    for place in (folder, folder / "figures", folder / "frames"):
        place.mkdir(parents=True, exist_ok=True)
    rows, sections = [], []
    with Store(folder / "results.db") as store:
        bench = Bench(setting, store, say)
        for number_of, experiment in enumerate(experiments, start=1):
            say(f"[{number_of}/{len(experiments)}] {experiment.title}")
            frames = experiment.measure(bench)
            decided = claim_rows(experiment, frames)
            rows.append(decided)
            _write(experiment, frames, folder)
            command = _command(setting, experiment.key, folder)
            sections.append(_section(experiment, frames, decided, folder, command))
    claims = pd.concat(rows, ignore_index=True)
    write_frame(claims, folder / "claims.csv")
    write_page(_page(setting, bench, claims, sections, folder), folder / "report.html")
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
    measured = [frame for frame in frames.values() if "correct" in frame.columns]
    return Section(
        experiment.key,
        experiment.title,
        (*experiment.about, *_open_questions(frames)),
        tuple(drawings),
        (
            table(decided[list(_DETAIL)], "Claims", tones=_TONES, stacked=True),
            *(_compared(part) for part in experiment.compare(frames)),
            *(part for frame in measured for part in lesion_tables(frame)),
        ),
        command,
        {f"{name}:": frame.attrs.get("provenance", {}) for name, frame in frames.items()},
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


def _page(
    setting: Setting, bench: Bench, claims: pd.DataFrame, sections: list[Section], folder: Path
) -> Page:
    counts = claims["verdict"].value_counts()
    held, failed, left = (int(counts.get(word, 0)) for word in VERDICTS.values())
    data = bench.data
    used = list(dict.fromkeys(one.card.architecture for one in bench.networks.values()))
    lead = (
        f"The findings of {facts()['sources']['paper']}, measured again"
        + (f" with {' and '.join(used)}" if used else "")
        + f" on {data.name}, {len(data):,} images for each lesion"
        + (", a quick look at small samples." if setting.scale.quick else "."),
        f"Of {len(claims)} claims, {held} hold, {failed} do not hold and {left} were not measured. "
        "Each is decided from results of this run by the "
        "criterion that its part states. Published numbers are labelled as such; they were "
        "measured on other networks, and where the note says so on other data.",
    )
    shown = claims[list(_SUMMARY)].rename(columns={"experiment": "part"})
    shown["note"] = shown["note"].str.partition("; ")[0]
    first = Section(
        "claims",
        "Claims",
        (),
        (),
        (table(shown, "What holds on these networks and images", tones=_TONES, stacked=True),),
        _command(setting, ",".join(claims["experiment"].unique()), folder),
    )
    return Page(
        "Residual networks behave like ensembles: reproduced",
        lead,
        (first, _networks(bench), *sections),
    )


def _networks(bench: Bench) -> Section:
    rows = []
    for name, subject in bench.networks.items():
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
        (table(frame, "Trained networks that were measured", stacked=True),),
        "ensembles checkpoints list",
    )


def _command(setting: Setting, key: str, folder: Path) -> str:
    """What makes a part again."""
    plain = Setting()
    chosen = ["--all"] if key == ",".join(EXPERIMENTS) else ["--figure", key]
    words = ["ensembles", "reproduce", *chosen]
    for name in ("dataset", "split", "model", "checkpoint", "plain", "seed", "device", "precision"):
        value = getattr(setting, name)
        if value != getattr(plain, name):
            words += [f"--{name}", str(value)]
    if setting.published_lesions is not None:
        words += ["--published-lesions", str(setting.published_lesions)]
    words += ["--quick"] if setting.scale.quick else []
    if setting.scale.images != (QUICK.images if setting.scale.quick else None):
        words += ["--limit", str(setting.scale.images)]
    return shlex.join([*words, "--out", str(folder)])
