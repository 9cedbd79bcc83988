"""The tables and figures of docs/cancellation.md, of what `benchmarks/cancellation.py` measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ensembles.plots.style import COLUMN_WIDTH, legend_above, look, paper_style, save_figure
from ensembles.statistics.bootstrap import median_interval

DOCS = Path(__file__).parent.parent / "docs"
TABLE = Path(__file__).with_suffix("").with_name("cancellation.csv")
MARKS = {
    name: (f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->")
    for name in ("networks", "training", "parts", "branches")
}
SMOLLM2 = "smollm2-135m"


def write(folder: Path) -> None:
    """Write tables into the page, and draw its figures."""
    cases = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    frame = pd.DataFrame([row for case in cases for row in _rows(case)])
    drawn = (frame["place"] == 0) | ((frame["part"] != "first") & (frame["weights"] != "after"))
    drawn &= (frame["place"] == 0) | frame["name"].isin([SMOLLM2, "resnet110-digits"])
    frame[drawn].to_csv(TABLE, index=False, float_format="%.6g")
    _put("networks", _networks(frame))
    _put("training", _training(frame))
    _put("parts", _parts(frame))
    _put("branches", _branches(cases))
    for name, draw in FIGURES.items():
        save_figure(draw(frame), DOCS / "figures" / f"cancellation-{name}.png")


def _rows(case: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """A row for each place and part of a case: median, its interval, least and greatest."""
    about = case["case"]
    for key, values in case["ratios"].items():
        place, part = key.split()
        logs = np.log10(values)
        middle = median_interval(logs)
        yield {
            **about,
            "weights": about["weights"].partition(" ")[0]
            if about["weights"][0] in "rp"
            else about["weights"],
            "seed": about["weights"].partition(" ")[2] if about["weights"][0] in "rp" else "",
            "choices": case["choices"],
            "place": int(place),
            "part": part,
            "median": 10**middle.value,
            "low": 10**middle.low,
            "high": 10**middle.high,
            "least": 10 ** logs.min(),
            "greatest": 10 ** logs.max(),
            "error": case["error"],
        }


def _at_input(frame: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    usual = {"place": 0, "part": "all", "counted": "all", "token": 0} | wanted
    chosen = np.logical_and.reduce([frame[name] == value for name, value in usual.items()])
    return frame[chosen]


def _networks(frame: pd.DataFrame) -> str:
    found = _at_input(frame)
    found = found[found["weights"].isin(["trained", "random", "permuted"])]
    lines = [
        "| network | blocks | rows | trained | greatest | additive form | permuted weights | "
        "random weights |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (_, name, tokens), part in found.groupby(["group", "name", "tokens"], sort=False):
        trained = part[(part["weights"] == "trained") & (part["linearization"] == "derivatives")]
        if trained.empty:
            continue
        one = trained.iloc[0]
        held = part[part["linearization"] == "additive"]
        controls = [part[part["weights"] == kind] for kind in ("permuted", "random")]
        rows = f"{one['rows']} windows of {tokens}" if tokens else f"{one['rows']} images"
        lines.append(
            f"| `{name}` | {one['choices']} | {rows} | {_told(one)} | {_number(one['greatest'])} | "
            f"{_told(held.iloc[0]) if len(held) else ''} | "
            + " | ".join(" and ".join(_number(x) for x in one["median"]) for one in controls)
            + " |"
        )
    return "\n".join(lines)


def _training(frame: pd.DataFrame) -> str:
    found = _at_input(frame)
    found = found[found["weights"].str.startswith("after")].copy()
    found["steps"] = found["weights"].str.split().str[1].astype(int)
    lines = ["| network | blocks | steps | cancellation | greatest |", "|---|---|---|---|---|"]
    for one in found.sort_values(["name", "steps"]).to_dict("records"):
        lines.append(
            f"| `{one['name']}` | {one['choices']} | {one['steps']:,} | {_told(one)} | "
            f"{_number(one['greatest'])} |"
        )
    return "\n".join(lines)


def _parts(frame: pd.DataFrame) -> str:
    """By what is counted, and where in the window the gradient arrives."""
    lines = ["| network | form | counted | all | first token | the others |", "|" + "---|" * 6]
    found = frame[
        (frame["group"] == "language") & (frame["weights"] == "trained") & (frame["place"] == 0)
        & (frame["token"] == 0)
    ]  # fmt: skip
    keys = ["name", "tokens", "linearization", "counted"]
    for (name, tokens, form, counted), part in found.groupby(keys, sort=False):
        by = {row["part"]: _told(row) for row in part.to_dict("records")}
        cells = " | ".join(by.get(one, "") for one in ("all", "first", "rest"))
        lines.append(f"| `{name}`, {tokens} tokens | {form} | {counted} | {cells} |")
    return "\n".join(lines)


def _branches(cases: list[dict[str, Any]]) -> str:
    """How what the branches send back lies to what the shortcuts do: medians of rows, by block."""
    lines = [
        "| network | weights | branches | cosine, median (quartiles of blocks) | negative | size |",
        "|" + "---|" * 6,
    ]
    shown = [one for one in cases if one.get("local", {}).get("cosine")]
    for one in sorted(shown, key=lambda one: -one["choices"]):
        about = one["case"]
        if about["linearization"] != "derivatives" or about["weights"].startswith("after"):
            continue
        cosines = np.array([np.median(values) for values in one["local"]["cosine"]])
        sizes = np.array([np.median(values) for values in one["local"]["size"]])
        low, middle, high = np.quantile(cosines, (0.25, 0.5, 0.75))
        lines.append(
            f"| `{about['name']}` | {about['weights']} | {len(cosines)}, {about['counted']} | "
            f"{middle:.2f} ({low:.2f} to {high:.2f}) | {(cosines < 0).sum()} | "
            f"{np.median(sizes):.2f} |"
        )
    return "\n".join(lines)


def _told(row: Any) -> str:
    return f"{_number(row['median'])} ({_number(row['low'])} to {_number(row['high'])})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _put(name: str, table: str) -> None:
    begin, end = MARKS[name]
    page = DOCS / "cancellation.md"
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}{table}\n{end}{rest.partition(end)[2]}")


def _by_network(frame: pd.DataFrame) -> Figure:
    """Each network a line: trained, held, permuted and random."""
    found = _at_input(frame)
    found = found[found["weights"].isin(["trained", "random", "permuted"])]
    found = found[~((found["name"] == "gpt12") & (found["tokens"] == 16))]
    names = list(dict.fromkeys(found["name"]))
    order = sorted(names, key=lambda name: found[found["name"] == name]["choices"].iloc[0])
    kinds = [
        ("trained", "derivatives", "trained"), ("trained", "additive", "trained, additive form"),
        ("permuted", "derivatives", "permuted weights"),
        ("random", "derivatives", "random weights"),
    ]  # fmt: skip
    with paper_style():
        figure = Figure(figsize=(COLUMN_WIDTH * 1.6, 0.27 * len(order) + 1.0), layout="constrained")
        ax = figure.subplots()
        handles = []
        for index, (weights, form, label) in enumerate(kinds):
            part = found[(found["weights"] == weights) & (found["linearization"] == form)]
            style = look(index)
            y = [order.index(name) + 0.16 * (1.5 - index) for name in part["name"]]
            spread = np.abs(part[["low", "high"]].to_numpy().T - part["median"].to_numpy())
            handles.append(
                ax.errorbar(
                    part["median"], y, xerr=spread, color=style.colour, marker=style.marker,
                    linestyle="none", elinewidth=0.8, label=label,
                )
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yticks(range(len(order)), [_short(found, name) for name in order])
        ax.grid(axis="x")
        ax.set_xlabel("Norms of all lengths over the norm of their sum")
        legend_above(ax, handles)
    return figure


def _short(found: pd.DataFrame, name: str) -> str:
    count = found[found["name"] == name]["choices"].iloc[0]
    return f"{name.removesuffix('.th')} ({count})"


def _by_place(frame: pd.DataFrame) -> Figure:
    """Growth over the blocks behind a place, of trained networks and SmolLM2's controls."""
    usual = (frame["counted"] == "all") & (frame["token"] == 0) & (frame["place"] > 0)
    found = frame[usual]
    trained = (found["weights"] == "trained") & (found["linearization"] == "derivatives")
    smol = found["name"] == SMOLLM2
    series = {
        "SmolLM2, all tokens": found[smol & trained & (found["part"] == "all")],
        "SmolLM2, tokens from the second": found[smol & trained & (found["part"] == "rest")],
        "SmolLM2, additive form": found[
            smol & (found["linearization"] == "additive") & (found["part"] == "all")
        ],
        "SmolLM2, permuted": found[
            smol & (found["weights"] == "permuted") & (found["seed"] == "0")
            & (found["part"] == "all")
        ],
        "SmolLM2, random": found[
            smol & (found["weights"] == "random") & (found["seed"] == "0")
            & (found["part"] == "all")
        ],
        "ResNet-110, digits": found[(found["name"] == "resnet110-digits") & trained],
    }  # fmt: skip
    with paper_style():
        figure = Figure(figsize=(COLUMN_WIDTH * 1.6, 2.9), layout="constrained")
        ax = figure.subplots()
        handles = []
        for index, (label, part) in enumerate(series.items()):
            if part.empty:
                continue
            rows = part.sort_values("place", ascending=False)
            behind = rows["choices"] - rows["place"] + 1
            style = look(index)
            (line,) = ax.plot(
                behind, rows["median"], color=style.colour, linestyle=style.dash, label=label
            )
            ax.fill_between(
                behind, rows["low"], rows["high"], color=style.colour, alpha=0.15, linewidth=0
            )
            handles.append(line)
        ax.set_yscale("log")
        ax.set_xlabel("Blocks between the place and the head")
        ax.set_ylabel("Cancellation")
        legend_above(ax, handles)
    return figure


FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "networks": _by_network, "places": _by_place,
}  # fmt: skip
