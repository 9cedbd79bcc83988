"""Batches of anything: images, inputs of any rank, several inputs at once, mappings."""

from __future__ import annotations

from collections import UserDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data import joined, numbered
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ensembles.data import batches
from ensembles.errors import DataError, DataWarning, UsageError


class OneByOne(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Any:
        return iter(numbered(7))


class TestImages:
    @settings(deadline=None)
    @given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 30))
    def test_recutting_keeps_every_image_once_in_order(self, sizes: list[int], size: int) -> None:
        total = sum(sizes)
        images = torch.arange(total, dtype=torch.float32).view(-1, 1, 1, 1)
        labels = torch.arange(total)
        stream = zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)
        if not total:
            with pytest.raises(DataError, match="holds no images"):
                list(batches(stream, size))
            return
        found = list(batches(stream, size))
        assert [len(numbers) for _, numbers in found[:-1]] == [size] * (len(found) - 1)
        assert torch.equal(joined(found)[0], images)
        assert torch.equal(joined(found)[1], labels)

    @given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 45))
    def test_our_batches_can_start_anywhere(self, total: int, size: int, start: int) -> None:
        data = numbered(total)
        found = list(data.batches(size, start=start))
        numbers = [round(255 * float(image[0, 0, 0])) for part, _ in found for image in part]
        assert numbers == list(range(start, total))

    @pytest.mark.parametrize(
        "data",
        [
            numbered(7),
            OneByOne(),
            DataLoader(numbered(7), batch_size=3),
            list(DataLoader(numbered(7), batch_size=2)),
            (pair for pair in DataLoader(numbered(7), batch_size=4)),
            torch.utils.data.Subset(numbered(7), range(7)),
            TensorDataset(*joined(numbered(7).batches(7))),
        ],
        ids=["ours", "iterable", "loader", "list", "generator", "subset", "tensors"],
    )
    def test_all_kinds_of_data_give_the_same(self, data: Any) -> None:
        found = list(batches(data, 5))
        expected = list(numbered(7).batches(5))
        for (images, labels), (wanted, numbers) in zip(found, expected, strict=True):
            assert torch.equal(images, wanted)
            assert torch.equal(labels, numbers)
            assert images.dtype == torch.float32
            assert labels.dtype == torch.int64

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            (torch.zeros(2, 3, 4, 4), "item 0 of the data is a Tensor; expected pairs of images"),
            ((1, 2, 3), "item 0 of the data is a tuple of 3; .* belong in a tuple of their own"),
            (("cat.png", 1), "has a str as image; add a transform|has a str as image"),
            (
                (torch.zeros(2, 3, 4, 4), torch.zeros(3, dtype=torch.long)),
                r"labels of shape \(3,\)",
            ),
            ((torch.zeros(3, 4, 4, dtype=torch.uint8), 1), "type uint8; expected floating point"),
            ((torch.zeros(3, 4, 4), 1.5), "labels of type float32; expected whole numbers"),
            (
                (torch.zeros(3, 4, 4), -1),
                "has the label -1; expected class numbers from 0; -1",
            ),
            ((torch.zeros(3, 4, 4), "cat"), "has the label 'cat', a text; expected class numbers"),
            ((torch.zeros(2, 3), ["1", "dog"]), "has the label 'dog', a text; expected class"),
            (
                (torch.zeros(2, 3), [[0.5, 0.5], [1, 0]]),
                "float32; .*; probabilities of classes",
            ),
            ((torch.zeros(2, 3), [[0, 1], [1, 1]]), r"labels of shape \(2, 2\); expected pairs"),
            ((torch.zeros(2, 3), [[1], [2], [3]]), r"and labels of shape \(3, 1\); expected"),
        ],
    )
    def test_says_what_is_wrong_with_an_item(self, item: Any, message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            list(batches([item], 2))
        assert "\n" not in str(caught.value)

    def test_refuses_images_of_two_shapes(self) -> None:
        pairs = [(torch.zeros(3, 4, 4), 0), (torch.zeros(3, 5, 4), 0)]
        with pytest.raises(DataError, match=r"shape \(3, 5, 4\), those before have \(3, 4, 4\)"):
            list(batches(pairs, 2))

    def test_refuses_items_of_two_types(self) -> None:
        pairs = [([1, 2], 0), ([1.5, 2], 0)]
        with pytest.raises(DataError, match="item 1 of the data has inputs of type float32, those"):
            list(batches(pairs, 2))

    def test_a_spent_generator_says_so(self) -> None:
        stream = iter(list(numbered(3).batches(2)))
        list(batches(stream, 2))
        with pytest.raises(DataError, match="a generator can be read only once"):
            list(batches(stream, 2))

    @pytest.mark.parametrize("data", [numbered(3), [], None])
    def test_refuses_a_batch_size_of_zero(self, data: Any) -> None:
        with pytest.raises(UsageError, match="batch size"):
            batches(data, 0)

    def test_refuses_what_holds_no_images(self) -> None:
        with pytest.raises(DataError, match="cannot read images from a int"):
            batches(7, 2)  # type: ignore[arg-type]
        with pytest.raises(DataError, match=r"or other inputs; expected at least one$"):
            list(batches([], 2))

    def test_refuses_names_and_mappings_as_data(self) -> None:
        with pytest.raises(DataError, match="the name 'digits'; open it with"):
            batches("digits", 2)
        with pytest.raises(DataError, match="the name 'here'; open it"):
            batches(Path("here"), 2)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="a mapping with x, y; expected a list of such"):
            batches({"x": torch.zeros(2, 3), "y": [0, 1]}, 2)

    def test_indices_out_of_range_end_a_loop(self) -> None:
        data = numbered(3)
        assert [label for _, label in data] == [0, 1, 2]
        assert data[-1][1] == 2
        with pytest.raises(IndexError, match="image 3 of 3"):
            data[3]


