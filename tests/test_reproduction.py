"""Each criterion of the reproduction decides both ways, on small tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ensembles.errors import UsageError
from ensembles.reproduction.comparisons import singles_beside, sizes_beside
from ensembles.reproduction.criteria import (
    correlation,
    cost_of_one,
    costlier,
    intact_error,
    singles,
    smoothness,
)
from ensembles.reproduction.experiments import EXPERIMENTS, choose, experiment
from ensembles.reproduction.experiments.depth import Depth, add_depths
from ensembles.reproduction.experiments.effective_paths_only import EffectivePathsOnly
from ensembles.reproduction.experiments.imagenet import ImageNet
from ensembles.reproduction.experiments.path_lengths import PathLengths, add_effective
from ensembles.reproduction.experiments.random_deletions import RandomDeletions, half_way
from ensembles.reproduction.experiments.random_duplications import (
    RandomDuplications,
    less_than_deleting,
)
from ensembles.reproduction.experiments.random_reorderings import RandomReorderings
from ensembles.reproduction.experiments.replay import Replay, agreement, read_published, sampled
from ensembles.reproduction.experiments.single_deletion import SingleDeletion
from ensembles.reproduction.experiments.stochastic_depth import StochasticDepth
from ensembles.reproduction.image_spectra import decay, effective_intervals, join_images, pooled
from ensembles.reproduction.judgements import COLUMNS, Frames, claim_rows
from ensembles.reproduction.named import NotMeasured
from ensembles.reproduction.published import (
    published_network,
    published_quartiles,
    published_singles,
)


def lesions(errors, *, kind="delete", intact=0.05, counts=None, taus=None, total=1000, **attrs):
    """Lesions with these errors, of single blocks unless counts are given."""
    counts = [1] * len(errors) if counts is None else counts
    frame = pd.DataFrame(
        {
            "lesion": ["none"] + [kind] * len(errors),
            "count": [0, *counts],
            "blocks": ["", *map(str, range(1, len(errors) + 1))],
            "kendall_tau": [1.0, *(taus if taus is not None else [1.0] * len(errors))],
            "error": [intact, *errors],
            "total": total,
        }
    )
    frame["correct"] = (total * (1 - frame["error"])).round().astype(int)
    frame.attrs = {"chance": 0.9, "model": "net", "dataset": "digits", **attrs}
    return frame


def frames_of(**tables):
    frames = Frames()
    frames.update(tables)
    return frames


def rows_of(experiment, frames):
    return claim_rows(experiment.key, experiment.claims(), frames)


def verdicts(experiment, frames):
    return list(rows_of(experiment, frames)["verdict"])


# Figure 3 and 4


@pytest.mark.parametrize(("error", "holds"), [(0.06, True), (0.3, False)])
def test_one_deletion_costs_little(error, holds):
    found = cost_of_one(lesions([error] * 20))
    assert found.holds is holds
    assert f"median error {100 * error:.2f} %, intact 5.00 %" in found.ours


def test_the_interval_decides_and_not_the_median():
    assert cost_of_one(lesions([0.06] * 11 + [0.6] * 10)).holds is False


def test_what_is_not_known_is_not_measured():
    frame = lesions([0.1])
    with pytest.raises(NotMeasured, match="intact network is not known"):
        intact_error(frame[frame["lesion"] != "none"])
    with pytest.raises(NotMeasured, match="number of classes is not known"):
        cost_of_one(lesions([0.1], chance=None))


@pytest.mark.parametrize(("errors", "holds"), [([0.9, 0.88], True), ([0.9, 0.5], False)])
def test_a_plain_network_is_destroyed_by_any_deletion(errors, holds):
    row = rows_of(SingleDeletion(), frames_of(plain=lesions(errors))).iloc[1]
    assert row["verdict"] == ("holds" if holds else "does not hold")
    assert row["ours"].startswith(f"{2 if holds else 1} of 2 layers")


@pytest.mark.parametrize(("places", "holds"), [([1, 2, 3], True), ([10, 20, 30], False)])
def test_blocks_that_change_the_shape_are_costlier(places, holds):
    errors = np.linspace(0.5, 0.1, 30)
    assert costlier(lesions(errors, reshaping=places)).holds is holds


def test_without_such_blocks_nothing_is_said():
    with pytest.raises(NotMeasured, match="no blocks that change the shape"):
        costlier(lesions([0.1, 0.2], reshaping=[]))


@pytest.mark.parametrize(("first", "holds"), [(0.5, True), (0.11, False)])
def test_block_1_costs_the_most(first, holds):
    frames = frames_of(residual=lesions([first, 0.1, 0.08]))
    assert verdicts(SingleDeletion(), frames)[3] == VERDICT[holds]


VERDICT = {True: "holds", False: "does not hold"}


@pytest.mark.parametrize(("eleventh", "holds"), [(0.2, True), (0.06, False)])
def test_block_11_costs_something(eleventh, holds):
    errors = [0.06] * 54
    errors[10] = eleventh
    found = verdicts(SingleDeletion(), frames_of(residual=lesions(errors)))
    assert found[4] == VERDICT[holds]


@pytest.mark.parametrize("holds", [True, False])
def test_the_same_blocks_matter(holds):
    theirs = singles(published_singles())["error"].to_numpy()
    found = verdicts(
        SingleDeletion(), frames_of(residual=lesions(theirs if holds else 0.5 - theirs))
    )
    assert found[5] == VERDICT[holds]


def test_what_was_published_for_54_blocks_is_left_open_for_others():
    rows = rows_of(SingleDeletion(), frames_of(residual=lesions([0.1] * 9)))
    assert list(rows["verdict"][4:]) == ["not measured"] * 2
    assert rows["note"].iloc[5] == "published for 54 blocks, this network has 9"


def test_rows_say_on_which_data_and_why_not():
    frames = frames_of(residual=lesions([0.06] * 54))
    frames.missing["plain"] = NotMeasured("no checkpoint: vgg15 on digits", "ensembles train x")
    rows = rows_of(SingleDeletion(), frames)
    assert list(rows.columns) == list(COLUMNS)
    assert rows["note"].iloc[0] == "other data: published for cifar10, ours digits"
    assert rows["note"].iloc[1] == "no checkpoint: vgg15 on digits; ensembles train x"
    assert (rows["verdict"].iloc[1], rows["ours"].iloc[1]) == ("not measured", "")
    same = frames_of(residual=lesions([0.06] * 54, dataset="cifar10"))
    assert rows_of(SingleDeletion(), same)["note"].iloc[0] == ""


@pytest.mark.parametrize("key", EXPERIMENTS)
def test_nothing_holds_and_nothing_is_drawn_without_results(key):
    one = experiment(key)
    assert one.key == key
    assert set(verdicts(one, Frames())) == {"not measured"}
    assert list(one.draw(Frames())) == []
    assert list(one.compare(Frames())) == []


def test_imagenet_is_judged_like_figure_3():
    frames = frames_of(residual=lesions([0.06] * 20 + [0.5], reshaping=[21], chance=0.999))
    assert verdicts(ImageNet(), frames) == ["holds", "holds"]
    frames = frames_of(residual=lesions([0.5] * 20 + [0.06], reshaping=[21], chance=0.999))
    assert verdicts(ImageNet(), frames) == ["does not hold"] * 2


# Figures 5a and 5b, duplication


def sweep(medians, kind="delete", **more):
    errors = np.repeat(medians, 5) + np.tile([-0.001, 0, 0, 0, 0.001], len(medians))
    counts = np.repeat(np.arange(1, len(medians) + 1), 5).tolist()
    return lesions(errors, kind=kind, counts=counts, **more)


@pytest.mark.parametrize(("last", "holds"), [(0.9, True), (0.05, False)])
def test_the_error_grows_with_the_number(last, holds):
    assert correlation(sweep(np.linspace(0.1, last, 20)), "delete").holds is holds


def test_the_error_grows_as_tau_falls():
    taus = np.linspace(1, 0.8, 100)
    rising = sweep(np.linspace(0.1, 0.9, 20), "reorder", taus=taus)
    falling = sweep(np.linspace(0.9, 0.1, 20), "reorder", taus=taus)
    assert verdicts(RandomReorderings(), frames_of(reorder=rising)) == ["holds", "holds"]
    assert verdicts(RandomReorderings(), frames_of(reorder=falling)) == ["does not hold"] * 2


def test_one_error_for_all_says_nothing():
    with pytest.raises(NotMeasured, match="too few lesions, or all with one error"):
        correlation(lesions([0.1] * 10, counts=list(range(1, 11))), "delete")


def test_growth_is_smooth_or_jumps():
    assert smoothness(sweep(np.linspace(0.1, 0.9, 20)), "delete").holds
    jump = smoothness(sweep([0.1] * 10 + [0.9] * 10), "delete")
    assert not jump.holds and "largest step 100% of the rise" in jump.ours
    fall = smoothness(sweep(np.linspace(0.9, 0.1, 20)), "delete")
    assert not fall.holds and "do not rise" in fall.ours
    with pytest.raises(NotMeasured, match="fewer than five sizes"):
        smoothness(sweep([0.1, 0.2]), "delete")


def test_half_of_the_way_is_reached_at_about_as_many_blocks():
    at_14 = sweep([0.1] * 13 + [0.8] * 7)
    at_5 = sweep([0.1] * 4 + [0.8] * 16)
    assert half_way(at_14, 14).ours == "14"
    assert verdicts(RandomDeletions(), frames_of(delete=at_14))[2] == "holds"
    assert verdicts(RandomDeletions(), frames_of(delete=at_5))[2] == "does not hold"
    never = half_way(sweep([0.1] * 20), 14)
    assert (never.ours, never.holds) == ("more than 20", False)


def test_duplicating_costs_less_than_deleting():
    little, much = np.linspace(0.06, 0.1, 10), np.linspace(0.06, 0.5, 20)
    frames = frames_of(duplicate=sweep(little, "duplicate"), delete=sweep(much))
    assert verdicts(RandomDuplications(), frames) == ["holds", "holds"]
    frames = frames_of(duplicate=sweep(much[::-1], "duplicate"), delete=sweep(little))
    assert verdicts(RandomDuplications(), frames) == ["does not hold"] * 2
    one, two = lesions([0.1], kind="duplicate"), lesions([0.1], counts=[2])
    frames = frames_of(duplicate=one, delete=two)
    with pytest.raises(NotMeasured, match="no number of blocks was both"):
        less_than_deleting(frames)
    frames = frames_of(duplicate=one, delete=lesions([0.1]))
    with pytest.raises(NotMeasured, match="fewer than 5 lesions of 1 blocks"):
        less_than_deleting(frames)


def test_figures_of_sweeps_hold_ours_and_theirs():
    frame = sweep(np.linspace(0.1, 0.9, 20))
    [picture] = RandomDeletions().draw(frames_of(delete=frame))
    [legend] = [ax.get_legend() for ax in picture.figure.axes]
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["net", "published ResNet-110", "band, whiskers: quartiles", "chance (90%)"]
    assert "100 lesions of this run" in picture.caption and "published" in picture.caption


def test_our_medians_stand_beside_theirs():
    frame = sweep(np.linspace(0.1, 0.9, 20))
    table = sizes_beside(frame, "delete", "count", published_quartiles("delete")).frame
    assert list(table["median %"].round(6)) == list(np.linspace(10, 90, 20).round(6))
    assert (table["from %"] <= table["median %"]).all()
    assert table["published median %"].iloc[0] == pytest.approx(6.53)
    beside = singles_beside(singles(lesions([0.1] * 54)), singles(published_singles())).frame
    assert beside["published error %"].iloc[0] == pytest.approx(42.15)
    assert beside["from %"].iloc[0] < 10 < beside["to %"].iloc[0]


# Figure 6


def spectrum(decade=-1.0, n=54, images=3, bend=0.0):
    """Path analyses whose norms fall by so many decades a block."""
    from math import comb

    lengths = np.arange(n + 1)
    frames = []
    for image in range(images):
        frame = pd.DataFrame({"length": lengths})
        frame["paths"] = pd.Series([comb(n, k) for k in lengths], dtype=object)
        logs = decade * lengths + bend * (lengths > n / 2) * 100 + 0.01 * image
        counts = np.array([np.log10(float(comb(n, k))) for k in lengths])
        for name, extra in {"mean": 0, "rms": 0, "coherent": counts}.items():
            frame[f"gradient_{name}_log10"] = logs + extra
            frame[f"gradient_{name}"] = 10.0 ** (logs + extra)
        frame["gradient_rms_se"] = 0.01 * frame["gradient_rms"]
        frame.insert(0, "image", image)
        frames.append(frame)
    whole = pd.concat(frames, ignore_index=True)
    whole.attrs = {
        "model": "net", "dataset": "digits", "direction": "gradient", "weight_layers": [],
        "images": images,
    }  # fmt: skip
    return whole


def paths_of(whole):
    frames = frames_of(paths=whole)
    add_effective(frames)
    return frames


def test_short_paths_carry_the_gradient_or_do_not():
    short = verdicts(PathLengths(), paths_of(spectrum(-0.7)))
    assert short == ["holds"] * 6
    typical = verdicts(PathLengths(), paths_of(spectrum(-0.02)))
    assert typical == ["holds", "holds", *["does not hold"] * 4]
    rising = verdicts(PathLengths(), paths_of(spectrum(0.5)))
    assert rising[1] == "does not hold"


def test_a_bent_line_is_not_exponential():
    found = verdicts(PathLengths(), frames_of(paths=spectrum(-0.01, bend=0.05)))
    assert found[1] == "does not hold"


def test_the_count_of_paths_is_published_for_54_blocks_only():
    rows = rows_of(PathLengths(), frames_of(paths=spectrum(n=9)))
    assert rows["note"].iloc[0] == "published for 54 blocks, this network has 9"
    rows = rows_of(PathLengths(), frames_of(paths=spectrum()))
    assert rows["ours"].iloc[0] == "98.02 % of 1.8e+16 paths"


def test_the_mean_over_images_is_that_of_numbers_not_of_logarithms():
    whole = spectrum(images=2)
    mean = pooled(whole)
    each = whole["gradient_mean"].to_numpy().reshape(2, -1)
    np.testing.assert_allclose(mean["gradient_mean"], each.mean(axis=0))
    assert (mean["gradient_mean_low"] <= mean["gradient_mean"]).all()
    np.testing.assert_allclose(
        mean["gradient_rms_se"],
        np.hypot(*whole["gradient_rms_se"].to_numpy().reshape(2, -1)) / 2,
    )
    slope, low, high, explained = decay(whole)
    assert (slope, low, high, explained) == pytest.approx((-1, -1, -1, 1))


def test_norms_below_the_smallest_float_still_count():
    whole = spectrum(-8.0)
    found = effective_intervals(whole).set_index("measure")
    assert (found.loc["gradient_mean", "first"], found.loc["gradient_mean", "last"]) == (0, 0)
    assert decay(whole)[0] == pytest.approx(-8)


def test_the_figure_of_paths_marks_the_published_intervals():
    [picture] = PathLengths().draw(paths_of(spectrum(-0.7)))
    texts = [text.get_text() for ax in picture.figure.axes for text in ax.get_legend().get_texts()]
    assert "95 % of paths, published" in texts
    assert "95% interval, published" in texts
    [table] = PathLengths().compare(paths_of(spectrum(-0.7)))
    assert list(table.frame["measure"])[-1] == "published"


def test_the_table_of_all_images_says_how_many_they_are_and_how_their_lengths_cancel():
    whole = spectrum(-0.7)
    frames = Frames()
    for image, ratio in enumerate((1.5, 4.0, 2.0)):
        one = whole[whole["image"] == image].drop(columns="image").reset_index(drop=True)
        one.attrs = {
            **whole.attrs, "cancellation": {"input": ratio}, "sum_error": ratio * 1e-7,
            "provenance": {"images": 1, "normalization": "none"}, "options": {"images": 1},
        }  # fmt: skip
        frames[f"paths, image {image}"] = one
    join_images(frames, "paths")
    joined = frames["paths"].attrs
    assert joined["cancellation"] == {"input": 2.0} and joined["sum_error"] == 4e-7
    assert [joined["images"], *(joined[key]["images"] for key in ("provenance", "options"))] == [
        3
    ] * 3
    [picture] = PathLengths().draw(paths_of(frames["paths"]))
    texts = [text.get_text() for ax in picture.figure.axes for text in ax.get_legend().get_texts()]
    assert {"3 images", "cancellation 2 (1: none)"} <= set(texts)


# Networks trained in other ways


@pytest.mark.parametrize(("error", "holds"), [(0.05, True), (0.2, False)])
def test_effective_paths_alone_train_no_worse_network(error, holds):
    only = lesions([], intact=error)
    frames = frames_of(**{"paths only": only, "ordinary": lesions([], intact=0.06)})
    assert verdicts(EffectivePathsOnly(), frames) == [VERDICT[holds]]


@pytest.mark.parametrize(("rise", "holds"), [(0.001, True), (0.1, False)])
def test_stochastic_depth_is_more_robust(rise, holds):
    errors = 0.05 + np.linspace(0.02, 0.03, 20)
    frames = frames_of(
        **{"ordinary": lesions(errors), "stochastic depth": lesions([0.05 + rise] * 20)}
    )
    assert verdicts(StochasticDepth(), frames) == [VERDICT[holds], "not measured"]
    [picture] = StochasticDepth().draw(frames)
    labels = [text.get_text() for text in picture.figure.axes[0].get_legend().get_texts()]
    assert labels[:4] == [
        "ours, ordinary",
        "ours, stochastic depth",
        "published ResNet-110",
        "published ResNet-110, stochastic depth",
    ]


def test_equal_networks_are_not_more_robust():
    same = lesions([0.1] * 10)
    frames = frames_of(**{"ordinary": same, "stochastic depth": same})
    row = rows_of(StochasticDepth(), frames).iloc[0]
    assert (row["verdict"], row["ours"]) == ("does not hold", "no difference at any block")


@pytest.mark.parametrize("holds", [True, False])
def test_with_stochastic_depth_the_same_blocks_matter(holds):
    theirs = singles(published_singles("stochastic_depth110_cifar10"))["error"].to_numpy()
    frames = frames_of(**{"stochastic depth": lesions(theirs if holds else 0.5 - theirs)})
    rows = rows_of(StochasticDepth(), frames)
    assert rows["verdict"].iloc[1] == VERDICT[holds]
    assert rows["ours"].iloc[1] == f"rho = {1 if holds else -1:.3f} over 54 blocks"


def test_at_each_depth_the_same_blocks_matter():
    errors = {
        depth: singles(published_singles(published_network(int(depth))))["error"].to_numpy()
        for depth in ("20", "44", "110")
    }
    frames = frames_of(**{depth: lesions(curve) for depth, curve in errors.items()})
    add_depths(frames)
    row = rows_of(Depth(), frames).iloc[1]
    assert row["verdict"] == "holds"
    assert row["ours"] == "20: rho = 1.000, 44: rho = 1.000, 110: rho = 1.000"
    frames["44"] = lesions(0.9 - errors["44"])
    row = rows_of(Depth(), frames).iloc[1]
    assert row["verdict"] == "does not hold"
    assert "44: rho = -1.000" in row["ours"]


@pytest.mark.parametrize("holds", [True, False])
def test_robustness_grows_with_depth(holds):
    medians = [0.4, 0.2, 0.1] if holds else [0.1, 0.2, 0.4]
    tables = {
        depth: lesions([median] * 9, model=f"net{depth}")
        for depth, median in zip(("20", "56", "110"), medians, strict=True)
    }
    frames = frames_of(**tables)
    add_depths(frames)
    assert verdicts(Depth(), frames)[0] == VERDICT[holds]
    assert frames["depths"].attrs["model"] == "net20, net56, net110"
    [picture] = Depth().draw(frames)
    assert list(picture.figure.axes[0].get_xticks()) == [20, 32, 44, 56, 110]
    [table] = Depth().compare(frames)
    assert list(table.frame["published median %"].round(3)) == [44.74, 9.69, 6.455]


def test_two_depths_are_too_few():
    frames = frames_of(**{"20": lesions([0.1]), "32": lesions([0.1])})
    frames.missing["44"] = NotMeasured("no checkpoint", "ensembles train net44")
    add_depths(frames)
    row = rows_of(Depth(), frames).iloc[0]
    assert row["note"] == "2 of 5 depths trained, 3 are needed; ensembles train net44"


# The authors' own lesions


@pytest.mark.parametrize("holds", [True, False])
def test_replayed_lesions_agree_or_do_not(holds):
    errors = np.linspace(0.1, 0.9, 30)
    frame = lesions(errors, counts=[1 + i // 3 for i in range(30)])
    frame["published_error"] = [np.nan, *(errors if holds else errors[::-1])]
    assert agreement(frame, "delete").holds is holds
    frames = frames_of(delete=frame)
    assert verdicts(Replay(), frames) == [VERDICT[holds], "not measured"]
    [picture] = Replay().draw(frames)
    assert "from the file given" in picture.caption
    [table] = Replay().compare(frames)
    assert table.caption.startswith("Deletions: ")
    assert len(table.frame) == 10


def test_published_lesions_are_read_once_each(tmp_path):
    path = tmp_path / "theirs.csv"
    path.write_text("lesion,blocks,top1_error\ndelete,1,0.2\ndelete,1,0.4\nreorder,1-2,0.5\n")
    frame = read_published(path)
    assert frame["published_error"].to_list() == pytest.approx([0.3, 0.5])
    many = pd.DataFrame({"lesion": "delete", "blocks": [str(i) for i in range(1, 101)]})
    some = sampled(many, "delete", 10, seed=1)
    assert len(some) == 10 and some["blocks"].is_unique
    assert some.equals(sampled(many, "delete", 10, seed=1))
    assert not some.equals(sampled(many, "delete", 10, seed=2))
    assert len(sampled(many, "delete", 200, seed=1)) == 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("lesion,blocks\ndelete,1\n", "no column top1_error; expected lesion, blocks, top1_error"),
        ("lesion,blocks,top1_error\ndelete,1,42\n", "top1_error holds something else than shares"),
    ],
)
def test_a_file_of_other_things_is_refused(tmp_path, text, message):
    path = tmp_path / "theirs.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_published(path)


# Choices


def test_experiments_are_chosen_by_figure():
    assert [e.key for e in choose("5, 6a 6c")] == ["5a", "5b", "6"]
    assert [e.key for e in choose("7")] == ["stochastic-depth"]
    others = ["identity-mappings", "family", "capacity", "criticality", "criticality-trainings"]
    assert [e.key for e in choose("all")] == [key for key in EXPERIMENTS if key not in others]
    assert [e.key for e in choose("all", "gavrikov2024")] == others[3:]
    with pytest.raises(UsageError, match=r"'5d' is unknown: expected 3, 4, 5a.*did you mean"):
        choose("5d")
    with pytest.raises(UsageError, match="names none; expected such as 3,5a,5b,6"):
        choose(" , ")
