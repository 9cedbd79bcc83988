"""Metrics against slow, obvious oracles; that they add; and how they are chosen."""

from __future__ import annotations

import itertools
import math
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from own_tests import without_own_test
from scipy.special import log_softmax, rel_entr, softmax
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score
from torch import Tensor

from ensembles.errors import UsageError
from ensembles.lesions import Lesion
from ensembles.metrics import METRICS, Answers, Column, Mean, Metric, Outcome, read, require
from ensembles.tasks import TASKS

ALL = read(name for name in METRICS.names() if name in without_own_test("metric", [name]))
COUNTED = {"top1", "top5", "agreement", "classes", "confusion"}


def measured(metrics: tuple[Metric, ...], answers: Answers) -> Outcome:
    """The outcome of some answers, in one go."""
    states = {one.name: one.update(one.zero(answers.classes), answers) for one in metrics}
    bad = int((~answers.finite).sum())
    return Outcome(Lesion("delete", (3,)), len(answers), bad, states)


def parts(answers: Answers, cuts: list[int]) -> list[Answers]:
    """Answers to the same observations, cut at some places."""
    bounds = sorted({0, len(answers), *(cut % (len(answers) + 1) for cut in cuts)})
    intact = answers.reference
    return [
        Answers(
            answers.output[a:b], answers.target[a:b], answers.finite[a:b],
            Answers.of(intact.output[a:b], intact.target[a:b]),
        )
        for a, b in itertools.pairwise(bounds)
    ]  # fmt: skip


@st.composite
def some_answers(draw: st.DrawFn, least: int = 2, finite: bool = False) -> Answers:
    """Answers to random observations; ties, wrong labels and rows that are not finite happen."""
    rows, classes = draw(st.integers(1, 12)), draw(st.integers(least, 7))
    seed = draw(st.integers(0, 2**16))
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(rows, classes, generator=generator) * draw(st.sampled_from([0.1, 2, 30]))
    intact = torch.randn(rows, classes, generator=generator) * 3
    target = torch.randint(0, classes, (rows,), generator=generator)
    if draw(st.booleans()):
        output = output.round()  # ties
    for row in [] if finite else draw(st.sets(st.integers(0, rows - 1), max_size=3)):
        output[row, seed % classes] = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    return Answers.of(output, target, intact)


def oracle(output: Tensor, target: Tensor, intact: Tensor) -> dict[str, Any]:
    """Every column, observation by observation, in double precision."""
    x, q = output.double().numpy(), intact.double().numpy()
    y, classes = target.numpy(), output.shape[1]
    answer = [next(k for k in range(classes) if row[k] == row.max()) for row in x]
    before = [next(k for k in range(classes) if row[k] == row.max()) for row in q]
    logs = log_softmax(x, axis=1)
    n = range(len(y))
    right = [int(answer[i] == y[i]) for i in n]
    order = [sorted(range(classes), key=lambda k, i=i: (-x[i][k], k)) for i in n]
    loss = float(np.mean([-logs[i][y[i]] for i in n]))
    return {
        "correct": sum(right),
        "error": 1 - sum(right) / len(y),
        "loss": loss,
        "top5": np.mean([y[i] in order[i][:5] for i in n]),
        "kl": np.mean(rel_entr(softmax(q, axis=1), softmax(x, axis=1)).sum(1)),
        "agreement": np.mean([answer[i] == before[i] for i in n]),
        "margin": np.mean([x[i][y[i]] - max(np.delete(x[i], y[i])) for i in n]),
        "brier": np.mean([sum((np.exp(logs[i]) - np.eye(classes)[y[i]]) ** 2) for i in n]),
        "ece": calibration_error(output.softmax(-1).double().amax(-1).numpy(), np.array(right)),
        "class_correct": [sum(right[i] for i in n if y[i] == k) for k in range(classes)],
        "confusion": confusion_matrix(y, answer, labels=range(classes)).tolist(),
        "perplexity": math.exp(loss),
    }


def calibration_error(confidence: Any, right: Any) -> float:
    """Equation 3 of Guo et al. 2017, bin by bin."""
    error = 0.0
    for m in range(1, 16):
        inside = ((m - 1) / 15 < confidence) & (confidence <= m / 15)
        if inside.any():
            accuracy, mean = right[inside].mean(), confidence[inside].mean()
            error += inside.sum() / len(right) * abs(accuracy - mean)
    return error


