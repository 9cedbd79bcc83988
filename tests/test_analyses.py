"""Analyses by name: influence against a loop with hooks and known values; the seam itself."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import build, images_for, random_networks, silenced
from torch import Tensor, nn

import ensembles
from ensembles.analyses import ANALYSES, Analysis, Options, Run, option
from ensembles.analyses.stream import Mean, Stream, compared_with
from ensembles.decomposition import Block, Decomposition, decompose
from ensembles.errors import DataError, UsageError
from ensembles.lesions import Delete
from ensembles.models.ensemble import Average

MEASURES = ("influence", "angle", "branch_ratio", "branch_cosine")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The stream, against loops over hooked values


def hooked(net: Decomposition, images: Tensor) -> dict[int, dict[str, Tensor]]:
    """Input, output and branch of every block, as hooks see them in one run of the network."""
    seen: dict[int, dict[str, Tensor]] = {block.index: {} for block in net}
    handles = []
    for block in net:
        values = seen[block.index]

        def of_block(_: nn.Module, given: tuple[Tensor], out: Tensor, values=values) -> None:
            values |= {"x": given[0].clone(), "y": out.clone()}

        def of_branch(_: nn.Module, given: tuple[Tensor], out: Tensor, values=values) -> None:
            values["f"] = out.clone()

        handles.append(block.register_forward_hook(of_block))
        handles.append(block.branch.register_forward_hook(of_branch))
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    return seen


def directions(one: Tensor, other: Tensor, channels: int, flat: bool) -> list[list[tuple]]:
    """For each row the pairs of vectors, of which none is zero, as numpy arrays."""
    rows = []
    for a, b in zip(one.double(), other.double(), strict=True):
        if flat:
            pairs = [(a.flatten().numpy(), b.flatten().numpy())]
        else:
            left, right = (v.movedim(channels, -1).reshape(-1, v.shape[channels]) for v in (a, b))
            pairs = list(zip(left.numpy(), right.numpy(), strict=True))
        rows.append(pairs)
    return rows


def mean_and_error(rows: list[list[float]]) -> tuple[float, float]:
    """Mean over rows of the mean over positions, and its standard error."""
    means = [float(np.mean(row)) for row in rows if row]
    if not means:
        return math.nan, math.nan
    error = np.std(means, ddof=1) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    return float(np.mean(means)), float(error)


def expected(block: Block, seen: dict[str, Tensor], channels: int, flat: bool) -> dict[str, tuple]:
    """The measures of a block by loops over rows and positions."""

    def cosines(one: Tensor, other: Tensor) -> list[list[float]]:
        return [
            [
                float(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))
                for a, b in pairs
                if a.any() and b.any()
            ]
            for pairs in directions(one, other, channels, flat)
        ]

    found = dict.fromkeys(MEASURES, (math.nan, math.nan))
    against, x = compared_with(block), seen["x"]
    if against:
        before = x if against == "input" else block.deleted(x)
        rows = cosines(before, seen["y"])
        found["influence"] = mean_and_error([[1 - c for c in row] for row in rows])
        found["angle"] = mean_and_error([[math.acos(c) / math.pi for c in row] for row in rows])
    if block.has_shortcut:
        shared = x if block.pre is None else block.pre(x)
        base = x if against == "input" else block.on_shortcut(shared)
        f = seen["f"]
        if block.width:  # a dense block: what is added stands beside what was there
            f = torch.cat([torch.zeros_like(x), f], 1)
        ratios = [
            [float(np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs if b.any()]
            for pairs in directions(f, base, channels, flat)
        ]
        found["branch_ratio"] = mean_and_error(ratios)
        found["branch_cosine"] = mean_and_error(cosines(f, base))
    return found


@settings(max_examples=30, deadline=None)
@given(random_networks(max_blocks=4), st.sampled_from(["position", "flattened"]), st.data())
def test_the_stream_agrees_with_loops_over_hooked_values(
    model: nn.Module, cosine: str, data: st.DataObject
) -> None:
    # In float64: a position whose shortcut is nearly zero makes a ratio of rounding errors.
    images = images_for(model, 5)[0].double()
    net = decompose(model.double(), images)
    size = data.draw(st.integers(1, 5), label="batch size")
    stream = Stream(net, cosine)
    with torch.no_grad():
        for part in images.split(size):
            stream.add(part)
        seen = hooked(net, images)
        channels = -1 if len(net.block(1).in_shape) == 2 else 0  # tokens, or images
        for block in net:
            wanted = expected(block, seen[block.index], channels, cosine == "flattened")
            for name, (value, error) in wanted.items():
                mean = stream.means[block.index][name]
                assert mean.value == pytest.approx(value, rel=1e-5, abs=2e-6, nan_ok=True), name
                assert mean.error == pytest.approx(error, rel=1e-3, abs=2e-6, nan_ok=True), name
    assert stream.rows == 5


class Turn(nn.Module):
    """A block whose branch turns pairs of channels by 90 degrees, and stretches them."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.turn = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.turn.weight.copy_(
                factor * torch.tensor([[0.0, -1.0], [1.0, 0.0]])[..., None, None]
            )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.turn(x)


