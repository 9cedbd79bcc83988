"""Memory that runs out, anywhere: nothing is lost, nothing is counted twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import decomposable, images_for
from sweeps import every_kind
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ensembles.decomposition import Decomposition, decompose
from ensembles.engine import Materials, evaluate, evaluate_each
from ensembles.engine.direct import Direct
from ensembles.engine.memory import Halver
from ensembles.engine.shared import SharedPrefixes
from ensembles.engine.sums import Sums
from ensembles.errors import EvaluationError, OutOfMemoryError
from ensembles.lesions import Delete, Intact, Lesion, Noise
from ensembles.metrics import Answers, Metric, Outcome, read
from ensembles.metrics.members.top1 import Top1

METRICS = ("top1", "loss", "kl", "classes")
NO_MEMORY = "CUDA out of memory (injected)"


class Countdown:
    """Raises once, when it has been called so often."""

    left = -1

    @classmethod
    def tick(cls) -> None:
        cls.left -= 1
        if cls.left == -1:
            raise torch.OutOfMemoryError(NO_MEMORY)


@pytest.fixture(scope="module")
def subject() -> tuple[Decomposition, Tensor, Tensor]:
    model = decomposable()
    images, labels = images_for(model, 9)
    return decompose(model, images), images, labels


def measured(subject: tuple[Decomposition, Tensor, Tensor], sweep: list[Lesion]) -> list[Outcome]:
    net, images, labels = subject
    given = Materials(net, reference=[(images, labels)])
    return evaluate(
        net, [(images, labels)], sweep, metrics=METRICS, batch_size=4, predictions=True,
        materials=given, device="cpu",
    )  # fmt: skip


def same(found: list[Outcome], expected: list[Outcome]) -> bool:
    for one, other in zip(found, expected, strict=True):
        assert (one.lesion, one.total, one.nonfinite) == (other.lesion, other.total, 0)
        assert (one.predictions == other.predictions).all()
        for name in ("top1", "classes"):
            assert (one.states[name] == other.states[name]).all(), name
        for name in ("loss", "kl"):
            assert one.states[name] == pytest.approx(other.states[name], rel=1e-4, abs=1e-6)
    return True


@pytest.mark.parametrize(
    ("place", "calls"),
    [
        ("engine", 42),
        ("intact", 6),
        ("metric", 42),
        ("sums", 6),
        ("add", 4),
        ("reading", 4),
        ("placing", 4),
    ],
)
def test_memory_running_out_at_any_place_changes_no_number(
    subject: tuple[Decomposition, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch,
    place: str, calls: int,
) -> None:  # fmt: skip
    sweep = [Intact(), Delete((1,)), Noise((2,), 0.5, seed=1), Delete((3,)), Delete((4,)),
             Delete((2,)).recalibrated(2, 4)]  # fmt: skip
    monkeypatch.setattr(Countdown, "left", -1)
    expected = measured(subject, sweep)
    break_at(place, monkeypatch)
    for call in range(calls):
        Countdown.left = call
        assert same(measured(subject, sweep), expected)


def break_at(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, intact, measure = SharedPrefixes.run, SharedPrefixes.intact, Top1.measure
    blank, stack, answers = Sums.blank, torch.stack, Answers.of

    def breaking_run(self: SharedPrefixes, inputs: Any) -> Any:
        for result in run(self, inputs):
            Countdown.tick()
            yield result

    def ticking(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            value = function(*args, **kwargs)
            Countdown.tick()
            return value

        return call

    if place == "engine":
        monkeypatch.setattr(SharedPrefixes, "run", breaking_run)
    elif place == "intact":
        monkeypatch.setattr(SharedPrefixes, "intact", ticking(intact))
    elif place == "metric":
        monkeypatch.setattr(Top1, "measure", ticking(measure))
    elif place == "sums":
        monkeypatch.setattr(Sums, "blank", ticking(blank))
    elif place == "add":
        monkeypatch.setattr("ensembles.engine.sums.torch.stack", ticking(stack))
    elif place == "placing":
        from ensembles.engine import evaluation

        monkeypatch.setattr(evaluation, "placed", ticking(evaluation.placed))
    else:
        from ensembles.tasks.members import classification

        read = classification.Classification.batches

        def batches(self: Any, data: Any, size: int) -> Any:
            for batch in read(self, data, size):
                Countdown.tick()
                yield batch

        monkeypatch.setattr(classification.Classification, "batches", batches)
    assert answers


def test_parts_grow_no_larger_again() -> None:
    halver, seen = Halver(torch.device("cpu")), []

    def work(part: slice) -> None:
        seen.append((part.start, part.stop))
        if part.stop - part.start > 3:
            raise MemoryError

    halver.each(8, work)
    halver.each(7, work)
    assert seen == [(0, 8), (0, 4), (0, 2), (2, 4), (4, 6), (6, 8), (0, 2), (2, 4), (4, 6), (6, 7)]


class Never(SharedPrefixes):
    """An engine that memory never suffices for, where a lesion is among several or the second."""

    bad: int = 0

    def run(self, inputs: Any) -> Any:
        if len(self.routes) > self.bad:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return super().run(inputs)


def test_memory_that_does_not_suffice_is_said(
    subject: tuple[Decomposition, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, images, labels = subject
    monkeypatch.setattr("ensembles.engine.evaluation.SharedPrefixes", Never)
    with pytest.raises(EvaluationError, match=r"memory ran out on cpu for a single image"):
        evaluate(net, [(images, labels)], [Intact()], device="cpu")
    with pytest.raises(OutOfMemoryError):
        evaluate_each(net, [(images, labels)], [Intact()], device="cpu")
    with pytest.raises(OutOfMemoryError):
        evaluate_each(net, iter([(images, labels)]), [Delete((1,)), Delete((2,))], device="cpu")
    found, failed = evaluate_each(
        net, [(images, labels)], [Delete((1,)), Delete((2,))], device="cpu"
    )
    assert not found and list(failed) == [Delete((1,)), Delete((2,))]
    assert failed[Delete((1,))].startswith("memory ran out on cpu for a single image")


def test_a_lesion_fails_alone(
    subject: tuple[Decomposition, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, images, labels = subject

    class Failing(Direct):
        def run(self, inputs: Any) -> Any:
            for number, output in super().run(inputs):
                if self.programs[number] == Delete((2,)).program(4):
                    raise torch.OutOfMemoryError(NO_MEMORY)
                yield number, output

    sweep = [Intact(), Delete((1,)), Delete((2,)), Delete((3,)), Delete((4,))]
    data = [(images, labels)]
    expected = evaluate(net, data, sweep, engine="direct", device="cpu")
    monkeypatch.setattr("ensembles.engine.evaluation.Direct", Failing)
    found, failed = evaluate_each(net, data, sweep, engine="direct", device="cpu")
    assert list(failed) == [Delete((2,))]
    assert [one.correct for one in found] == [
        one.correct for one in expected if one.lesion != Delete((2,))
    ]


def test_other_errors_are_not_taken_for_memory(
    subject: tuple[Decomposition, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(SharedPrefixes):
        def run(self, inputs: Any) -> Any:
            raise RuntimeError("shapes do not match")

    net, images, labels = subject
    monkeypatch.setattr("ensembles.engine.evaluation.SharedPrefixes", Wrong)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        evaluate(net, [(images, labels)], [Intact()], device="cpu")


def test_what_may_be_memory_is_tried_on_fewer_rows_and_else_told_as_it_is(
    subject: tuple[Decomposition, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Doubtful(SharedPrefixes):
        most = 4

        def run(self, inputs: Any) -> Any:
            if len(inputs) > self.most:
                raise RuntimeError("could not create a primitive")
            return super().run(inputs)

    net, images, labels = subject
    [expected] = evaluate(net, [(images, labels)], [Intact()], device="cpu")
    monkeypatch.setattr("ensembles.engine.evaluation.SharedPrefixes", Doubtful)
    [found] = evaluate(net, [(images, labels)], [Intact()], device="cpu")
    assert (found.correct, found.total) == (expected.correct, expected.total)
    Doubtful.most = 0
    with pytest.raises(RuntimeError, match=r"^could not create a primitive$"):
        evaluate(net, [(images, labels)], [Intact()], device="cpu")


def test_a_metric_may_be_given_itself(subject: tuple[Decomposition, Tensor, Tensor]) -> None:
    class Wrong(Metric):
        """Wrong answers."""

        name, summary, columns = "wrong", "wrong answers", ()

        def size(self, classes: int) -> int:
            return 1

        def measure(self, answers: Answers) -> Tensor:
            return answers.total((~answers.right).double())

        def row(self, state: Any, total: int) -> dict[str, Any]:
            return {}

    net, images, labels = subject
    sweep = every_kind(net)[:3]
    given = Materials(net, reference=[(images, labels)])
    outcomes = evaluate(
        net, [(images, labels)], sweep, metrics=["top1", Wrong()], device="cpu", materials=given
    )
    for outcome in outcomes:
        assert outcome.states["wrong"][0] == outcome.total - outcome.correct


class FailsAt(TorchDispatchMode):
    """Lets one tensor operation, by its number, fail for memory."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.calls = number, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls == self.number:
            raise torch.OutOfMemoryError("injected")
        return func(*args, **(kwargs or {}))


def test_sums_are_added_whole_or_not_at_all() -> None:
    metrics = read(METRICS)

    def counted(seed: int) -> Sums:
        generator = torch.Generator().manual_seed(seed)
        output, intact = (torch.randn(6, 3, generator=generator) for _ in range(2))
        sums = Sums(1, metrics, 3, torch.device("cpu"), predictions=True)
        sums.count(0, Answers.of(output, torch.arange(6) % 3, intact))
        return sums

    def kept(sums: Sums) -> tuple[Any, ...]:
        (one,) = sums.outcomes([Intact()])
        states = {name: state.tolist() for name, state in one.states.items()}
        return one.total, one.nonfinite, states, one.predictions.tolist()

    def begun() -> Sums:
        sums = counted(1).blank()
        sums.add(counted(1))
        return sums

    whole = begun()
    with FailsAt(0) as mode:
        whole.add(counted(2), counted(3))
    added, number = kept(whole), 0
    for number in range(1, mode.calls + 1):
        sums, more = begun(), (counted(2), counted(3))
        try:
            with FailsAt(number):
                sums.add(*more)
        except torch.OutOfMemoryError:
            assert kept(sums) == kept(begun()), number
            sums.add(*more)
        assert kept(sums) == added, number
    assert number >= 8