class TestValues:
    @settings(max_examples=30, deadline=None)
    @given(some_answers(finite=True))
    def test_all_columns_are_those_of_the_oracle(self, answers: Answers) -> None:
        row = measured(ALL, answers).row(ALL)
        expected = oracle(answers.output, answers.target, answers.reference.output)
        assert row.keys() == expected.keys()
        for metric in ALL:
            for column in metric.columns:
                found, wanted = row[column.name], expected[column.name]
                if column.type == "number":
                    assert found == pytest.approx(wanted, rel=2e-5, abs=2e-6), column.name
                else:
                    assert found == wanted, column.name

    @settings(max_examples=30, deadline=None)
    @given(some_answers())
    def test_rows_that_are_not_finite_add_nothing(self, answers: Answers) -> None:
        keep = answers.finite
        fewer = Answers.of(
            answers.output[keep], answers.target[keep], answers.reference.output[keep]
        )
        all_of_them, rest = measured(ALL, answers), measured(ALL, fewer)
        for name, state in all_of_them.states.items():
            assert state == pytest.approx(rest.states[name], rel=1e-12), name
        row = all_of_them.row(ALL)
        for metric in ALL:
            for column in metric.columns:
                if column.type == "number" and all_of_them.nonfinite:
                    assert math.isnan(row[column.name])
                elif column.type != "number":
                    assert row[column.name] == rest.row(ALL)[column.name]

    def test_agrees_with_scikit_learn(self, generator: torch.Generator) -> None:
        output = torch.randn(200, 8, generator=generator)
        target = torch.arange(200) % 7  # no observation of the last class
        row = measured(ALL, Answers.of(output, target, output)).row(ALL)
        p, labels = output.double().softmax(-1).numpy(), range(8)
        assert row["loss"] == pytest.approx(log_loss(target, p, labels=labels), abs=1e-6)
        assert row["top5"] == top_k_accuracy_score(target, output, k=5, labels=labels)
        matrix = np.array(row["confusion"])
        assert matrix.sum() == 200
        assert matrix[7].sum() == 0 == row["class_correct"][7]
        assert np.diag(matrix).tolist() == row["class_correct"]
        assert sum(row["class_correct"]) == row["correct"] == round(200 * (1 - row["error"]))

    def test_the_intact_network_agrees_with_itself(self, generator: torch.Generator) -> None:
        output = torch.randn(50, 9, generator=generator) * 20
        row = measured(ALL, Answers.of(output, torch.zeros(50).long(), output)).row(ALL)
        assert (row["kl"], row["agreement"]) == (0.0, 1.0)

    @settings(max_examples=30, deadline=None)
    @given(some_answers(finite=True), st.sampled_from([1e-7, 1e-5, 1e-3, 1e-2]))
    def test_a_small_divergence_is_no_rounding(self, answers: Answers, step: float) -> None:
        intact = answers.reference.output.double()
        moved = intact + step * torch.linspace(-1, 1, intact.shape[1]).double()
        single = Answers.of(moved.float(), answers.target, intact.float())
        double = Answers.of(moved.float().double(), answers.target, intact.float().double())
        [kl] = read("kl")
        found, wanted = kl.measure(single).item(), kl.measure(double).item()
        assert found >= 0
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-12)

    def test_a_small_divergence_is_that_of_its_definition(self) -> None:
        """Against the definition in float64, on both sides of the place where the series ends."""
        [kl] = read("kl")
        for step in (0.005, 0.015, 0.03, 0.3):
            intact = torch.tensor([[0.0, 1.0, 3.0]]).double()
            moved = intact + step * torch.tensor([[-1.0, 0.2, 0.1]]).double()
            old, new = intact.log_softmax(-1), moved.log_softmax(-1)
            wanted = float((old.exp() * (old - new)).sum())
            found = kl.measure(Answers.of(moved.float(), torch.tensor([0]), intact.float()))
            assert found.item() == pytest.approx(wanted, rel=1e-4)

    def test_far_distributions(self) -> None:
        sharp = torch.tensor([[300.0, 0.0, -300.0]])
        [kl] = read("kl")
        far = kl.measure(Answers.of(-sharp, torch.tensor([0]), sharp))
        assert far.item() == pytest.approx(600)
        assert kl.measure(Answers.of(3 * sharp, torch.tensor([0]), sharp)).item() == 0
        huge = torch.tensor([[3e38, 0.0, -3e38]])
        assert kl.measure(Answers.of(huge, torch.tensor([0]), huge.flip(0))).item() == 0
        assert kl.measure(Answers.of(-huge, torch.tensor([0]), huge)).item() == math.inf

    def test_equal_logits_answer_the_first_class(self) -> None:
        tied = torch.zeros(3, 6)
        row = measured(ALL, Answers.of(tied, torch.tensor([0, 4, 5]), tied)).row(ALL)
        assert row["correct"] == 1
        assert row["top5"] == pytest.approx(2 / 3)
        assert row["margin"] == 0

    def test_with_fewer_than_five_classes_every_answer_is_among_five(self) -> None:
        answers = Answers.of(torch.randn(6, 3), torch.zeros(6).long())
        assert measured(read("top5"), answers).row() == {"top5": 1.0}

    def test_halves_of_a_precision_are_widened(self) -> None:
        output = torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16)
        assert Answers.of(output, torch.tensor([1])).output.dtype == torch.float32
        assert Answers.of(output.double(), torch.tensor([1])).output.dtype == torch.float64

    def test_bins_are_open_below_and_closed_above(self) -> None:
        [ece] = read("ece")
        certain = torch.tensor([[90.0, 0.0]], dtype=torch.float64)
        even = torch.zeros(1, 2, dtype=torch.float64)
        for output, place in ((certain, 14), (even, 7)):
            state = ece.measure(Answers.of(output, torch.tensor([0]))).reshape(3, 15)
            assert state[0].nonzero().tolist() == [[place]]

    def test_an_endless_perplexity_is_infinite(self) -> None:
        [perplexity] = read("perplexity")
        assert perplexity.row(np.array([1e6]), 1) == {"perplexity": math.inf}

    @pytest.mark.parametrize("classes", [2, 10])
    def test_chance_is_what_equal_logits_give(self, classes: int) -> None:
        target = torch.arange(classes)
        even = torch.zeros(classes, classes)
        guess = Answers.of(even, target, torch.eye(classes))
        row = measured(ALL, guess).row(ALL)
        for metric in ALL:
            for name, value in metric.chance(classes).items():
                assert row[name] == pytest.approx(value), name


