"""Tasks: which one a network is for, what a batch may be, and what one observation is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ensembles.errors import DataError, UsageError
from ensembles.metrics import read
from ensembles.tasks import TASKS, Batch, Task, task_of
from ensembles.tasks.members.classification import MEMBER as CLASSIFICATION
from ensembles.tasks.members.classification import Classification
from ensembles.tasks.members.language import MEMBER as LANGUAGE
from ensembles.tasks.members.language import Language
from ensembles.tasks.token_items import ids_of


@dataclass
class Net:
    """What a task asks of a decomposition."""

    input_shape: Any = (3, 4, 4)
    output_shape: tuple[int, ...] = (5,)
    input_names: tuple[str, ...] = ()
    input_types: tuple[torch.dtype, ...] = (torch.float32,)
    sees_ahead: bool | None = False

    @property
    def num_classes(self) -> int:
        return self.output_shape[-1]


def several(*shapes: tuple[int, ...], names: str = "123", output: tuple[int, ...] = (5,)) -> Net:
    """A network of several inputs."""
    count = len(shapes)
    return Net(shapes, output, tuple(names[:count]), (torch.float32,) * count)


IMAGES = Net()
TEXT = Net((6,), (6, 20), input_types=(torch.int64,))


def decomposed(net: Net) -> Any:
    """The same for the type checker."""
    return net


class TestChoosing:
    @pytest.mark.parametrize(
        ("net", "name"),
        [
            (IMAGES, "classification"),
            (Net((), (5,)), "classification"),
            (several((3,), (4,)), "classification"),
            (Net((7,), (1,)), "classification"),
            (TEXT, "language"),
        ],
    )
    def test_by_the_shapes(self, net: Net, name: str) -> None:
        assert task_of(decomposed(net)).name == name
        assert task_of(decomposed(net), name) is TASKS.get(name)
        assert task_of(decomposed(net), TASKS.get(name)) is TASKS.get(name)

    @pytest.mark.parametrize(
        ("net", "task", "message"),
        [
            (IMAGES, "clasification", "task 'clasification' is unknown; .*; did you mean classifi"),
            (IMAGES, 3, "task 3 is a int; expected a name, or an instance of a subclass"),
            (IMAGES, Language, "task Language is a class; expected a name, or an instance"),
            (
                IMAGES,
                "language",
                r"the task 'language' is for networks with ids \(N, T\) in and logits \(N, T, voc"
                r".*; one row of what it takes has the shape \(3, 4, 4\), of what it gives \(5,\)",
            ),
            (TEXT, CLASSIFICATION, r"is for networks with logits \(N, classes\)"),
            (
                Net((3, 4, 4), (5, 4, 4)),
                None,
                r"no task suits the network: one row .* it gives \(5, 4, 4\); there are "
                r"classification: logits \(N, classes\) out; language: ids",
            ),
            (Net((6,), (7, 20)), None, "no task suits the network"),
            (several((6,), (6,), output=(6, 20)), None, "no task suits the network"),
            (Net((6,), (6, 20)), "language", "is for networks with ids"),
        ],
    )
    def test_refuses(self, net: Net, task: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            task_of(decomposed(net), task)
        assert "\n" not in str(caught.value)

    def test_a_task_of_a_program(self) -> None:
        class Segmentation(Classification):
            name = "segmentation"
            shapes = "logits (N, classes, H, W) out"

            def suits(self, net: Any) -> bool:
                return len(net.output_shape) == 3

        mine: Task = Segmentation()
        TASKS.register("segmentation", mine)
        try:
            assert task_of(decomposed(Net((3, 4, 4), (5, 4, 4)))) is mine
            assert task_of(decomposed(IMAGES)) is CLASSIFICATION
        finally:
            TASKS.forget("segmentation")


class TestClassification:
    def test_batches_know_where_they_start(self) -> None:
        data = [(torch.zeros(4, 2), [0, 1, 2, 3]), (torch.zeros(3, 2), [1, 1, 1])]
        found = list(CLASSIFICATION.batches(data, 3))
        assert [batch.start for batch in found] == [0, 3, 6]
        assert [CLASSIFICATION.observations(batch) for batch in found] == [3, 3, 1]
        assert CLASSIFICATION.labels(found) == [0, 1, 2, 3, 1, 1, 1]

    def test_answers_are_rows(self) -> None:
        output = torch.eye(3)
        answers = CLASSIFICATION.answers(output, torch.tensor([0, 1, 0]), output)
        assert answers.right.tolist() == [True, True, False]
        assert answers.reference.predicted.tolist() == [0, 1, 2]
        again = CLASSIFICATION.answers(output, torch.tensor([0, 1, 0]), answers.intact)
        assert again.intact is answers.intact

    @pytest.mark.parametrize(
        ("net", "inputs"),
        [
            (IMAGES, torch.zeros(2, 3, 4, 4)),
            (Net((), (5,)), torch.zeros(2)),
            (several((3,), (4,)), (torch.zeros(2, 3), torch.zeros(2, 4))),
            (
                several((3,), (4,), names="ab"),
                {"b": torch.zeros(2, 4), "a": torch.zeros(2, 3)},
            ),
        ],
    )
    def test_what_fits(self, net: Net, inputs: Any) -> None:
        CLASSIFICATION.check(decomposed(net), Batch(inputs, torch.tensor([0, 4]), 0))

    @pytest.mark.parametrize(
        ("net", "inputs", "message"),
        [
            (
                IMAGES,
                torch.zeros(2, 3, 8, 9),
                r"the images have shape \(3, 8, 9\); the network was taken apart for \(3, 4, 4\): "
                "resize the images, or decompose with such images",
            ),
            (
                Net((7,)),
                torch.zeros(2, 8),
                r"the inputs have shape \(8,\); the network was taken apart for \(7,\): give such",
            ),
            (
                several((3,), (4,), (5,)),
                torch.zeros(2, 3, 4, 4),
                r"the inputs have shape \(3, 4, 4\); the network was taken apart for the shapes 1:",
            ),
            (
                several((3,), (4,), names="ab"),
                {"a": torch.zeros(2, 3), "c": torch.zeros(2, 4)},
                r"shapes a: \(3,\), c: \(4,\); the network was taken apart for the shapes a: \(3,\)"
                r", b: \(4,\): give such inputs, or decompose with inputs like those of the data",
            ),
            (IMAGES, (torch.zeros(2, 3, 4, 4),), r"have the shapes 1: \(3, 4, 4\); the network"),
        ],
    )
    def test_shapes_that_do_not_fit(self, net: Net, inputs: Any, message: str) -> None:
        with pytest.raises(DataError, match=message):
            CLASSIFICATION.check(decomposed(net), Batch(inputs, torch.tensor([0, 1]), 0))

    def test_types_that_do_not_fit(self) -> None:
        two = several((3,), (4,), names="ab")
        two.input_types = (torch.int64, torch.float32)
        a, b, labels = torch.zeros(2, 3), torch.zeros(2, 4), torch.tensor([0, 1])
        CLASSIFICATION.check(decomposed(two), Batch({"a": a.int(), "b": b.double()}, labels, 0))
        with pytest.raises(DataError, match=r"the input a is of type float32; .* apart for int64"):
            CLASSIFICATION.check(decomposed(two), Batch({"a": a, "b": b}, labels, 0))
        with pytest.raises(DataError, match=r"the inputs are of type int64; .* for float32: conv"):
            CLASSIFICATION.check(decomposed(Net((3,))), Batch(a.long(), labels, 0))

    @pytest.mark.parametrize(("label", "shown"), [(5, 5), (-1, -1)])
    def test_labels_that_do_not_fit(self, label: int, shown: int) -> None:
        batch = Batch(torch.zeros(2, 3, 4, 4), torch.tensor([0, label]), 0)
        with pytest.raises(DataError, match=f"have a label {shown}, the network 5 classes .0 to 4"):
            CLASSIFICATION.check(decomposed(IMAGES), batch)


class TestLanguage:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 6), st.integers(2, 5), st.integers(1, 4), st.integers(0, 99))
    def test_counts_tokens(self, windows: int, length: int, size: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, 8, (windows, length), generator=generator)
        logits = torch.randn(windows, length, 8, generator=generator)
        metrics = read(("top1", "loss", "classes", "perplexity", "agreement"))
        states = {metric.name: metric.zero(8) for metric in metrics}
        seen = 0
        for batch in LANGUAGE.batches(ids, size):
            part = logits[batch.start : batch.start + len(batch.targets)]
            answers = LANGUAGE.answers(part, batch.targets, part)
            assert len(answers) == LANGUAGE.observations(batch)
            seen += len(answers)
            for metric in metrics:
                states[metric.name] = metric.update(states[metric.name], answers)
        assert seen == windows * (length - 1)
        right, loss = 0, 0.0
        for window, rows in zip(ids, logits, strict=True):
            for place in range(1, length):
                right += int(rows[place - 1].argmax() == window[place])
                loss += float(F.cross_entropy(rows[place - 1], window[place]))
        assert states["top1"].tolist() == [right]
        assert states["loss"][0] == pytest.approx(loss, rel=1e-6)
        assert states["agreement"].tolist() == [seen]
        row = metrics[3].row(states["perplexity"], seen)
        assert row["perplexity"] == pytest.approx(np.exp(loss / seen), rel=1e-6)
        assert LANGUAGE.labels(LANGUAGE.batches(ids, size)) == ids[:, 1:].flatten().tolist()

    def test_all_forms_of_windows_are_the_same(self) -> None:
        ids = torch.randint(0, 20, (7, 6))
        forms: list[Any] = [
            ids,
            TensorDataset(ids),
            DataLoader(TensorDataset(ids), batch_size=2),
            list(ids),
            [window.tolist() for window in ids],
            ids.numpy(),
            [ids[:3].int(), ids[3:]],
            ({"input_ids": window} for window in ids),
            [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}],
            [{"input_ids": window.tolist(), "length": 6} for window in ids],
        ]
        for data in forms:
            found = list(LANGUAGE.batches(data, 3))
            assert [batch.start for batch in found] == [0, 3, 6]
            assert torch.equal(torch.cat([_tensor(batch.inputs) for batch in found]), ids)
            assert torch.equal(torch.cat([batch.targets for batch in found]), ids[:, 1:])
            assert all(_tensor(batch.inputs).dtype == torch.int64 for batch in found)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (torch.zeros(9).long(), r"the ids have shape \(9,\); expected windows \(N, T\): cut"),
            ([torch.zeros(9)], "item 0 of the data is of type float32; expected whole numbers"),
            ([[[[1]]]], r"item 0 of the data is of shape \(1, 1, 1\); expected whole numbers"),
            ([[3]], "item 0 of the data is a window of 1 tokens, of which none is predicted"),
            ([[3, -1]], "item 0 of the data has the token -1; expected ids from 0, with padding"),
            ([[1, 2], [1, 2, 3]], r"item 1 of the data has inputs of shape \(3,\), those before"),
            (["text"], "item 0 of the data has a str as window; expected a tensor"),
            ([{"ids": [1]}], "item 0 of the data is a mapping with ids; expected one with input_"),
            (
                [{"input_ids": [1, 2], "attention_mask": [1]}],
                r"has attention_mask of whole numbers, \(1, 1\); expected whole numbers like",
            ),
            (
                [{"input_ids": [1, 2], "attention_mask": [0.5, 1]}],
                "has attention_mask of real numbers",
            ),
            (
                [{"input_ids": [1, 2], "labels": [3, 2]}],
                "labels that are not its input_ids; leave them out: all tokens from the second on",
            ),
            (
                TensorDataset(torch.zeros(2, 4).long(), torch.zeros(2, 4).long()),
                "item 0 of the data is a tuple of 2; expected the ids alone",
            ),
            ([], "the data holds no windows; expected at least one"),
            (torch.zeros(0, 4).long(), "the data holds no windows; expected at least one"),
        ],
    )
    def test_says_what_is_wrong(self, data: Any, message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            list(LANGUAGE.batches(data, 2))
        assert "\n" not in str(caught.value)

    def test_refuses_a_batch_size_of_zero(self) -> None:
        with pytest.raises(UsageError, match="a batch size of 0; expected at least 1"):
            LANGUAGE.batches(torch.zeros(2, 4).long(), 0)

    def test_what_does_not_fit_the_network(self) -> None:
        net, ids = decomposed(TEXT), torch.zeros(2, 6).long()
        LANGUAGE.check(net, Batch(ids, ids[:, 1:], 0))
        with pytest.raises(DataError, match="the windows have 5 tokens; the network was taken apa"):
            LANGUAGE.check(net, Batch(ids[:, 1:], ids[:, 2:], 0))
        masked = Batch({"input_ids": ids, "attention_mask": ids * 0}, ids[:, 1:], 0)
        with pytest.raises(DataError, match="have zeros in attention_mask, and the network was ta"):
            LANGUAGE.fitted(net, masked)
        with pytest.raises(DataError, match="have the token 20, the network a vocabulary of 20"):
            LANGUAGE.check(net, Batch(ids + 20, ids[:, 1:], 0))


def _tensor(inputs: Any) -> Tensor:
    return ids_of(inputs)