class Stretch(nn.Module):
    """A block whose branch is a multiple of its input."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.scale = nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.scale.weight.copy_(factor * torch.eye(2)[..., None, None])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale(x)


def linear_network(*blocks: nn.Module) -> nn.Module:
    return nn.Sequential(
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3, bias=False)
    ).eval()


@pytest.fixture
def positive() -> Tensor:
    """Images of two channels without a zero."""
    return torch.rand(6, 2, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.1


def measured(model: nn.Module, images: Tensor, **options: object) -> Stream:
    with torch.no_grad():
        stream = Stream(decompose(model, images), **options)
        stream.add(images)
    return stream


def test_a_linear_network_has_values_known_beforehand(positive: Tensor) -> None:
    means = measured(linear_network(Turn(1.0), Stretch(0.5), Turn(3**0.5)), positive).means
    found = {
        index: {name: one.value for name, one in each.items()} for index, each in means.items()
    }
    root = math.sqrt(0.5)
    for index, wanted in {
        1: {"influence": 1 - root, "angle": 0.25, "branch_ratio": 1, "branch_cosine": 0},
        2: {"influence": 0, "angle": 0, "branch_ratio": 0.5, "branch_cosine": 1},
        3: {"influence": 0.5, "angle": 1 / 3, "branch_ratio": 3**0.5, "branch_cosine": 0},
    }.items():
        assert found[index] == pytest.approx(wanted, abs=1e-6), index
    assert means[1]["influence"].error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["post", "pre", "bottleneck", "convnext", "three", "dense"])
@pytest.mark.parametrize("cosine", ["position", "flattened"])
def test_a_branch_that_gives_nothing_has_no_influence_at_all(kind: str, cosine: str) -> None:
    model = build([("post", 6, 1), (kind, 8, 2), (kind, 8, 1)], seed=3)
    images, _ = images_for(model, 4)
    for index in (2, 3):
        stream = measured(silenced(model, index), images, cosine=cosine)
        means = stream.means[index]
        assert means["influence"].value == means["angle"].value == 0
        assert means["branch_ratio"].value == means["influence"].error == 0
        assert means["branch_cosine"].count == 0 and math.isnan(means["branch_cosine"].value)


def test_a_gate_and_two_streams_are_compared_with_what_they_carry() -> None:
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name, kind, against in (("highway19", "gated", "input"), ("rir", "two-stream", "shortcut")):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = decompose(ensembles.create_model(name).eval(), images)
        seen = hooked(net, images)
        with torch.no_grad():
            stream = Stream(net, "flattened")
            stream.add(images)
            for block in list(net)[:3]:
                assert (block.kind, compared_with(block)) == (kind, against)
                x, y = seen[block.index]["x"], seen[block.index]["y"]
                left = block.deleted(x) if against == "shortcut" else x
                cosine = torch.nn.functional.cosine_similarity(left.flatten(1), y.flatten(1))
                found = stream.means[block.index]["influence"].value
                assert found == pytest.approx(1 - float(cosine.mean()), abs=1e-6)
                added = block.gate(x) * seen[block.index]["f"] if block.gate is not None else None
                if added is not None:  # what a gated branch adds has its gate
                    ratio = added.flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
                    measured_ratio = stream.means[block.index]["branch_ratio"].value
                    assert measured_ratio == pytest.approx(float(ratio.mean()), rel=1e-5)


def test_positions_without_a_direction_are_left_out_and_counted(positive: Tensor) -> None:
    images = positive.clone()
    images[:, :, 0, 0] = 0  # one position of each row
    images[2] = 0  # a whole row
    stream = measured(linear_network(Turn(1.0)), images)
    one = stream.means[1]["influence"]
    assert (one.count, stream.rows, stream.undefined[1]) == (5, 6, 5 + 9)
    assert one.value == pytest.approx(1 - math.sqrt(0.5))
    assert measured(linear_network(Turn(1.0)), images, cosine="flattened").undefined[1] == 1


def test_what_is_not_a_number_stays_so(positive: Tensor) -> None:
    net = decompose(linear_network(Turn(1.0), Stretch(0.5)), positive)
    broken = positive.clone()
    broken[3, 0, 1, 1] = math.nan
    with torch.no_grad():
        stream = Stream(net)
        stream.add(positive)
        stream.add(broken)
    assert all(math.isnan(one.value) for means in stream.means.values() for one in means.values())


def test_a_span_is_compared_over_all_its_blocks(positive: Tensor) -> None:
    model = linear_network(Turn(1.0), Turn(1.0), Stretch(0.5), Turn(1.0))
    means = measured(model, positive, span=2).means
    angles = [means[index]["span_angle"].value for index in (1, 2, 3)]
    assert angles == pytest.approx([0.5, 0.25, 0.25], abs=1e-6)
    assert means[1]["span_influence"].value == pytest.approx(1, abs=1e-6)
    assert math.isnan(means[4]["span_angle"].value)  # it would leave the network
    whole = measured(model, positive, span=4).means[1]["span_angle"].value
    assert whole == pytest.approx(0.75, abs=1e-6)


def test_a_span_over_transitions_is_compared_with_what_its_shortcuts_carry() -> None:
    model = build([("post", 6, 1), ("post", 8, 2), ("pre", 8, 1), ("dense", 0, 1)], seed=5)
    images, _ = images_for(model, 4)
    net = decompose(model, images)
    stream = measured(model, images, span=3, cosine="flattened")
    seen = hooked(net, images)
    for first in (1, 2):
        carried = seen[first]["x"].clone()
        for index in range(first, first + 3):
            block = net.block(index)
            if compared_with(block) == "shortcut":
                carried = block.deleted(carried)
        pairs = directions(carried, seen[first + 2]["y"], 0, flat=True)
        cosines = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for [(a, b)] in pairs]
        found = stream.means[first]["span_influence"].value
        assert found == pytest.approx(1 - np.mean(cosines), abs=1e-6)


def test_the_last_position_is_that_of_a_sequence() -> None:
    model = build([("attention", 0, 1), ("mixer", 0, 1)], seed=1, width=6)
    images, _ = images_for(model, 3)
    net = decompose(model, images)
    seen = hooked(net, images)
    stream = measured(model, images, cosine="last")
    for block in net:
        x, y = (seen[block.index][name][:, -1].double() for name in "xy")
        cosine = torch.nn.functional.cosine_similarity(x, y, dim=-1).mean()
        assert stream.means[block.index]["influence"].value == pytest.approx(1 - float(cosine))
    pictures = build([("post", 6, 1)])
    with pytest.raises(UsageError, match=r"block 1 \(blocks.0\) takes 6x8x8: expected position or"):
        measured(pictures, images_for(pictures, 2)[0], cosine="last")


def test_means_do_not_depend_on_how_rows_are_divided(generator: torch.Generator) -> None:
    values = torch.randn(23, generator=generator, dtype=torch.float64) + 100
    for size in (1, 4, 23):
        mean = Mean()
        for part in values.split(size):
            mean.add(part)
        assert mean.value == pytest.approx(float(values.mean()), rel=1e-13)
        assert mean.error == pytest.approx(float(values.std()) / math.sqrt(23), rel=1e-12)
    assert math.isnan(Mean().value) and math.isnan(Mean().error)


# Influence: the proxies beside what deletion does


@pytest.fixture(scope="module")
def network() -> tuple[Decomposition, list[tuple[Tensor, Tensor]]]:
    """Five residual blocks, one of them a transition, and twelve images in two batches."""
    plan = [("post", 6, 1), ("pre", 6, 1), ("post", 8, 2), ("convnext", 8, 1), ("post", 8, 1)]
    model = build(plan, seed=1)
    images, labels = images_for(model, 12)
    return decompose(model, images), [(images[:7], labels[:7]), (images[7:], labels[7:])]


@pytest.fixture(scope="module")
def influence(network: tuple[Decomposition, list[tuple[Tensor, Tensor]]]) -> pd.DataFrame:
    return ensembles.analyze(*network, "influence", span=2, model="small", resamples=50)


METRICS = ("top1", "loss", "kl", "agreement")


def test_damage_is_that_of_deletions(influence: pd.DataFrame, network: tuple) -> None:
    net, data = network
    spans = [Delete((block, block + 1)) for block in range(1, 5)]
    lesions = [*(Delete((block,)) for block in range(1, 6)), *spans]
    swept = ensembles.lesion(net, data, lesions, metrics=METRICS, engine="direct")
    intact, deleted, pairs = swept.iloc[0], swept.iloc[1:6], swept.iloc[6:]
    for prefix, rows, found in (
        ("", deleted, influence), ("span_", pairs, influence[:4]),
    ):  # fmt: skip
        assert np.allclose(found[f"{prefix}loss_rise"], rows["loss"] - intact["loss"], atol=1e-5)
        assert np.allclose(found[f"{prefix}accuracy_fall"], rows["error"] - intact["error"])
        assert np.allclose(found[f"{prefix}kl"], rows["kl"], atol=1e-5)
        assert np.allclose(found[f"{prefix}agreement"], rows["agreement"])
    assert influence.iloc[4][["span_loss_rise", "span_angle"]].isna().all()
    assert influence["reason"][4] == "the span 5-6 leaves the network"
    assert list(influence["against"]) == ["input", "input", "shortcut", "input", "input"]
    assert (influence["reason"][:4] == "").all()


def test_the_table_says_how_it_was_made(influence: pd.DataFrame) -> None:
    attrs = influence.attrs
    assert attrs["analysis"] == "influence" and attrs["model"] == "small"
    assert attrs["options"] == {"span": 2, "cosine": "position", "resamples": 50, "seed": 0}
    assert (attrs["cosine"], attrs["rows"], attrs["blocks"]) == ("position", 12, 5)
    assert attrs["transitions"] == [3] and attrs["provenance"]["precision"] == "fp32"
    assert "failed" not in attrs


def test_correlations_are_those_of_ranks(influence: pd.DataFrame) -> None:
    rows = influence.attrs["correlations"]
    assert len(rows) == 4 * 4 + 2 * 4
    for row in rows:
        damage = row["damage"].replace("disagreement", "agreement")
        x, y = influence[row["proxy"]], influence[damage]
        y = 1 - y if damage != row["damage"] else y
        both = x.notna() & y.notna()
        wanted = x[both].rank().corr(y[both].rank())  # Pearson's of ranks
        assert row["n"] == both.sum()
        if row["value"] is None:
            assert y[both].nunique() == 1
        else:
            assert row["value"] == pytest.approx(wanted)
            assert row["low"] is None or row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9
    views = ANALYSES.get("influence").views(influence)
    (view,) = views.values()
    assert list(view.columns) == ["proxy", "damage", "value", "low", "high", "n"]
    notes = ANALYSES.get("influence").notes(influence)
    assert notes[0].startswith("the rise of the loss goes with ") and "over 5 blocks" in notes[0]
    assert notes[1].startswith("blocks 3: the shortcut is not the identity")


def test_blocks_without_a_shortcut_have_what_has_a_meaning() -> None:
    model = build([("plain", 6, 1), ("plain", 8, 2)], seed=2)
    images, labels = images_for(model, 6)
    table = ensembles.analyze(decompose(model, images), [(images, labels)], "influence")
    assert list(table["kind"].unique()) == ["plain"]
    same = table["against"] == "input"
    assert same.any() and not same.all()
    assert table.loc[same, "influence"].notna().all() and table.loc[~same, "influence"].isna().all()
    assert table[["branch_ratio", "branch_cosine"]].isna().all().all()
    assert (table.loc[same, "reason"] == "no shortcut, so that its branch adds to nothing").all()
    assert table.loc[~same, "reason"].str.startswith("no shortcut, and the shape changes").all()
    assert table["loss_rise"].notna().any()


def test_a_branch_that_gives_nothing_harms_nothing() -> None:
    model = build([("post", 6, 1), ("pre", 6, 1), ("post", 6, 1)], seed=4)
    images, labels = images_for(model, 6)
    net = decompose(silenced(model, 2), images)
    row = ensembles.analyze(net, [(images, labels)], "influence").iloc[1]
    zero = ["influence", "angle", "branch_ratio", "loss_rise", "accuracy_fall", "kl"]
    assert (row[zero].astype(float).abs() < 1e-7).all() and row["agreement"] == 1
    assert math.isnan(row["branch_cosine"])
    assert row["reason"] == "its branch, or what it is added to, is zero everywhere"


def test_what_influence_refuses(network: tuple) -> None:
    net, data = network
    with pytest.raises(DataError, match="can be read only once, and influence reads them twice"):
        ensembles.analyze(net, iter(data), "influence")
    with pytest.raises(UsageError, match="a span of 6 blocks; the network has 5"):
        ensembles.analyze(net, data, "influence", span=6)
    with pytest.raises(UsageError, match=r"influence has no option 'spam'; expected span, .*; did"):
        ensembles.analyze(net, data, "influence", spam=2)
    with pytest.raises(UsageError, match="9 resamples; expected at least 10"):
        ensembles.analyze(net, data, "influence", resamples=9)
    members = Average([build([("plain", 6, 1)], seed=seed) for seed in (1, 2)])
    images, labels = data[0]
    with pytest.raises(UsageError, match="the blocks of Average stand side by side"):
        ensembles.analyze(decompose(members.eval(), images), [(images, labels)], "influence")


def test_a_store_keeps_the_table_and_the_deletions(network: tuple, tmp_path: Path) -> None:
    net, data = network
    first = ensembles.analyze(net, data, "influence", store=tmp_path / "a.db", resamples=20)
    assert first.attrs["store"]["known"] is False
    again = ensembles.analyze(net, data, "influence", store=tmp_path / "a.db", resamples=20)
    assert again.attrs["store"]["known"] is True
    pd.testing.assert_frame_equal(first, again)
    assert again.attrs["correlations"] == first.attrs["correlations"]
    swept = ensembles.lesion(net, data, store=tmp_path / "a.db", metrics=METRICS)
    assert swept.attrs["store"]["measured"] == 0  # the deletions are there already
    other = ensembles.analyze(
        net, data, "influence", store=tmp_path / "a.db", resamples=20, cosine="flattened"
    )
    assert other.attrs["store"]["known"] is False
    assert not np.allclose(other["influence"], first["influence"])


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_the_table_survives_a_file_and_is_drawn_without_torch(
    influence: pd.DataFrame, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"influence{ending}"
    ensembles.write_frame(influence, path)
    again = ensembles.read_frame(path)
    pd.testing.assert_frame_equal(again, influence, check_dtype=False)
    assert again.attrs["correlations"] == influence.attrs["correlations"]
    code = f"""
