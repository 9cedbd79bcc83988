"""Direct and total effects against loops by hand, and networks whose repair is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from by_hand import loop_of
from networks import Tokens, build, images_for, silenced
from torch import Tensor, nn

import ensembles
from ensembles.analyses.held_scales import HeldScales
from ensembles.analyses.kinds import ANALYSES
from ensembles.errors import UsageError
from ensembles.plots import plot_analysis
from ensembles.plots.repair import effects_by_block, total_by_direct


def centred(logits: Tensor, labels: Tensor) -> np.ndarray:
    """Right logit less the mean of all, row by row."""
    found = logits.gather(1, labels[:, None])[:, 0] - logits.mean(1)
    return found.numpy()


def effects(
    model: nn.Module, images: Tensor, labels: Tensor, held_head: Callable[..., Tensor] | None
) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Direct effect with the final norm's scale held and free, and total effect, of every block."""
    loop = loop_of(model)
    x, made = loop.stem(images), []
    for unit in loop.units:
        made.append(unit.branch(x))
        x = unit.finish(x, made[-1])
    last, intact = x, centred(loop.head(x), labels)
    found = {}
    for gone in range(len(loop.units)):
        direct = total = loop.stem(images)
        for number, unit in enumerate(loop.units):
            none = torch.zeros_like(made[number])
            direct = unit.finish(direct, none if number == gone else made[number])
            total = unit.finish(total, none if number == gone else unit.branch(total))
        free = centred(loop.head(direct), labels)
        held = free if held_head is None else centred(held_head(direct, last), labels)
        found[gone + 1] = intact - held, intact - free, intact - centred(loop.head(total), labels)
    return found


def head_of_tokens(model: Tokens) -> Callable[..., Tensor]:
    """The head with the deviations that it divided by before."""

    def head(x: Tensor, before: Tensor) -> Tensor:
        scale = before.var(-1, unbiased=False, keepdim=True).add(model.norm.eps).rsqrt()
        y = (x - x.mean(-1, keepdim=True)) * scale * model.norm.weight + model.norm.bias
        return model.head(y[:, 0])

    return head


@pytest.mark.parametrize(
    "plan",
    [
        [("pre", 6, 1), ("pre", 8, 2), ("pre", 8, 1)],
        [("post", 6, 1), ("post", 8, 2), ("post", 8, 1)],
        [("dense", 0, 1)] * 3,
        [("attention", 0, 1)] * 2,
    ],
)
def test_it_equals_loops_by_hand(plan: list[tuple[str, int, int]]) -> None:
    model = build(plan, seed=3)
    images, labels = images_for(model, 40)
    net = ensembles.decompose(model, images[:4])
    data = [(images[:25], labels[:25]), (images[25:], labels[25:])]
    table = ensembles.analyze(net, data, "repair")
    held = head_of_tokens(model) if isinstance(model, Tokens) else None
    with torch.no_grad():
        wanted = effects(model, images, labels, held)
    assert table["block"].tolist() == list(wanted)
    assert table.attrs["norm_held"] == isinstance(model, Tokens)
    for row in table.itertuples():
        direct, free, total = (float(values.mean()) for values in wanted[row.block])
        assert row.direct == pytest.approx(direct, abs=1e-5)
        assert row.total == pytest.approx(total, abs=1e-5)
        assert row.direct_low <= row.direct <= row.direct_high
        if row.reason:
            assert row.direct_low < 0 < row.direct_high and np.isnan(row.repair)
            continue
        assert row.repair == pytest.approx(1 - total / direct, abs=1e-4 / abs(direct))
        assert row.by_norm == pytest.approx(1 - free / direct, abs=1e-4 / abs(direct))
        assert row.by_norm + row.by_blocks == pytest.approx(row.repair)
        assert row.repair_low <= row.repair <= row.repair_high
    if held is None:
        last = table.iloc[-1]
        assert last["total"] == pytest.approx(last["direct"], abs=1e-5)


class Undoing(nn.Module):
    """A block whose branch takes a share of the stream away."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(-share * torch.eye(6)[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


def test_a_block_that_takes_a_share_of_the_stream_away_repairs_that_share() -> None:
    model = build([("pre", 6, 1)], seed=2)
    model.blocks.append(Undoing(0.25))
    images = images_for(model, 64)[0]
    with torch.no_grad():  # the answers that the first block speaks for
        x = model.stem(images)
        added = (model.blocks[0](x) - x).mean((2, 3))
        labels = (added @ model.classifier.weight.T).argmax(1)
    net = ensembles.decompose(model, images[:4])
    table = ensembles.analyze(net, [(images, labels)], "repair").set_index("block")
    assert table.loc[1, "repair"] == pytest.approx(0.25, abs=1e-4)
    assert table.loc[1, "by_blocks"] == pytest.approx(0.25, abs=1e-4)
    assert table.loc[1, "by_norm"] == 0 and abs(table.loc[2, "repair"]) < 1e-4
    assert table.loc[1, ["repair_low", "repair_high"]].tolist() == pytest.approx(
        [0.25] * 2, abs=1e-3
    )


class PostNorm(nn.Module):
    """A block with a norm behind its addition, as in the first transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)

    def branch(self, x: Tensor) -> Tensor:
        return self.inner(x).tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.branch(x))


def held(norm: nn.LayerNorm, x: Tensor, before: Tensor) -> Tensor:
    """A norm that divides by what it divided by before."""
    scale = before.var(-1, unbiased=False, keepdim=True).add(norm.eps).rsqrt()
    return (x - x.mean(-1, keepdim=True)) * scale * norm.weight + norm.bias