class TestAdding:
    @settings(max_examples=25, deadline=None)
    @given(some_answers(), st.lists(st.integers(0, 20), max_size=4))
    def test_the_parts_merged_are_the_whole(self, answers: Answers, cuts: list[int]) -> None:
        whole = measured(ALL, answers)
        first, *others = [measured(ALL, part) for part in parts(answers, cuts)]
        for other in others:
            first = first.merge(other)
        assert (first.total, first.nonfinite) == (whole.total, whole.nonfinite)
        for name, state in whole.states.items():
            if name in COUNTED:
                assert state.tolist() == first.states[name].tolist(), name
            else:
                assert first.states[name] == pytest.approx(state, rel=1e-6, abs=1e-6), name
        found, wanted = first.row(ALL), whole.row(ALL)
        for column in (column for metric in ALL for column in metric.columns):
            value: Any = wanted[column.name]
            if column.type == "number":
                value = pytest.approx(value, rel=1e-5, abs=1e-5, nan_ok=True)
            assert found[column.name] == value

    def test_sizes_are_what_is_measured(self) -> None:
        answers = Answers.of(torch.randn(4, 6), torch.tensor([0, 1, 2, 5]), torch.randn(4, 6))
        for metric in ALL:
            assert metric.measure(answers).shape == (metric.size(6),), metric.name
            assert metric.zero(6).shape == (metric.size(6),)

    def test_counts_past_what_a_float32_holds_stay_exact(self) -> None:
        [top1] = read("top1")
        state = np.array([2.0**53 - 2])
        assert top1.row(top1.merge(state, np.ones(1)), 2**53)["correct"] == 2**53 - 1


