"""Analyses by name: those of a program, of the library, and the two first ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from analysed import Subject, five_blocks

import ensembles
from ensembles.analyses import ANALYSES, Analysis, Options, Run, option
from ensembles.decomposition import Decomposition
from ensembles.errors import UsageError
from ensembles.lesions import Delete


@pytest.fixture(scope="module")
def network() -> Subject:
    return five_blocks()


@dataclass(frozen=True)
class CountOptions(Options):
    """Options of the analysis below."""

    times: int = option("How often to count.", 1)
    aloud: bool = option("Whether to tell.", False, determines=False)


class Count(Analysis[CountOptions]):
    """Counts rows, as often as asked."""

    name = "count"
    summary = "how many rows there are"
    options = CountOptions
    calls = 0

    def measure(
        self, net: Decomposition, data: object, options: CountOptions, run: Run
    ) -> pd.DataFrame:
        Count.calls += 1
        rows = sum(len(batch.targets) for batch in run.task.batches(data, 5))
        return pd.DataFrame({"block": [1], "rows": [rows * options.times]})


@pytest.fixture
def count() -> Iterator[Count]:
    member = ANALYSES.register("count", Count())
    Count.calls = 0
    yield member
    ANALYSES.forget("count")


def test_an_analysis_of_a_program_is_one_like_the_others(
    count: Count, network: tuple, tmp_path: Path
) -> None:
    net, data = network
    names = ensembles.list_analyses().names
    assert names[:2] == ("lesion", "paths") and {"influence", "count"} <= set(names)
    table = ensembles.analyze(net, data, "count", times=3, model="mine", about={"checkpoint": "c"})
    assert table["rows"][0] == 36
    attrs = table.attrs
    assert (attrs["analysis"], attrs["options"], attrs["model"]) == ("count", {"times": 3}, "mine")
    told = attrs["provenance"]
    assert (told["task"], told["checkpoint"], told["times"]) == ("classification", "c", 3)
    store = tmp_path / "a.db"
    for aloud in (False, True):  # which does not determine the result
        ensembles.analyze(net, data, "count", times=2, aloud=aloud, store=store)
    ensembles.analyze(net, data, "count", times=4, store=store)
    assert Count.calls == 1 + 2
    with pytest.raises(UsageError, match="the analysis 'count' has no figure"):
        ensembles.plot_analysis(table)


def test_an_unknown_analysis_offers_the_nearest(network: tuple) -> None:
    with pytest.raises(UsageError, match="analysis 'influense' is unknown; expected lesion, paths"):
        ensembles.analyze(*network, "influense")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": "2"}, "times '2'; expected a whole number"),
        ({"times": True}, "times True; expected a whole number"),
        ({"aloud": 1}, "aloud 1; expected yes or no"),
        ({"time": 1}, "count has no option 'time'; expected times, aloud; did you mean times"),
    ],
)
def test_options_are_of_their_type(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CountOptions.made(options, "count")


def test_lesions_and_paths_are_analyses_too(network: tuple) -> None:
    net, data = network
    swept = ensembles.analyze(net, data, "lesion", lesions=[Delete((2,))], metrics=("kl",))
    direct = ensembles.lesion(net, data, [Delete((2,))], metrics=("kl",))
    pd.testing.assert_frame_equal(swept, direct)
    assert list(swept["lesion"]) == ["none", "delete"] and swept.attrs["analysis"] == "lesion"
    spectrum = ensembles.analyze(net, data, "paths", signs=0)
    same = ensembles.paths(net, data, options=ensembles.PathOptions(signs=0))
    pd.testing.assert_frame_equal(spectrum, same)
    assert ensembles.plot_analysis(spectrum) is not None
    with pytest.raises(UsageError, match="tables of lesion and paths have no figure together"):
        ensembles.plot_analysis([swept, spectrum])
    with pytest.raises(UsageError, match="with the columns a, is of no analysis"):
        ensembles.plot_analysis(pd.DataFrame({"a": [1]}))


def test_fields_stand_beside_options_of_paths(network: tuple) -> None:
    net, data = network
    options = ensembles.PathOptions(signs=0, at="first")
    first = ensembles.paths(net, data, options=options)
    assert list(first["at"].unique()) == ["block 1"]
    assert list(ensembles.paths(net, data, options=options, at="input")["at"].unique()) == ["input"]
    with pytest.raises(UsageError, match="the place 'first' is one of gradients"):
        ensembles.paths(net, data, direction="logits", options=options)


def test_two_ways_to_name_lesions_are_refused(network: tuple) -> None:
    choice = ensembles.Choice("delete")
    table = ensembles.analyze(*network, "lesion", choice=choice)
    assert len(table) == 6
    with pytest.raises(UsageError, match="both lesions and a choice are given"):
        ensembles.analyze(*network, "lesion", choice=choice, lesions=[Delete((1,))])