def test_norms_behind_additions_are_held_too() -> None:
    model = build([("attention", 0, 1)], seed=7)
    images = images_for(model, 40)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model.blocks = nn.ModuleList([PostNorm(), PostNorm()])
        for weight in model.blocks.parameters():
            nn.init.normal_(weight)
    one, two = model.blocks
    with torch.no_grad():
        x = loop_of(build([("attention", 0, 1)], seed=7)).stem(images)
        sums = [x + one.branch(x)]
        y = one.norm(sums[0])
        sums.append(y + two.branch(y))
        last = two.norm(sums[1])
        less = held(two.norm, held(one.norm, x, sums[0]) + two.branch(y), sums[1])
        logits = [
            model.head(part[:, 0])
            for part in (
                model.norm(last),
                held(model.norm, less, last),
                model.norm(two.norm(one.norm(x) + two.branch(y))),
                model.norm(two(one.norm(x))),
            )
        ]
        labels = (logits[0] - logits[1]).argmax(1)  # the answers that the block speaks for
        right = [float(centred(one, labels).mean()) for one in logits]
    direct, free, total = (right[0] - one for one in right[1:])
    net = ensembles.decompose(model, images[:4])
    table = ensembles.analyze(net, [(images, labels)], "repair").set_index("block")
    row = table.loc[1]
    assert [row["direct"], row["total"]] == pytest.approx([direct, total], abs=1e-5)
    assert row["by_norm"] == pytest.approx(1 - free / direct, abs=1e-4)
    assert row["repair"] == pytest.approx(1 - total / direct, abs=1e-4)
    assert table.attrs["norm_held"]


def test_a_branch_that_gives_nothing_has_no_effect_to_repair() -> None:
    model = silenced(build([("pre", 6, 1)] * 3, seed=4), 2)
    images, labels = images_for(model, 33)
    net = ensembles.decompose(model, images[:4])
    table = ensembles.analyze(net, [(images, labels)], "repair").set_index("block")
    assert abs(table.loc[2, "direct"]) < 1e-6 and abs(table.loc[2, "total"]) < 1e-6
    assert table.loc[2, "reason"] == "its direct effect may be 0"
    assert np.isnan(table.loc[2, "repair"])


def test_scales_of_all_norms_are_held() -> None:
    class WrittenOut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)

    norms = [nn.LayerNorm(6), nn.GroupNorm(2, 6), nn.RMSNorm(6), WrittenOut()]
    x = torch.randn(5, 6, 6)
    for norm in norms:
        for weight in norm.parameters():
            nn.init.normal_(weight)
        bias = getattr(norm, "bias", None)
        shift = 0 if bias is None else (bias if isinstance(norm, nn.LayerNorm) else bias[:, None])
        scales = HeldScales()
        with torch.inference_mode():
            with scales.keeping("it"):
                y = norm(x)
            assert scales
            with scales.holding("it"):
                assert torch.allclose(norm(x), y, atol=1e-5)
            with scales.holding("it"):
                assert torch.allclose(norm(3 * x) - shift, 3 * (y - shift), atol=1e-4)
            with (
                pytest.raises(UsageError, match="1 norms of it did not run again"),
                scales.holding("it"),
            ):
                pass
            with (
                pytest.raises(UsageError, match="runs where it did not before"),
                scales.holding("it"),
            ):
                norm(norm(x))


def test_a_language_model_its_figure_and_notes(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ensembles.create_model("gpt6", width=16, heads=2)
        windows = torch.randint(0, 256, (6, 12))
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.2)
    net = ensembles.decompose(model, windows[:2])
    table = ensembles.analyze(net, windows, "repair", model="small", store=tmp_path / "x.db")
    with torch.no_grad():
        x = model.tokens(windows) + model.places.weight[:12]
        ended = model.layers(x)
        scale = ended.var(-1, unbiased=False, keepdim=True).add(model.norm.eps).rsqrt()
        attention = model.layers[0].attention
        added = attention.branch(x)
        gone = (added - added.mean(-1, keepdim=True)) * scale * model.norm.weight
        logits = model.head(gone)[:, :-1].flatten(0, 1)
        wanted = centred(logits, windows[:, 1:].flatten()).mean()
    assert table["direct"][0] == pytest.approx(wanted, abs=1e-5)
    assert table.attrs["norm_held"] and table.attrs["observation"] == "token"
    again = ensembles.analyze(net, windows, "repair", store=tmp_path / "x.db")
    assert again.equals(table)
    figure = plot_analysis(table, tmp_path / "x.png")
    assert [ax.get_xlabel() for ax in figure.axes] == ["Block", "Direct effect on the right logit"]
    assert len(plot_analysis([table, table]).axes) == 4
    names = [text.get_text() for text in effects_by_block(table).get_legend().get_texts()]
    assert names[:-1] == ["direct", "total, by deletion", "95% interval"]
    ax = total_by_direct(table, colours=["#123456"], legend=False)
    assert ax.get_legend() is None
    first, second = ANALYSES.get("repair").notes(table)
    assert "of 6 blocks have a direct effect that is not 0" in first
    assert second.startswith("direct and total effect: Spearman")


def test_what_repair_refuses() -> None:
    model = build([("plain", 6, 1)] * 2)
    images, labels = images_for(model, 4)
    net = ensembles.decompose(model, images)
    with pytest.raises(
        UsageError, match=r"no block of .* has a shortcut, so that none has a direct"
    ):
        ensembles.analyze(net, [(images, labels)], "repair")
    with pytest.raises(UsageError, match="rows -1; expected 0 or more"):
        ensembles.analyze(net, [(images, labels)], "repair", rows=-1)