class TestOutcomes:
    def outcome(self, **changes: Any) -> Outcome:
        answers = Answers.of(torch.eye(4), torch.tensor([0, 1, 2, 0]))
        made = measured(read(("top1", "loss", "classes")), answers)
        about = {
            "lesion": made.lesion, "total": made.total, "nonfinite": made.nonfinite,
            "states": made.states, "predictions": np.arange(4, dtype=np.int32), **changes,
        }  # fmt: skip
        return Outcome(**about)

    def test_its_numbers(self) -> None:
        found = self.outcome()
        assert (found.correct, found.total, found.error) == (3, 4, 0.25)
        assert found.class_correct == (1, 1, 1, 0)
        assert found.loss == pytest.approx(found.loss_sum / 4)
        assert found.row("loss") == {"loss": found.loss}
        assert list(found.row()) == ["correct", "error", "loss", "class_correct"]

    def test_numbers_are_missing_where_logits_were_not_finite(self) -> None:
        row = self.outcome(nonfinite=1).row()
        assert math.isnan(row["error"])
        assert math.isnan(row["loss"])
        assert row["correct"] == 3

    def test_nothing_seen(self) -> None:
        empty = {one.name: one.zero(4) for one in ALL}
        row = self.outcome(total=0, states=empty).row()
        assert row["correct"] == 0
        assert all(math.isnan(row[c.name]) for m in ALL for c in m.columns if c.type == "number")

    def test_equality_and_pickling(self) -> None:
        found = self.outcome()
        assert found == self.outcome(predictions=None) == pickle.loads(pickle.dumps(found))
        assert hash(found) == hash(self.outcome())
        assert found != self.outcome(total=5)
        assert found != self.outcome(states={**found.states, "loss": np.zeros(1)})
        assert found != self.outcome(states={"top1": found.states["top1"]})
        assert found != 3

    def test_merging(self) -> None:
        both = self.outcome().merge(self.outcome(nonfinite=1))
        assert (both.total, both.nonfinite, both.correct) == (8, 1, 6)
        assert both.predictions is not None
        assert both.predictions.tolist() == [0, 1, 2, 3] * 2
        assert self.outcome().merge(self.outcome(predictions=None)).predictions is None

    def test_refusals(self) -> None:
        found = self.outcome()
        with pytest.raises(UsageError, match="metric 'kl' was not measured, only top1, loss, cla"):
            found.row("kl")
        with pytest.raises(UsageError, match=r"delete 3 \(top1, loss, classes\) and of delete 4"):
            found.merge(self.outcome(lesion=Lesion("delete", (4,))))
        with pytest.raises(UsageError, match=r"delete 3 \(top1\) cannot be merged"):
            found.merge(self.outcome(states={"top1": found.states["top1"]}))
        with pytest.raises(UsageError, match="'top1' was not measured, only nothing"):
            _ = self.outcome(states={}).correct
        assert self.outcome(states={}).class_correct is None


@dataclass(frozen=True)
class Spread(Mean):
    """Difference of the largest and the smallest logit."""

    name = "spread"
    summary = "difference of the largest and the smallest logit"
    columns = (Column("spread", "number", None, "Spread of the logits"),)

    def values(self, answers: Answers) -> Tensor:
        return answers.output.amax(-1) - answers.output.amin(-1)


class Twin(Spread):
    name = "twin"


class Silent(Spread):
    name = "silent"
    columns = (Column("loud", "number", None, "Loud"),)

    def row(self, state: Any, total: int) -> dict[str, Any]:
        return {"soft": 0}


class Misfit(Spread):
    name = "misfit"

    def size(self, classes: int) -> int:
        return 2