class TestLabels:
    """Labels in the forms that people have them in."""

    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            (torch.tensor([[2], [0], [1]]), "labels (N, 1) as (N,)"),
            (torch.tensor([[2.0], [0.0], [1.0]]), "(N,) and floating point that is whole as"),
            (torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), "one-hot labels (N, K) as the place"),
            (torch.eye(3)[[2, 0, 1]], "one-hot labels (N, K) as the place"),
            (torch.eye(3)[[2, 0, 1]].bool(), "one-hot labels (N, K) as the place"),
            (torch.tensor([2.0, 0.0, 1.0]), "floating point that is whole as class numbers"),
            (["2", "0", "1"], "texts as the numbers that they write"),
            (np.array(["2", "0", "1"]), "texts as the numbers that they write"),
            (np.array([[2], [0], [1]], dtype=np.uint8), "labels (N, 1) as (N,)"),
        ],
    )
    def test_read_and_said_where_there_is_no_doubt(self, labels: Any, said: str) -> None:
        with pytest.warns(DataWarning) as told:
            [(_, found)] = batches([(torch.zeros(3, 5), labels)], 3)
        assert found.dtype == torch.int64
        assert found.tolist() == [2, 0, 1]
        assert said in str(told[0].message)

    @pytest.mark.parametrize(
        ("label", "number"),
        [(np.array([2]), 2), (torch.eye(4)[3], 3), ("7", 7), (np.float64(1), 1), (True, 1)],
    )
    def test_of_single_rows(self, label: Any, number: int) -> None:
        with pytest.warns(DataWarning):
            [(images, found)] = batches(Rows([(torch.zeros(3, 4, 4), label)]), 2)
        assert (tuple(images.shape), found.tolist()) == ((1, 3, 4, 4), [number])

    @pytest.mark.filterwarnings("error")
    def test_plain_numbers_are_not_told_of(self) -> None:
        for labels in ([1, 0], np.array([1, 0]), torch.tensor([1, 0], dtype=torch.uint8)):
            [(_, found)] = batches([(torch.zeros(2, 3), labels)], 2)
            assert found.tolist() == [1, 0]


