"""What lesions need beside the network: reference data, initial weights, other networks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import build, decomposable, images_for
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ensembles
from ensembles.decomposition import Decomposition, decompose
from ensembles.engine import Materials, check_lesions, evaluate
from ensembles.errors import LesionError
from ensembles.lesions import (
    Delete,
    Initial,
    Intact,
    MeanBranch,
    Reference,
    Reset,
    Source,
    Transplant,
)

PLAN = [("post", 6, 1), ("pre", 6, 1), ("post", 8, 2), ("post", 8, 1)]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return decomposable()


@pytest.fixture(scope="module")
def net(model: nn.Module) -> Decomposition:
    return decompose(model, images_for(model, 4)[0])


class Branches:
    """What the branches of a network give, caught by hooks in one plain pass."""

    def __init__(self, net: Decomposition, images: Tensor) -> None:
        self.values: list[Tensor] = []
        handles = [
            block.branch.register_forward_hook(lambda *args: self.values.append(args[-1]))
            for block in net
        ]
        with torch.no_grad():
            net(images)
        for handle in handles:
            handle.remove()


def test_means_are_those_of_a_plain_pass_with_hooks(model: nn.Module, net: Decomposition) -> None:
    images, labels = images_for(model, 23, 3)
    spread = torch.arange(10) * 23 // 10
    expected = Branches(net, images[spread]).values
    dataset = TensorDataset(images, labels)
    for reference in (
        dataset,
        [(images, labels)],
        [(images[:7], labels[:7]), (images[7:], labels[7:])],
    ):
        given = Materials(net, reference=reference)
        found = given.means(Reference(10))
        assert len(found) == len(net)
        for mean, value in zip(found, expected, strict=True):
            assert mean.dtype == torch.float32
            torch.testing.assert_close(mean, value.double().mean(0).float(), rtol=1e-5, atol=1e-7)
        assert given.means(Reference(10)) is found


def test_memory_that_runs_out_changes_no_mean(
    model: nn.Module, net: Decomposition, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = images_for(model, 16, 3)
    expected = Materials(net, reference=[(images, labels)]).means(Reference(16))
    plain, sizes = ensembles.engine.materials.walk, []

    def walk(net: Decomposition, inputs: Tensor) -> Iterator[Any]:
        sizes.append(len(inputs))
        for number, visit in enumerate(plain(net, inputs)):
            if number == 2 and len(inputs) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory (injected)")
            yield visit

    monkeypatch.setattr("ensembles.engine.materials.walk", walk)
    found = Materials(net, reference=[(images, labels)]).means(Reference(16))
    assert max(sizes) == 16 and sizes.count(4) == 4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


class Words(nn.Module):
    """A language model with two residual layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        x = x + self.one(x).tanh()
        x = x + self.two(x.cumsum(1)).tanh()
        return self.head(x)


