"""A network cut short after every block, against a loop that stops there."""

from __future__ import annotations

import pytest
import torch
from by_hand import loop_of
from networks import build, images_for
from scipy.special import rel_entr, softmax

import ensembles
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import UsageError
from ensembles.plots import plot_analysis
from ensembles.plots.depth import curve_by_depth


def test_it_equals_a_loop_that_stops() -> None:
    model = build([("pre", 6, 1)] * 3, seed=3)
    images, labels = images_for(model, 33)
    net, data = ensembles.decompose(model, images[:4]), [(images, labels)]
    table = ensembles.analyze(net, data, "depth", images=2, model="small")
    loop = loop_of(model)
    with torch.no_grad():
        x = loop.stem(images)
        outputs, cosines = [loop.head(x)], []
        for unit in loop.units:
            y = unit(x)
            cosine = torch.nn.functional.cosine_similarity(y - x, x, dim=1).flatten(1)
            there = (((y - x).norm(dim=1) > 0) & (x.norm(dim=1) > 0)).flatten(1)
            by_row = (cosine * there).sum(1) / there.sum(1)
            cosines.append(by_row.mean().item())
            x = y
            outputs.append(loop.head(x))
    assert table["block"].tolist() == [0, 1, 2, 3] and table["name"][0] == "stem"
    p = softmax(outputs[-1].double().numpy(), axis=1)
    for row, out in zip(table.itertuples(), outputs, strict=True):
        q = softmax(out.double().numpy(), axis=1)
        assert row.kl == pytest.approx(rel_entr(p, q).sum(1).mean(), rel=1e-3, abs=1e-7)
        assert row.kl_low <= row.kl <= row.kl_high
        assert row.error == pytest.approx((out.argmax(1) != labels).float().mean().item())
        assert row.overlap == 1  # of five classes, five
    assert table["branch_cosine"].tolist()[1:] == pytest.approx(cosines, abs=1e-5)
    assert table["kl"].iloc[-1] == 0 and table["agreement"].iloc[-1] == 1
    what = {row["what"]: row["block"] for row in table.attrs["depths"]}
    half = next(b for b, kl in enumerate(table["kl"]) if kl < table["kl"].max() / 2)
    assert what["first block after which the divergence is below half of its maximum"] == half
    spectrum = ensembles.paths(net, data, images=2)
    first = ensembles.effective_paths(spectrum).iloc[0]
    lengths = what["lengths with 95 % of the gradient (sum of all paths)"]
    assert lengths == f"{first['first']} to {first['last']}"
    assert len(ANALYSES.get("depth").notes(table)) == len(table.attrs["depths"])
    ax = curve_by_depth(table, table, labels=["one", "two"], colours=["#123456", "#654321"])
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["one", "two", "95% interval", "33 images"]
    figure = plot_analysis([table, table])
    assert [ax.get_xlabel() for ax in figure.axes] == ["Cut short after block"] * 2 + ["Block"]


def test_what_depth_refuses() -> None:
    model = build([("plain", 6, 1)] * 2)
    images, labels = images_for(model, 4)
    net = ensembles.decompose(model, images)
    with pytest.raises(UsageError, match=r"not all blocks of .* follow each other with a shortcut"):
        ensembles.analyze(net, [(images, labels)], "depth")
    with pytest.raises(UsageError, match="images -1; expected 0 or more"):
        ensembles.analyze(net, [(images, labels)], "depth", images=-1)
