"""The middle of a span in place of all, against networks that are run as loops by hand."""

from __future__ import annotations

import pytest
import torch
from by_hand import loop_of
from lesion_values import FIVE, stage
from networks import build

import ensembles
from ensembles.engine import evaluate
from ensembles.errors import LesionError
from ensembles.lesions import Intact, Middle, Scale, parse_lesion


def middle_of(span: tuple[int, int]) -> int:
    """A second account: what has as many on its left as on its right, or one fewer."""
    first, last = span
    return next(at for at in range(first, last + 1) if 0 <= (last - at) - (at - first) <= 1)


@pytest.mark.parametrize(("span", "middle"), [((1, 2), 1), ((1, 3), 2), ((2, 5), 3), ((1, 5), 3)])
def test_the_middle_runs_at_every_place(span: tuple[int, int], middle: int) -> None:
    ran = [step.block for steps in Middle(span).program(5) for step in steps]
    inside = range(span[0], span[1] + 1)
    assert ran == [middle if block in inside else block for block in range(1, 6)]
    assert middle_of(span) == middle
    assert Middle(span).order(5) is None


def test_it_reads_back_and_stays_within_a_stage() -> None:
    lesion = Middle((10, 20))
    assert parse_lesion("middle", lesion.text) == lesion
    Middle((1, 4)).require(stage(5))
    with pytest.raises(LesionError, match=r"is a transition .*; choose a span within a stage"):
        Middle((2, 4)).require(FIVE)
    with pytest.raises(LesionError, match="a span of one block stays as it is; name two or more"):
        Middle((3, 3))


@pytest.mark.parametrize("kind", ["preact", "attention"])
@pytest.mark.parametrize("engine", ["prefix", "level", "direct"])
def test_it_equals_a_loop_by_hand(kind: str, engine: str) -> None:
    model = build([({"preact": "pre"}.get(kind, kind), 6, 1)] * 5)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(24, *model.input_shape, generator=generator)
    loop = loop_of(model)
    n = len(loop.units)
    spans = [(2, 3), (2, 4), (1, n)]
    logits = []
    with torch.no_grad():
        for first, last in spans:
            program = loop.intact()
            program[first - 1 : last] = [[loop.units[middle_of((first, last)) - 1]]] * (
                last - first + 1
            )
            logits.append(loop.run(images, program))
    labels = logits[0].argmax(1)
    net = ensembles.decompose(model, images)
    lesions = [Intact(), *(Middle(span) for span in spans)]
    for lesion in lesions:
        lesion.require(ensembles.lesions.Structure.of(net))
    found = evaluate(net, [(images, labels)], lesions, engine=engine, device="cpu", batch_size=7)
    for outcome, expected in zip(found[1:], logits, strict=True):
        loss = torch.nn.functional.cross_entropy(expected, labels)
        assert outcome.correct == int((expected.argmax(1) == labels).sum())
        assert outcome.loss == pytest.approx(float(loss), rel=1e-4)


def test_it_comes_after_another_lesion() -> None:
    chain = Scale((2,), 0.5).then(Middle((1, 3)))
    assert len({str(step) for steps in chain.program(4)[:3] for step in steps}) == 1