def test_windows_of_a_text_are_a_reference_too() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Words().eval()
    ids = torch.randint(7, (13, 6), generator=torch.Generator().manual_seed(1))
    net = decompose(model, ids[:3])
    expected = Branches(net, ids[torch.arange(5) * 13 // 5]).values
    digests = set()
    for reference in (ids, [ids[:4], ids[4:]], [{"input_ids": ids}]):
        given = Materials(net, reference=reference)
        for mean, value in zip(given.means(Reference(5)), expected, strict=True):
            torch.testing.assert_close(mean, value.mean(0))
        digests.add(given.digest([Reference(5)]))
        found = evaluate(
            net, ids, [MeanBranch((1,), 5), Intact().recalibrated(2, 2)], materials=given,
            metrics=("top1", "loss", "kl", "perplexity"), device="cpu", batch_size=4,
        )  # fmt: skip
        assert found[0].total == 13 * 5
        assert found[0].row()["kl"] > 0 == found[1].row()["kl"]
    assert len(digests) == 1


def test_a_mean_needs_rows_in_front() -> None:
    class Sequences(nn.Module):
        """Tokens come first, rows second, as in older transformers."""

        def __init__(self) -> None:
            super().__init__()
            self.mix, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = x.transpose(0, 1).contiguous()
            x = x + self.mix(x)
            return self.head(x.mean(0))

    images = torch.randn(5, 3, 4)
    labels = torch.zeros(5).long()
    net = decompose(Sequences().eval(), images)
    given = Materials(net, reference=[(images, labels)])
    with pytest.raises(LesionError, match=r"the mean of block 1 .* \(3, 2, 4\) for 2 rows"):
        evaluate(net, [(images, labels)], [MeanBranch((1,), 5)], device="cpu", materials=given)


def test_the_reference_is_the_training_split_of_the_same_data() -> None:
    network = ensembles.create_model("preresnet20").eval()
    data = ensembles.dataset("digits", split="test", limit=8)
    net = decompose(network, next(data.batches(4))[0])
    given = Materials(net, data=data)
    batches = list(given.batches(Reference(6), 4))
    train = ensembles.dataset("digits", split="train", limit=6)
    assert [batch.start for batch in batches] == [0, 4]
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), next(train.batches(6))[0])
    test = next(iter(given.batches(Reference(6, "test"), 6))).inputs
    assert torch.equal(test, next(ensembles.dataset("digits", limit=6).batches(6))[0])


def test_reference_data_that_are_missing_or_too_few(
    model: nn.Module, net: Decomposition, tmp_path: Path
) -> None:
    images, labels = images_for(model, 4)
    data = [(images, labels)]
    lesion = MeanBranch((1,), 16)
    with pytest.raises(LesionError, match=r"reference data are needed, .* no train split"):
        evaluate(net, data, [lesion], device="cpu")
    few = Materials(net, reference=data)
    with pytest.raises(LesionError, match=r"16 reference observations .* the reference data has 4"):
        evaluate(net, data, [lesion], device="cpu", materials=few)
    once = Materials(net, reference=iter(data))
    with pytest.raises(LesionError, match="list_iterator, which can be read only once; give"):
        check_lesions(net, [lesion], once)
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(folder / "1.png")
    whole = ensembles.dataset(tmp_path)
    with pytest.raises(LesionError, match=r"reference data are needed: .*; name others by ref"):
        evaluate(net, whole, [lesion], device="cpu")
    assert evaluate(net, data, [Intact()], device="cpu")


def test_initial_weights_and_other_networks(model: nn.Module, net: Decomposition) -> None:
    images, labels = images_for(model, 8)
    data = [(images, labels)]
    other = build(PLAN, seed=5)
    taken_apart = decompose(other, images)
    lesions = [Reset((2,)), Transplant((3, 4), "twin")]
    states = copy.deepcopy((other.state_dict(), taken_apart.state_dict()))
    found = []
    for twin in (other, taken_apart):
        for sources in ({"twin": twin}, {"twin": twin}.__getitem__):
            given = Materials(net, data=data, initial=twin, sources=sources)
            for precision in ("bf16", "fp32"):  # what is rounded for one is whole for the other
                outcomes = evaluate(
                    net, data, lesions, device="cpu", materials=given, precision=precision
                )
            found.append([outcome.loss_sum for outcome in outcomes])
    assert all(one == found[0] for one in found)
    for now, then in zip((other, taken_apart), states, strict=True):
        assert all(torch.equal(now.state_dict()[name], value) for name, value in then.items())


