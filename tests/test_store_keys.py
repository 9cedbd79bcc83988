"""What makes two results the same: keys, digests of networks and of data of any shape."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import stores
import torch
from torch.utils.data import TensorDataset

from ensembles.errors import DataError
from ensembles.store import Key
from ensembles.store.description import describe
from ensembles.store.fingerprints import Watched
from ensembles.tasks import TASKS

KEY = Key(
    "w", "a", (("layer.1", "residual"),), "d", "test", 8, (3, 32, 32), "n", "fp32", "shared", 1
)


def test_the_text_of_a_key_is_that_of_version_1():
    assert KEY.text == (
        '{"architecture": "a", "blocks": [["layer.1", "residual"]], "data": "d", "engine": '
        '"shared", "engine_version": 1, "image_shape": [3, 32, 32], "images": 8, "normalization": '
        '"n", "precision": "fp32", "split": "test", "weights": "w"}'
    )
    assert KEY.digest == "cbcaaa7644835278c720166e560bbf100c2167082bcfb829f0b8dc8b4703593a"
    assert Key.parse(KEY.text) == KEY


def test_another_task_or_shape_is_another_key():
    language = replace(KEY, task="language")
    several = replace(KEY, image_shape=(("ids", (8,)), ("mask", (8,))))
    assert json.loads(language.text)["task"] == "language"
    assert len({KEY.digest, language.digest, several.digest}) == 3
    for key in (language, several):
        assert Key.parse(key.text) == key


# Data


def batches(rows=10, seed=0, shape=(3, 4, 4)):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, *shape, generator=draw), torch.arange(rows) % 3


def test_images_have_the_digest_of_version_1():
    images = (torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4) / 64).float()
    found = Watched([(images, torch.tensor([1, 0]))])
    assert found.digest == "1e60e5ef116b4d0bab88a0ee5acea0b8289fd38815f2db1ef7f39276ecb41d35"
    assert (found.shape, found.rows, found.labels) == ((3, 4, 4), 2, [1, 0])


@pytest.mark.parametrize("shape", [(7,), (2, 9), (3, 4, 4), (1, 4, 4, 4), (2, 3, 4, 4, 2)])
def test_data_of_any_shape_are_known_by_what_they_hold(shape):
    inputs, targets = batches(shape=shape)
    found = Watched([(inputs, targets)])
    assert found.shape == shape and found.rows == 10 and found.labels == targets.tolist()
    same = [TensorDataset(inputs, targets), [(inputs[:3], targets[:3]), (inputs[3:], targets[3:])]]
    assert {Watched(one).digest for one in same} == {found.digest}
    moved, flipped = inputs.clone(), targets.clone()
    moved.view(-1)[-1] += 1e-6
    flipped[-1] += 1
    others = [(moved, targets), (inputs, flipped), (inputs[:9], targets[:9]),
              (inputs.flip(0), targets)]  # fmt: skip
    digests = {Watched([one]).digest for one in others}
    assert len(digests) == len(others) and found.digest not in digests
    assert [x.shape for x, _ in found] == [inputs.shape]
    assert [x.shape for x, _ in Watched(same[0])] == [shape] * 10


def test_a_shape_is_part_of_what_data_are():
    inputs, targets = batches(shape=(4, 6))
    assert Watched([(inputs, targets)]).digest != Watched([(inputs.mT, targets)]).digest
    flat = inputs.reshape(10, 24)
    assert Watched([(inputs, targets)]).digest != Watched([(flat, targets)]).digest


def test_several_inputs_are_known_by_their_names_or_places_and_types():
    a, targets = batches(shape=(5,))
    b, ids = batches(seed=1, shape=(2, 3))[0], torch.arange(40).reshape(10, 4)
    pair, swapped = Watched([((a, b), targets)]), Watched([((b, a), targets)])
    named = Watched([({"a": a, "b": b}, targets)])
    renamed = Watched([({"a": a, "c": b}, targets)])
    whole = Watched([((a, ids), targets)])
    narrow = Watched([((a, ids.int()), targets)])
    digests = [one.digest for one in (pair, swapped, named, renamed, whole, narrow)]
    assert len(set(digests)) == len(digests)
    assert pair.shape == ((5,), (2, 3)) and named.shape == (("a", (5,)), ("b", (2, 3)))
    cut = Watched([((a[:4], b[:4]), targets[:4]), ((a[4:], b[4:]), targets[4:])])
    assert cut.digest == pair.digest
    [(inputs, again)] = list(named)
    assert inputs.keys() == {"a", "b"} and torch.equal(again, targets)


def test_windows_of_tokens_are_rows_with_an_observation_for_each_token():
    ids = torch.arange(24).reshape(4, 6) % 11
    language = TASKS.get("language")
    found = Watched([ids], language)
    assert found.rows == 4 and found.labels == ids[:, 1:].flatten().tolist()
    assert found.shape == (6,)
    for same in (ids, list(ids), [ids[:1], ids[1:]], TensorDataset(ids), [{"input_ids": ids}]):
        again = Watched(same, language)
        assert again.digest == found.digest
        assert Watched(again, language).digest == found.digest
    other = ids.clone()
    other[3, 5] = 0
    assert Watched([other], language).digest != found.digest


def test_data_that_change_are_refused():
    class Changing:
        reads = 0

        def __iter__(self):
            Changing.reads += 1
            inputs, targets = batches(shape=(5,))
            yield inputs + Changing.reads, targets

    found = Watched(Changing())
    with pytest.raises(DataError, match="gave other images or another order when they were read"):
        found.check()


# Networks


def test_a_context_tells_what_was_asked_of_the_network():
    context, data = describe(stores.decomposed(), stores.images(), model="small")
    assert data.name == context.about["dataset"] == "noise"
    assert "task" not in json.loads(context.key.text)
    watched, again = describe(stores.decomposed(), Watched(stores.images()))
    assert isinstance(again, Watched) and watched.key.normalization == "as given"
    assert watched.key.digest != context.key.digest