import sys, ensembles
figure = ensembles.plot_analysis(ensembles.read_frame({str(path)!r}), {str(path) + ".svg"!r})
print(len(figure.axes), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False"]
    assert "Spearman" in (tmp_path / f"influence{ending}.svg").read_text()


# The seam


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


class Reader(nn.Module):
    """A tiny decoder: ids in, logits for each token out."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)
        self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(2))
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x)).cumsum(1)
        return self.head(x)


def test_influence_of_a_language_model() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, ids = Reader().eval(), torch.randint(7, (6, 5))
    net = decompose(model, ids)
    tables = [
        ensembles.analyze(net, ids, "influence", cosine=cosine) for cosine in ("last", "position")
    ]
    for table in tables:
        assert (table.attrs["task"], table.attrs["observation"]) == ("language", "token")
        assert table[["influence", "branch_ratio", "kl"]].notna().all().all()
    with torch.no_grad():
        x = model.words(ids).double()
        y = x + model.layers[0](model.norms[0](model.words(ids))).cumsum(1).double()
        cosines = torch.nn.functional.cosine_similarity(x, y, dim=-1)
    assert tables[0]["influence"][0] == pytest.approx(1 - float(cosines[:, -1].mean()), abs=1e-6)
    assert tables[1]["influence"][0] == pytest.approx(1 - float(cosines.mean()), abs=1e-6)