class Rows(Dataset[Any]):
    """What a list holds, as a data set."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def slow(items: list[Any], size: int) -> list[tuple[Any, Tensor]]:
    """Single rows gathered by hand into batches of a tensor, a tuple or a mapping."""
    found = []
    for start in range(0, len(items), size):
        part = items[start : start + size]
        first = part[0][0]
        if isinstance(first, Tensor):
            inputs: Any = torch.stack([one for one, _ in part])
        elif isinstance(first, tuple):
            inputs = tuple(
                torch.stack(same) for same in zip(*(one for one, _ in part), strict=True)
            )
        else:
            inputs = {name: torch.stack([one[name] for one, _ in part]) for name in first}
        found.append((inputs, torch.tensor([label for _, label in part])))
    return found


def same(one: Any, other: Any) -> bool:
    """Whether inputs are the same in kind, names, types and values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    return len(one) == len(other) and all(map(same, one, other))


@st.composite
def rows(draw: st.DrawFn) -> list[Any]:
    """Rows of one form: a tensor of rank 0 to 4, or a tuple or mapping of such."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    total = draw(st.integers(1, 9))
    shape = st.lists(st.integers(1, 3), max_size=4).map(tuple)

    def tensor(shape: tuple[int, ...], whole: bool) -> Tensor:
        numbers = torch.randn(shape, generator=generator)
        return (10 * numbers).round().to(torch.int32) if whole else numbers

    kind = draw(st.sampled_from(["tensor", "tuple", "mapping"]))
    if kind == "tensor":
        one = draw(shape)
        whole = draw(st.booleans()) and len(one) != 3
        return [(tensor(one, whole), number % 4) for number in range(total)]
    forms = draw(st.lists(st.tuples(shape, st.booleans()), min_size=1, max_size=3))
    several = [tuple(tensor(*form) for form in forms) for _ in range(total)]
    if kind == "mapping":
        several = [dict(zip("abc", parts, strict=False)) for parts in several]  # type: ignore[misc]
    return [(parts, number % 4) for number, parts in enumerate(several)]


class TestAnyInputs:
    @settings(max_examples=30, deadline=None)
    @given(rows(), st.integers(1, 10), st.integers(1, 10))
    def test_single_rows_and_batches_are_cut_alike(
        self, items: list[Any], size: int, other: int
    ) -> None:
        expected = slow(items, size)
        for data in (Rows(items), items, iter(items), slow(items, other), iter(slow(items, other))):
            found = list(batches(data, size))
            assert len(found) == len(expected)
            for (inputs, labels), (wanted, numbers) in zip(found, expected, strict=True):
                assert same(inputs, wanted)
                assert torch.equal(labels, numbers)

    @pytest.mark.parametrize("form", ["tuple", "mapping", "several"])
    def test_a_loader_of_any_form(self, form: str) -> None:
        x, z, y = torch.randn(7, 4), torch.arange(7), torch.arange(7) % 3
        items: list[Any] = {
            "tuple": [((a, b), int(c)) for a, b, c in zip(x, z, y, strict=True)],
            "mapping": [{"x": a, "label": int(c)} for a, c in zip(x, y, strict=True)],
            "several": [
                {"inputs": {"a": a, "b": b}, "y": int(c)} for a, b, c in zip(x, z, y, strict=True)
            ],
        }[form]
        found = list(batches(DataLoader(Rows(items), batch_size=2), 3))
        wanted: Any = {"tuple": (x, z), "mapping": x, "several": {"a": x, "b": z}}[form]
        assert [len(labels) for _, labels in found] == [3, 3, 1]
        assert same(found[0][0], next(batches([(wanted, y)], 3))[0])
        assert torch.equal(torch.cat([labels for _, labels in found]), y)

    @pytest.mark.parametrize("name", ["image", "pixel_values", "inputs", "x", "input_ids"])
    @pytest.mark.parametrize("label", ["label", "labels", "target", "y"])
    def test_the_usual_names(self, name: str, label: str) -> None:
        for item in ({name: torch.ones(2, 5), label: [0, 1]}, UserDict({label: 1, name: [1.0]})):
            [(inputs, labels)] = batches([item], 4)
            assert isinstance(inputs, Tensor)
            assert len(inputs) == len(labels)

    @pytest.mark.parametrize(
        ("value", "dtype", "expected"),
        [
            (torch.float16, False, torch.float32),
            (torch.float64, False, torch.float32),
            (torch.float64, True, torch.float64),
            (torch.bfloat16, True, torch.float32),
            (torch.int32, False, torch.int32),
            (torch.uint8, True, torch.uint8),
            (torch.bool, False, torch.bool),
        ],
    )
    def test_types(self, value: torch.dtype, dtype: bool, expected: torch.dtype) -> None:
        [(inputs, _)] = batches([(torch.zeros(2, 3, dtype=value), [0, 1])], 4, double=dtype)
        assert inputs.dtype == expected

    def test_arrays_and_numbers(self) -> None:
        [(inputs, labels)] = batches([((np.ones((2, 3)), np.arange(2)), np.array([1, 0]))], 2)
        assert [part.dtype for part in inputs] == [torch.float32, torch.int64]
        assert labels.tolist() == [1, 0]
        [(table, _)] = batches([([0.5, 1], 3), ([2, 2.5], 1)], 2)
        assert table.tolist() == [[0.5, 1], [2, 2.5]]

    def test_volumes_and_series(self) -> None:
        [(volumes, _)] = batches([(torch.zeros(1, 4, 4, 4), 1)] * 3, 5)
        assert volumes.shape == (3, 1, 4, 4, 4)
        [(series, _)] = batches(TensorDataset(torch.zeros(3, 2, 9), torch.zeros(3).long()), 5)
        assert series.shape == (3, 2, 9)

    @pytest.mark.parametrize(
        ("item", "message"),
        [
            ({"image": 1}, "a mapping with image and no label; expected it as one of label, lab"),
            ({"x": 1, "y": 0, "label": 0}, "a mapping with label and y; leave out all but"),
            ({"label": 0}, "mapping with label, which does not say what the network takes"),
            (
                {"input_ids": [1], "attention_mask": [1], "label": 0},
                "with input_ids, attention_mask, label, .*; put that under 'inputs', as a tensor",
            ),
            ({"picture": [1.0], "label": 0}, "with picture, label; expected the input as one of"),
            (({}, 0), "has an empty mapping as input"),
            (({"a": "cat"}, 0), "has a str as input a; expected a tensor; add a transform"),
            (((torch.zeros(3), "cat"), 0), "has a str as input 2; expected a tensor"),
            (
                ((torch.zeros(2, 3), torch.zeros(3, 3)), [0, 1]),
                r"has inputs of the shapes 1: \(2, 3\), 2: \(3, 3\) and labels of shape \(2,\)",
            ),
            ((torch.zeros(2, 3), [[0, 1]]), r"inputs of shape \(2, 3\) and labels of shape \(1, 2"),
            ((torch.zeros(()), [0]), r"inputs of shape \(\) and labels of shape \(1,\)"),
        ],
    )
    def test_says_what_is_wrong(self, item: Any, message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            list(batches([item], 2))
        assert "\n" not in str(caught.value)

    def test_a_data_set_gives_one_row_at_a_time(self) -> None:
        with pytest.raises(DataError, match=r"data set has labels of shape \(2,\); a Dataset"):
            list(batches(Rows([(torch.zeros(2, 3), torch.zeros(2).long())]), 2))
        [(images, _)] = batches(Rows([(torch.zeros(2, 3, 4, 4), torch.zeros(2).long())]), 2)
        assert images.shape == (2, 3, 4, 4)

    def test_rows_of_two_forms(self) -> None:
        a, b = torch.zeros(3), torch.zeros(4)
        for first, second, message in (
            (
                (a, a),
                (a, b),
                r"1: \(3,\), 2: \(4,\), those before have inputs of the shapes 1: ",
            ),
            (
                {"a": a},
                {"b": a},
                r"item 1 of the data has inputs of the shapes b: \(3,\), those",
            ),
            (a, (a,), r"inputs of the shapes 1: \(3,\), those before have inputs of shape \(3,\)"),
        ):
            with pytest.raises(DataError, match=message):
                list(batches([(first, 0), (second, 0)], 2))

    def test_names_may_come_in_any_order(self) -> None:
        a, b = torch.zeros(2), torch.ones(1)
        [(inputs, _)] = batches([({"a": a, "b": b}, 0), ({"b": b, "a": a}, 1)], 2)
        assert same(inputs, {"a": torch.zeros(2, 2), "b": torch.ones(2, 1)})