class TestChoosing:
    def test_names_and_instances_in_their_order(self) -> None:
        found = read(["kl", Spread(), "top1"])
        assert [metric.name for metric in found] == ["kl", "spread", "top1"]
        assert read("loss") == read(["loss"]) == read(read("loss"))

    @pytest.mark.parametrize(
        ("chosen", "message"),
        [
            (("topp1",), "metric 'topp1' is unknown; expected top1, .*; did you mean top1"),
            (("top1", "loss", "top1"), "metric 'top1' is named twice; name it once"),
            ((), "no metric is named; expected one or more of top1, loss"),
            ((3,), "found among the metrics a int; expected a name, or an instance"),
            (None, "found among the metrics a NoneType"),
            (Spread, "the class Spread, no instance of it; expected a name, or an instance"),
            ((Spread(), Twin()), "'spread' and 'twin' both have a column 'spread'"),
        ],
    )
    def test_refuses(self, chosen: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            read(chosen)
        assert "\n" not in str(caught.value)

    def test_a_metric_of_a_program(self) -> None:
        METRICS.register("spread", Spread())
        try:
            row = measured(read("spread"), Answers.of(torch.eye(3), torch.arange(3))).row()
            assert row == {"spread": 1.0}
        finally:
            METRICS.forget("spread")

    def test_what_cannot_be_registered(self) -> None:
        with pytest.raises(UsageError, match="metric 'width' of the program calls itself 'spread'"):
            METRICS.register("width", Spread())
        with pytest.raises(UsageError, match=r"of the program is 3; expected an instance of"):
            METRICS.register("three", 3)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="metric 'loss' is there already; choose another"):
            METRICS.register("loss", Spread())

    def test_a_class_in_place_of_a_metric(self) -> None:
        with pytest.raises(
            UsageError, match="is the class Spread; expected an instance of a subcl"
        ):
            METRICS.register("spread", Spread)  # type: ignore[arg-type]

    def test_a_row_without_its_columns(self) -> None:
        outcome = measured((Silent(),), Answers.of(torch.eye(3), torch.arange(3)))
        with pytest.raises(UsageError, match="'silent' announces a column 'loud', but its row has"):
            outcome.row(Silent())

    def test_a_size_that_is_not_what_is_measured(self) -> None:
        with pytest.raises(UsageError, match=r"'misfit' adds numbers of shape \(1,\), and its"):
            measured((Misfit(),), Answers.of(torch.eye(3), torch.arange(3)))

    def test_a_metric_that_the_task_lacks(self) -> None:
        classification = TASKS.get("classification")
        require(read(("top1", "kl", "confusion")), classification, 10)
        with pytest.raises(UsageError, match="'perplexity' has no meaning for the task 'classific"):
            require(read(("top1", "perplexity")), classification)
        with pytest.raises(UsageError, match="'confusion' would keep 2,001 x 2,001 counts for eac"):
            require(read("confusion"), classification, 2001)
        with pytest.raises(UsageError, match="'margin' compares the right class with another one"):
            require(read("margin"), classification, 1)

    def test_columns_and_directions(self) -> None:
        assert read("top1")[0].directions == {"correct": "more", "error": "less"}
        assert read("confusion")[0].directions == {"confusion": None}
        for metric in ALL:
            assert metric.summary[0].islower() or metric.summary.startswith("exp")
            assert len(metric.summary) <= 60
        assert [metric.name for metric in ALL if metric.needs_intact] == ["kl", "agreement"]


def test_reading_metrics_and_outcomes_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np, ensembles.metrics as m, ensembles.tasks as t;"
        "m.METRICS.members(); t.TASKS.members();"
        "m.Outcome(None, 2, 0, {'top1': np.ones(1)}).row();"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class TestDocument:
    """The page of the metrics tells what there is, and its examples are short and run."""

    page = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")

    def test_every_metric_and_column_is_there(self) -> None:
        for metric in ALL:
            assert f"| `{metric.name}` | `{metric.columns[0].name}` |" in self.page
            for column in metric.columns:
                better = column.better or ""
                [line] = [x for x in self.page.splitlines() if f"| `{column.name}` |" in x[:40]]
                assert line.split("|")[5].strip() == better, column.name

    @pytest.mark.slow
    def test_its_examples_run(self, capsys: pytest.CaptureFixture[str]) -> None:
        for example in re.findall(r"```python\n(.*?)```", self.page, flags=re.DOTALL):
            assert example.count("\n") <= 30
            METRICS.forget("confidence")
            try:
                exec(compile(example, "docs/metrics.md", "exec"), {"__name__": "page"})
            finally:
                METRICS.forget("confidence")
        assert "'correct': 136" in capsys.readouterr().out