def test_networks_that_are_missing_or_of_another_architecture(
    model: nn.Module, net: Decomposition
) -> None:
    data = [images_for(model, 4)]
    none = Materials(net, data=data)
    with pytest.raises(LesionError, match=r"give initial= a model .* `ensembles train --init`"):
        check_lesions(net, [Reset((2,))], none)
    with pytest.raises(LesionError, match=r"the network 'twin' is needed; name it in sources="):
        check_lesions(net, [Transplant((2,), "twin")], none)
    named = Materials(net, data=data, sources={"twin1": model})
    with pytest.raises(LesionError, match=r"'twin' is needed; sources= has twin1; did you mean"):
        check_lesions(net, [Transplant((2,), "twin")], named)
    for other, message in (
        (build(PLAN[:3]), r"the initial network has 3 blocks, the network 4; expected a network"),
        (
            build([*PLAN[:3], ("pre", 8, 1)]),
            r"block 4 .* of the initial network differs .* in what its branch",
        ),
        (
            build([("bottleneck", 6, 1), *PLAN[1:]]),
            r"block 1 .* of the initial network differs .* in branch.*",
        ),
        ("weights.pt", r"the initial network is a str; expected a model"),
        (nn.Linear(3, 4), r"the initial network cannot be taken apart as the network was"),
    ):
        with pytest.raises(LesionError, match=message):
            check_lesions(net, [Reset((2,))], Materials(net, data=data, initial=other))
    with pytest.raises(LesionError, match=r"no data to take it apart by; give its decomposition"):
        check_lesions(net, [Reset((2,))], Materials(net, initial=model))


def test_blocks_named_by_hand_are_found_in_the_other_network_too() -> None:
    model, other = build(PLAN, seed=1), build(PLAN, seed=2)
    images, labels = images_for(model, 4)
    net = decompose(model, images, blocks=["blocks.0", "blocks.2"])
    given = Materials(net, data=[(images, labels)], initial=other)
    assert given.other(Initial()).names == net.names
    check_lesions(net, [Reset((2,))], given)


def test_digests_tell_what_is_used(model: nn.Module, net: Decomposition) -> None:
    images, labels = images_for(model, 12)
    other, same = build(PLAN, seed=5), build(PLAN, seed=5)
    one = Materials(net, reference=[(images, labels)], initial=other)
    cut = Materials(
        net, reference=[(images[:5], labels[:5]), (images[5:], labels[5:])], initial=same
    )
    needs = [Reference(6), Initial()]
    assert one.digest([]) == ""
    assert one.digest(needs) == cut.digest(needs[::-1]) and len(one.digest(needs)) == 64
    items = Materials(net, reference=TensorDataset(images, labels))
    assert items.digest([Reference(6)]) == one.digest([Reference(6)])
    changed = Materials(net, reference=[(images + 1, labels)], initial=build(PLAN, seed=6))
    for need in needs:
        assert one.digest([need]) == cut.digest([need])
        assert one.digest([need]) != changed.digest([need])
    assert one.digest([Reference(6)]) != one.digest([Reference(5)])
    named = Materials(net, data=[(images, labels)], sources={"a": other, "b": same})
    assert named.digest([Source("a")]) == named.digest([Source("b")])


def test_shuffled_data_are_the_same_rows_in_the_digest_and_in_use(
    model: nn.Module, net: Decomposition
) -> None:
    images, labels = images_for(model, 12)
    loader = DataLoader(TensorDataset(images, labels), batch_size=5, shuffle=True)
    first, second = Materials(net, reference=loader), Materials(net, reference=loader)
    assert first.digest([Reference(6)]) != second.digest([Reference(6)])
    for given in (first, second):
        rows = [torch.cat([batch.inputs for batch in given.batches(Reference(6), size)])
                for size in (2, 6)]  # fmt: skip
        assert torch.equal(*rows)
        again = Materials(net, reference=[(rows[0], labels[:6])])
        assert again.digest([Reference(6)]) == given.digest([Reference(6)])


def test_what_is_needed_depends_on_the_network(net: Decomposition) -> None:
    lesion = Delete((1,)).then(MeanBranch((2,), 5)).recalibrated(2, 4)
    assert Materials(net).needed([lesion, Delete((2,))]) == (Reference(5), Reference(8))
    plain = build([("attention", 0, 1)] * 2)
    without = decompose(plain, images_for(plain, 4)[0])
    assert Materials(without).needed([lesion]) == (Reference(5),)
