"""The path analysis as users call it: frames, options, messages, figures."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import ensembles
from ensembles.analyses.effective_paths import effective_paths
from ensembles.analyses.members.paths import path_ranges, paths
from ensembles.analyses.path_columns import Samples, mean_over_images
from ensembles.analyses.path_frames import gradient_rows
from ensembles.analyses.path_notes import path_notes
from ensembles.data import dataset
from ensembles.decomposition import Decomposition, decompose
from ensembles.errors import DataError, PathError, UsageError
from ensembles.models import create_model
from ensembles.models.resnet import CifarResNet
from ensembles.plots.paths import plot_paths
from ensembles.tables import read_frame, write_frame
from ensembles.unravelling.measurement import GradientMeasures
from ensembles.unravelling.places import Place
from ensembles.unravelling.random_signs import Signed

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def subject() -> tuple[Decomposition, Batches]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = decompose(CifarResNet(20).eval(), torch.randn(2, 3, 8, 8))
        data = [(torch.randn(5, 3, 8, 8), torch.arange(5))]
    return net, data


@pytest.fixture(scope="module")
def gradients(subject: tuple[Decomposition, Batches]) -> pd.DataFrame:
    return paths(*subject, method="all", signs=8, samples=50)


@pytest.fixture(scope="module")
def logits(subject: tuple[Decomposition, Batches]) -> pd.DataFrame:
    return paths(*subject, direction="logits")


def test_the_columns_of_gradients(gradients: pd.DataFrame) -> None:
    assert list(gradients["length"]) == list(range(10))
    assert list(gradients["paths"]) == [math.comb(9, k) for k in range(10)]
    for name in ("gradient_coherent", "gradient_rms", "gradient_mean"):
        assert (gradients[name] > 0).all()
        assert np.allclose(np.log10(gradients[name]), gradients[f"{name}_log10"])
    ends = gradients.iloc[[0, -1]]  # one path only: all measures are its norm
    assert np.allclose(ends["gradient_coherent"], ends["gradient_rms"], rtol=1e-5)
    assert np.allclose(ends["gradient_coherent"], ends["gradient_mean"], rtol=1e-5)
    assert (gradients["gradient_mean_low"] <= gradients["gradient_mean"] * (1 + 1e-9)).all()
    assert (gradients["gradient_mean_high"] * (1 + 1e-9) >= gradients["gradient_mean"]).all()
    assert gradients.attrs["sum_error"] < 1e-4


def test_the_provenance_says_how(gradients: pd.DataFrame) -> None:
    about = gradients.attrs["provenance"]
    assert about["signs"] == 8 and about["samples"] == 50 and about["images"] == 5
    assert about["fast_branches"] == 1.0
    assert 2 <= about["signs_fewest"] <= 8 <= about["signs_most"] <= 8 * 5
    json.dumps(about)


def test_methods_leave_out_what_is_not_asked_for(subject: tuple[Decomposition, Batches]) -> None:
    exact = paths(*subject, signs=0)
    assert exact["gradient_coherent"].notna().all()
    assert exact["gradient_rms"].isna().all() and exact["gradient_mean"].isna().all()
    drawn = paths(*subject, method="sampled", samples=5)
    assert drawn["gradient_coherent"].isna().all() and drawn["gradient_mean"].notna().all()
    assert drawn.attrs["sum_error"] is None  # nothing was summed, so nothing was compared


def test_cancellation_is_what_the_norms_add_up_to(
    subject: tuple[Decomposition, Batches],
) -> None:
    net, [(images, labels), *_] = subject
    one = [(images[:1], labels[:1])]
    found = paths(net, one, signs=0, precision="fp64")
    x = images[:1].double().requires_grad_()
    logits = copy.deepcopy(net).double()(x)
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels[:1]), x)
    expected = found["gradient_coherent"].sum() / float(gradient.norm())
    assert found.attrs["cancellation"] == {"input": pytest.approx(expected, rel=1e-6)}
    assert expected >= 1
    lines = ensembles.analyses.ANALYSES.get("paths").notes(found)
    said = f"input: the norms of the lengths add up to {expected:.3g} times"
    assert lines[-1].startswith(said)
    parts = paths(net, one, direction="logits", precision="fp64")
    assert parts.attrs["cancellation"]["logits"] >= 1
    assert paths(net, one, method="sampled", samples=5).attrs["cancellation"] == {}


def test_results_do_not_depend_on_memory(subject: tuple[Decomposition, Batches]) -> None:
    whole = paths(*subject, signs=4)
    parts = paths(*subject, signs=4, memory=1)
    assert np.allclose(whole["gradient_coherent"], parts["gradient_coherent"], rtol=1e-4)


def test_places(subject: tuple[Decomposition, Batches]) -> None:
    frame = paths(*subject, at="blocks", signs=0)
    assert list(frame["at"].unique()) == [f"block {i}" for i in range(1, 10)]
    assert len(frame) == sum(range(2, 11))
    assert list(frame[frame["at"] == "block 9"]["paths"]) == [1, 1]
    learned = paths(*subject, at="parameters 9", signs=4)
    assert list(learned["paths"]) == [0, 1]


def test_the_columns_of_logits(logits: pd.DataFrame) -> None:
    assert list(logits["class"].unique()) == ["all"]
    assert logits["accuracy_up_to"].iloc[-1] == logits["accuracy_from"].iloc[0]
    assert logits["accuracy_up_to"].iloc[-1] == logits.attrs["accuracy"]
    assert logits["accuracy_up_to"].iloc[0] == logits["accuracy_alone"].iloc[0]


def test_rows_for_each_class_average_to_all(subject: tuple[Decomposition, Batches]) -> None:
    frame = paths(*subject, direction="logits", per_class=True)
    assert list(frame["class"].unique()) == ["all", "0", "1", "2", "3", "4"]
    each = frame[frame["class"] != "all"].groupby("length")["accuracy_up_to"].mean()
    assert np.allclose(each, frame[frame["class"] == "all"]["accuracy_up_to"])


def test_ranges(subject: tuple[Decomposition, Batches], logits: pd.DataFrame) -> None:
    frame = path_ranges(*subject, [(0, 3), (2, 9), (4, 4)])
    assert list(frame["paths"]) == [130, 502, 126]
    assert frame["accuracy"][0] == logits["accuracy_up_to"][3]
    assert frame["accuracy"][1] == logits["accuracy_from"][2]
    assert frame["accuracy"][2] == logits["accuracy_alone"][4]
    assert len(path_ranges(*subject)) == 55
    each = path_ranges(*subject, [(0, 3), (4, 4)], per_class=True)
    assert list(each["class"]) == [c for c in ("all", *"01234") for _ in range(2)]
    for place, accuracy in enumerate((frame["accuracy"][0], frame["accuracy"][2])):
        assert each["accuracy"][2 + place :: 2].mean() == pytest.approx(accuracy)
    with pytest.raises(UsageError, match="lengths 3 to 10; expected a range within 0 to 9"):
        path_ranges(*subject, [(3, 10)])


def test_effective_paths_by_each_measure(gradients: pd.DataFrame, logits: pd.DataFrame) -> None:
    table = effective_paths(gradients)
    assert list(table["measure"]) == ["coherent", "rms", "mean"]  # nothing of another network
    row = table.iloc[0]
    assert row["layers_first"] == 2 * row["first"] and row["layers_last"] == 2 * row["last"]
    assert 0.95 <= row["held"] <= 1
    assert list(effective_paths(logits)["measure"]) == ["logits"]
    with pytest.raises(UsageError, match="a share of 0; expected more than 0"):
        effective_paths(gradients, 0)
    with pytest.raises(UsageError, match="the table has no lengths and paths"):
        effective_paths(pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_frames_survive_a_file(gradients: pd.DataFrame, tmp_path: Path, ending: str) -> None:
    write_frame(gradients, tmp_path / f"x{ending}")
    again = read_frame(tmp_path / f"x{ending}")
    pd.testing.assert_frame_equal(again, gradients, check_dtype=False)
    assert list(effective_paths(again)["first"]) == list(effective_paths(gradients)["first"])


def test_figures_are_drawn_from_tables(
    gradients: pd.DataFrame, logits: pd.DataFrame, tmp_path: Path
) -> None:
    figure = plot_paths(gradients, tmp_path / "a.png")
    assert [ax.get_ylabel() for ax in figure.axes] == [
        "Share of 512 paths", "Gradient of one path", "Share of the total",
    ]  # fmt: skip
    assert figure.axes[1].get_yscale() == "log"
    figure.canvas.draw()
    for ax in (figure.axes[0], figure.axes[2]):  # a tick names the number at which it stands
        for place, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True):
            assert float(label.get_text().rstrip("%")) == pytest.approx(100 * place)
    assert plot_paths(logits, tmp_path / "b.svg").axes[0].get_ylabel() == "Accuracy"
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_options_without_meaning(subject: tuple[Decomposition, Batches]) -> None:
    for options, message in (
        (
            {"method": "exakt"},
            "method 'exakt'; expected exact or sampled or all; did you mean exact",
        ),
        ({"direction": "up"}, "direction 'up'; expected gradient or logits"),
        ({"images": 0}, "0 images; expected at least 1"),
        ({"signs": 1}, "1 draws of signs; expected 0 for none, or at least 2"),
        ({"signs": 10**9}, "1000000000 draws; expected at most 100000"),
        ({"samples": 10**12}, "1000000000000 draws; expected at most 100000"),
        ({"images": 2**64}, "images: expected a number of at most 9007199254740992"),
        ({"samples": 0}, "0 samples of each length"),
        ({"at": "block 12"}, "the network has blocks 1 to 9"),
        ({"sign": 3}, "paths has no option 'sign'; expected method, .*; did you mean signs"),
        ({"per_class": True}, "rows for each class are of logits; expected direction logits"),
        ({"at": "first", "direction": "logits"}, "the place 'first' is one of gradients"),
    ):
        with pytest.raises(UsageError, match=message):
            paths(*subject, **options)


def test_data_that_does_not_fit(subject: tuple[Decomposition, Batches]) -> None:
    net, _ = subject
    with pytest.raises(DataError, match="the data holds no images"):
        paths(net, [])
    with pytest.raises(DataError, match=r"images have shape \(3, 4, 4\)"):
        paths(net, [(torch.randn(2, 3, 4, 4), torch.tensor([0, 1]))])
    with pytest.raises(PathError, match="an image has label 12, the network 10 classes"):
        paths(net, [(torch.randn(1, 3, 8, 8), torch.tensor([12]))])


def test_a_plain_network_says_that_it_has_one_path() -> None:
    net = decompose(create_model("vgg15").eval(), torch.randn(2, 3, 32, 32))
    with pytest.raises(
        PathError, match=r"is one path \(its 15 blocks are plain\): no block has a shortcut"
    ):
        paths(net, [(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))])


def test_batch_statistics_need_batchnorm() -> None:
    block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head = block, nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((x + self.block(x)).mean((2, 3)))

    images = torch.randn(2, 3, 4, 4)
    net = decompose(Net().eval(), images)
    batch = [(images, torch.tensor([0, 1]))]
    assert len(paths(net, batch, signs=0)) == 2
    with pytest.raises(PathError, match="Net has no BatchNorm layer"):
        paths(net, batch, statistics="batch")


def test_the_network_is_left_as_it_is(subject: tuple[Decomposition, Batches]) -> None:
    net, data = subject
    before = {name: value.clone() for name, value in net.state_dict().items()}
    paths(net, data, signs=0, statistics="batch", precision="fp64")
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not torch.is_anomaly_enabled() and torch.is_grad_enabled()


def test_what_drawn_paths_say_of_themselves() -> None:
    owners = np.repeat([[0, 1]], 200, 0).reshape(1, 400)
    flat, even = np.zeros((1, 400)), np.zeros((1, 400))
    samples = Samples(flat, even, owners)
    assert samples.tail_share()[0] == pytest.approx(0.01)
    assert samples.mean()[0] == samples.error()[0] == samples.rms()[0] == 0
    assert [bound[0] for bound in samples.interval(0)] == pytest.approx([1, 1])
    heavy = flat.copy()
    heavy[0, :2] = 13
    assert Samples(heavy, even, owners).tail_share()[0] > 0.9
    mean, _ = mean_over_images(np.array([[-2000.0, -2000.0]]))
    assert mean[0] == -2000


def test_a_table_says_where_drawn_paths_miss_the_tail(gradients: pd.DataFrame) -> None:
    heavy = gradients.copy()
    heavy["gradient_mean_top"] = [0.01, 0.3, 0.4, 0.01, 0.25, *[0.02] * 5]
    heavy["sampled_rms"] = heavy["gradient_rms"] * [1, 0.5, 1, 1, 2, *[1] * 5]
    assert path_notes(heavy) == [
        "heavy tails: at 3 lengths (1 to 2, 4) the greatest 2 % of the drawn paths hold up to 40 % "
        "of the sum, so the interval there is too short",
        "the RMS of the drawn paths is 50 % (length 1) to 200 % (length 4) of that of all paths",
    ]
    heavy["gradient_mean_top"], heavy["gradient_rms"] = 0.02, np.nan
    assert path_notes(heavy) == []
    assert path_notes(gradients.drop(columns="gradient_mean_top")) == []


def test_images_count_equally_however_many_draws_they_have() -> None:
    random = np.random.default_rng(0)
    owners = np.sort(random.choice(3, (1, 500), p=[0.7, 0.2, 0.1]))
    values = np.array([1.0, 4.0, 16.0])[owners] * random.uniform(0.5, 1.5, owners.shape)
    order = random.permutation(500)
    samples = Samples(np.log2(values)[:, order], np.zeros((1, 500)), owners[:, order])
    each = [values[owners == i] for i in range(3)]
    assert 2 ** samples.mean()[0] == pytest.approx(np.mean([one.mean() for one in each]))
    error = np.sqrt(sum(one.var(ddof=1) / len(one) for one in each)) / 3
    assert samples.error()[0] == pytest.approx(error)
    low, high = samples.interval(0)
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * error, rel=0.1)
    rms = np.mean([np.sqrt((one**2).mean()) for one in each])
    assert 2 ** samples.rms()[0] == pytest.approx(rms)


def test_one_draw_an_image_has_its_error_from_the_images() -> None:
    samples = Samples(np.log2([[1.0, 3.0]]), np.zeros((1, 2)), np.array([[0, 1]]))
    assert samples.error()[0] == pytest.approx(1)
    alone = Samples(np.zeros((1, 1)), np.zeros((1, 1)), np.array([[0]]))
    assert np.isnan(alone.error()[0])


def test_the_error_of_random_signs_grows_with_what_it_is_of(
    subject: tuple[Decomposition, Batches],
) -> None:
    """Of a gradient that is eight times as large it is eight times as large."""
    net, _ = subject
    owners, place = torch.arange(3).repeat_interleave(4), Place("input")
    norms = torch.randn(10, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def table(shift: float) -> pd.DataFrame:
        found = GradientMeasures(signed=Signed(norms + shift, owners, torch.full((3,), 4)))
        return pd.DataFrame(gradient_rows(net, place, found, 0))

    small, large = table(0.0), table(3.0)
    for name in ("gradient_rms", "gradient_rms_se", "gradient_rms_sd"):
        assert large[name].to_numpy() == pytest.approx(8 * small[name].to_numpy()), name
    assert (small["gradient_rms_se"] > 0).all()


@pytest.mark.assets
def test_a_public_network(assets: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(assets / "data" / "cifar10-jpeg-test.tar.xz") as archive:
        wanted = [m for m in archive if m.name.endswith(("0000.jpg", "0001.jpg"))]
        archive.extractall(tmp_path, wanted, filter="data")
    model = CifarResNet(20)
    state = torch.load(
        assets / "checkpoints" / "resnet20-12fca82f.th", weights_only=True, map_location="cpu"
    )
    state = state.get("state_dict", state)
    model.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    data = dataset(str(tmp_path), split="test", normalize="imagenet")
    net = decompose(model.eval(), next(data.batches(4))[0])
    frame = paths(net, data, images=8, signs=0)
    assert frame.attrs["sum_error"] < 1e-4
    assert paths(net, data, direction="logits", images=8)["accuracy_up_to"].iloc[-1] >= 0.5
