from __future__ import annotations

import json
import math
import re
import resource
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from ensembles import checkpoints
from ensembles.checkpoints import (
    Card,
    CheckpointWarning,
    Measured,
    add,
    build_with_weights,
    card_text,
    fetch,
    list_checkpoints,
    load,
    open_weights,
    parse_card,
    read_card,
    remove,
    save_checkpoint,
    verify,
    write_card,
)
from ensembles.checkpoints import download as download_module
from ensembles.cli.checkpoints import checkpoints as command
from ensembles.data import dataset
from ensembles.data.texts import open_text
from ensembles.engine import count_correct
from ensembles.errors import CheckpointError, EnsemblesError, OutputError, UsageError
from ensembles.models import create_model

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of this test's own."""
    folder = tmp_path / "store"
    monkeypatch.setenv("ENSEMBLES_CHECKPOINTS", str(folder))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return folder


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = create_model("resnet20")
    with torch.no_grad():
        for name, value in made.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    return made.eval()


@pytest.fixture
def state(model: nn.Module) -> State:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def file(state: State, tmp_path: Path) -> Path:
    path = tmp_path / "their.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    return path


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(EnsemblesError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(a: nn.Module, b: nn.Module) -> bool:
    x = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    with torch.no_grad():
        return torch.equal(a(x), b(x))


# Cards -------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
values = texts | st.integers(-(2**60), 2**60) | st.booleans() | finite
tables = st.dictionaries(texts, values | st.lists(st.integers(0, 9)), max_size=3)


@settings(deadline=None)
@given(
    st.builds(
        Card,
        name=st.from_regex(r"[a-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
        architecture=st.just("resnet20"),
        num_classes=st.integers(1, 5),
        arguments=st.dictionaries(texts.filter("num_classes".__ne__), values, max_size=3),
        dataset=texts,
        images=st.none() | st.integers(0, 10**9),
        normalization=st.none() | texts.filter(bool),
        training=tables,
        recipe=tables,
        notes=texts,
        sha256=st.from_regex(r"[0-9a-f]{8,64}", fullmatch=True),
        measured=st.lists(
            st.builds(Measured, dataset=texts, split=texts, correct=st.just(3), total=st.just(4)),
            max_size=2,
        ).map(tuple),
    )
)
def test_cards_read_back(card: Card) -> None:
    assert parse_card(card_text(card)) == card


def test_a_card_of_training_is_understood() -> None:
    card = parse_card(
        """
        name = "resnet20-digits"
        architecture = "resnet20"
        library = "ensembles"
        paper = "He et al. 2016, arXiv 1512.03385"
        dataset = "digits"
        normalization = "digits"
        classes = ["0", "1"]
        [arguments]
        num_classes = 2
        [training]
        seed = 3
        [file]
        name = "resnet20.safetensors"
        format = "safetensors"
        size = 5
        sha256 = "0123456789abcdef"
        [measured]
        dataset = "digits"
        split = "test"
        correct = 351
        total = 359
        error = 2.2284
        """
    )
    assert (card.num_classes, card.arguments, card.seed) == (2, {}, 3)
    assert card.measured == (Measured("digits", "test", 351, 359),)
    assert card.measured[0].error == pytest.approx(2.2284, abs=1e-4)
    assert (card.file, card.sha256) == ("resnet20.safetensors", "0123456789abcdef")


GOOD = 'name = "a"\narchitecture = "resnet20"\nnum_classes = 10\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = ", "is no TOML"),
        ("[" * 5000, "a key or value of more than 16 levels"),
        ('name = "a"', "missing architecture, num_classes"),
        (GOOD + "normalisation = 'imagenet'", "unknown normalisation"),
        (GOOD.replace('"a"', '"../a"'), "name is '../a', expected letters"),
        (GOOD.replace("10", "0"), "num_classes is 0, expected a whole number of at least 1"),
        (GOOD.replace("10", '"10"'), "num_classes is '10'"),
        (GOOD + 'notes = "a\\u0000"', "holds a NUL character"),
        (GOOD + "classes = ['x']", "1 names for 10 classes"),
        (GOOD + "[file]\nname = '../../x'", "file is '../../x', expected a plain file name"),
        (GOOD + "[file]\nsha256 = 'xyz'", "sha256 is 'xyz', expected 8 to 64 hexadecimal digits"),
        (GOOD + "[measured]\ndataset='d'\nsplit='t'\ncorrect=5\ntotal=4", "5 correct of 4 images"),
        (GOOD + "[measured]\ndataset='d'", "is no card"),
        (GOOD + "arguments = 3", "is no card"),
        (GOOD + "[recipe]\na = {b = 1}", "recipe holds something else"),
    ],
)
def test_wrong_cards_are_refused(text: str, reason: str) -> None:
    assert reason in refusal(parse_card, text)


def test_a_card_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(read_card, tmp_path / "none.toml")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_card(Card("a", "resnet20", 10), tmp_path / "file" / "a.toml")


# Fitting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "model.", "net.", "model.module.", "backbone."])
def test_prefixes_are_understood(prefix: str, state: State, model: nn.Module) -> None:
    loaded, classes = build_with_weights("resnet20", {prefix + k: v for k, v in state.items()})
    assert classes == 10
    assert not loaded.training
    assert same(loaded, model)


def test_names_of_other_implementations_are_understood(tmp_path: Path) -> None:
    model = create_model("resnet20_b", 100).eval()
    state = {
        name.replace("linear.", "fc.").replace(".shortcut.", ".downsample."): value
        for name, value in model.state_dict().items()
    }
    loaded, classes = build_with_weights("resnet20_b", state)
    assert classes == 100
    assert same(loaded, model)
    message = refusal(build_with_weights, "resnet20", state)
    assert message.endswith("; it fits resnet20_b: name that as the model")


def test_the_number_of_classes_is_that_of_the_weights(state: State) -> None:
    state["linear.weight"], state["linear.bias"] = torch.ones(100, 64), torch.ones(100)
    model, classes = build_with_weights("resnet20", state)
    assert classes == 100
    assert model.get_submodule("linear").out_features == 100
    message = refusal(build_with_weights, "resnet20", state, num_classes=10, origin="x.pth")
    assert message == (
        "x.pth has 100 classes (linear.weight 100x64), the model 10: pass num_classes=100, or none"
    )


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_weights_saved_without_their_auxiliary_heads(name: str) -> None:
    saved = create_model(name, 3, aux_logits=False, init_weights=False).state_dict()
    model, classes = build_with_weights(name, saved)
    assert classes == 3
    assert model.state_dict().keys() == saved.keys()


def test_a_model_far_wider_than_its_weights_is_not_built(state: State) -> None:
    message = refusal(build_with_weights, "resnet20", state, num_classes=10**12)
    assert message == "the checkpoint has no layer for 1,000,000,000,000 classes"


@pytest.mark.parametrize("name", ["squeezenet1_0", "mobilenet_v3_small", "timm:resnet10t"])
def test_the_number_of_classes_of_library_models(name: str) -> None:
    weights = create_model(name, num_classes=7).state_dict()
    model, classes = build_with_weights(name, weights)
    assert classes == 7
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_single(dtype: torch.dtype, state: State) -> None:
    given_ = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    model, _ = build_with_weights("resnet20", given_)
    for name, value in model.state_dict().items():
        assert value.dtype == state[name].dtype
        assert torch.equal(value, given_[name].to(value.dtype))


def test_old_files_without_counts_of_batches(state: State, model: nn.Module) -> None:
    kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert same(build_with_weights("resnet20", kept)[0], model)


def test_25_missing_keys_are_counted_and_the_first_named(state: State) -> None:
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    for name in names[5:30]:
        del state[name]
    message = refusal(build_with_weights, "resnet20", state, origin="x.pth")
    assert message.startswith("x.pth does not fit resnet20: 25 missing (layer1.0.conv1.weight, ")
    assert message.endswith("and 21 more)")


def test_missing_unexpected_and_misshapen_are_all_listed(state: State) -> None:
    del state["conv1.weight"]
    state["extra.weight"] = torch.ones(2)
    state["bn1.weight"] = torch.ones(17)
    state["layer1.0.bn1.bias"] = torch.ones(16, dtype=torch.int64)
    message = refusal(build_with_weights, "resnet20", state)
    assert "1 missing (conv1.weight)" in message
    assert "1 unexpected (extra.weight)" in message
    assert "1 of another shape (bn1.weight 17, the model 16)" in message
    assert "1 of another kind of number (layer1.0.bn1.bias int64)" in message


def test_a_file_of_another_network(state: State) -> None:
    message = refusal(build_with_weights, "vgg15", state)
    assert "missing (features.0.weight" in message
    assert "unexpected (conv1.weight" in message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["layer2.1.conv1.weight", "layer1.0.bn2.running_var"])
def test_values_that_are_not_finite_are_named(state: State, name: str, value: float) -> None:
    state[name].view(-1)[3] = value
    message = refusal(build_with_weights, "resnet20", state)
    assert f"{name} has 1 of {state[name].numel()} values NaN or infinite" in message


def test_a_negative_variance_is_named(state: State) -> None:
    state["bn1.running_var"][2] = -0.1
    message = refusal(build_with_weights, "resnet20", state)
    assert "bn1.running_var has 1 of 16 values negative variances" in message


def test_a_double_that_overflows_is_refused(state: State) -> None:
    state["conv1.weight"] = state["conv1.weight"].double() * 1e300
    assert "conv1.weight has" in refusal(build_with_weights, "resnet20", state)


def test_loading_draws_nothing_from_the_global_generator(file: Path) -> None:
    before = torch.random.get_rng_state()
    load("resnet20", file)
    assert torch.equal(torch.random.get_rng_state(), before)


# Files from elsewhere ----------------------------------------------------------------------------


def test_a_file_gives_a_model_and_what_can_be_known(file: Path, model: nn.Module) -> None:
    loaded, card = load("resnet20", str(file))
    assert same(loaded, model)
    assert (card.name, card.architecture, card.num_classes) == ("their", "resnet20", 10)
    assert card.normalization is None
    assert card.size == file.stat().st_size
    assert len(card.sha256) == 64


def test_the_card_beside_a_file_is_used(file: Path, model: nn.Module) -> None:
    card = Card("mine", "resnet20", 10, normalization="cifar10", sha256="0" * 64)
    write_card(card, file.with_suffix(".toml"))
    assert "is damaged or another file" in refusal(load, "resnet20", file)
    sha256 = checkpoints.file_sha256(file)
    write_card(Card("mine", "resnet20", 10, normalization="cifar10", sha256=sha256),
               file.with_suffix(".toml"))  # fmt: skip
    loaded, found = load("resnet20", file)
    assert found.normalization == "cifar10"
    assert same(loaded, model)
    assert "is of resnet20, not of resnet32" in refusal(load, "resnet32", file)
    assert "has 10 classes, asked for 7" in refusal(load, "resnet20", file, num_classes=7)


def test_a_single_flipped_bit_fails_the_sha256(model: nn.Module, store: Path) -> None:
    save_checkpoint(model, Card("mine", "resnet20", 10))
    path = store / "weights" / "mine.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert "is damaged or another file: its sha256 starts with" in refusal(load, "mine")


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    assert refusal(load, "resnet56", "akamastr").endswith("did you mean cifar10-akamaster?")
    assert "no trained preresnet1001 comes with the package; none is known, train one" in refusal(
        load, "preresnet1001"
    )
    assert "cannot be read: No such file" in refusal(load, "resnet20", tmp_path / "none.pth")
    assert "unknown model 'resnet21'" in refusal(load, "resnet21")
    assert "is of resnet32, not of resnet20" in refusal(
        load, "resnet20", "resnet32-cifar10-akamaster"
    )


@pytest.mark.assets
@pytest.mark.parametrize(
    ("depth", "sha256", "correct"), [(20, "12fca82f", 8103), (32, "d509ac18", 8256)]
)
def test_public_files_classify_jpeg_images(
    assets: Path, cifar_jpeg_test: Path, depth: int, sha256: str, correct: int
) -> None:
    path = assets / "checkpoints" / f"resnet{depth}-{sha256}.th"
    model, card = load(f"resnet{depth}", path)
    assert card.name == f"resnet{depth}-cifar10-akamaster"
    data = dataset(cifar_jpeg_test, normalize=card.normalization, limit=500)
    right, total = count_correct(model, data)
    assert abs(right / total - correct / 10_000) < 0.03


# The store ---------------------------------------------------------------------------------------


def test_what_is_saved_loads_by_name(model: nn.Module, state: State, store: Path) -> None:
    card = save_checkpoint(model, Card("mine", "resnet20", 10, normalization="cifar10"))
    assert card.size == (store / "weights" / card.file).stat().st_size
    loaded, found = load("resnet20", "mine")
    assert found == card == load("mine")[1]
    assert same(loaded, model)
    assert [e.card.name for e in list_checkpoints("resnet20") if e.place == "user"] == ["mine"]
    assert not list(store.rglob("*.tmp"))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_half_precision_is_half_the_size_and_loads_as_single(model: nn.Module, store: Path) -> None:
    whole = save_checkpoint(model, Card("whole", "resnet20", 10))
    half = save_checkpoint(model, Card("half", "resnet20", 10), half=True)
    assert whole.size is not None and half.size is not None
    assert half.size < 0.55 * whole.size
    loaded, _ = load("half")
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    model.half().float()
    assert same(loaded, model)


def test_weights_that_overflow_half_precision_are_not_written(
    model: nn.Module, store: Path
) -> None:
    with torch.no_grad():
        model.get_submodule("conv1").weight[0] = 1e6
    assert "conv1.weight has" in refusal(
        save_checkpoint, model, Card("half", "resnet20", 10), half=True
    )
    assert not store.exists()


def test_a_broken_card_is_named(store: Path) -> None:
    (store / "cards").mkdir(parents=True)
    (store / "cards" / "a.toml").write_text("nonsense")
    assert "cards/a.toml is no TOML" in refusal(load, "a")
    (store / "cards" / "a.toml").write_text(card_text(Card("b", "resnet20", 10)))
    assert "names 'b', expected 'a'" in refusal(load, "a")


BAD_CARDS = {
    "nonsense": b"nonsense",
    "no UTF-8": b"\xff\xfe",
    "another name": card_text(Card("b", "resnet20", 10)).encode(),
    "long keys": b".".join([b"a"] * 29_000) + b" = 1",
    "deep arrays": b"a = " + b"[" * 9000 + b"]" * 9000,
    "a long number": b"num_classes = " + b"9" * 10_000,
    "large": b"# " * (1 << 20),
}


@pytest.mark.parametrize("text", BAD_CARDS.values(), ids=BAD_CARDS)
def test_a_bad_card_stops_nothing_and_can_be_removed(
    text: bytes, model: nn.Module, store: Path, recwarn: pytest.WarningsRecorder
) -> None:
    save_checkpoint(model, Card("good", "resnet20", 10))
    (store / "cards" / "a.toml").write_bytes(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert [e.card.name for e in list_checkpoints() if e.place == "user"] == ["good"]
    assert any("cards/a.toml" in str(one.message) for one in recwarn)
    assert [(v.name, v.state) for v in verify(["good", "a"])] == [("good", "good"), ("a", "bad")]
    assert "did you mean good?" in refusal(load, "resnet20", "goo")
    assert load("good")[1].name == "good"
    with pytest.raises(UsageError, match="a checkpoint 'a' is there already"):
        add("x.pt", "a", "resnet20", data="digits")
    assert remove("a") == [store / "cards" / "a.toml"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_weights_that_another_card_names_stay(model: nn.Module, store: Path) -> None:
    card = save_checkpoint(model, Card("mine", "resnet20", 10))
    write_card(replace(card, name="thief"), store / "cards" / "thief.toml")
    with pytest.warns(CheckpointWarning, match=r"mine\.safetensors stays: the cards of mine"):
        assert remove("thief") == [store / "cards" / "thief.toml"]
    assert same(load("mine")[0], model)
    write_card(replace(card, name="thief"), store / "cards" / "thief.toml")
    with pytest.raises(UsageError, match=r"mine\.safetensors holds the weights of thief: take ano"):
        save_checkpoint(model, card)
    assert len(remove("thief") + remove("mine")) == 3


def test_one_of_several_that_add_one_name_wins_whole(model: nn.Module, store: Path) -> None:
    models = [create_model("resnet20").eval() for _ in range(6)]
    lost = []

    def save(number: int) -> None:
        try:
            save_checkpoint(
                models[number], Card("one", "resnet20", 10, notes=str(number)), new=True
            )
        except UsageError as error:
            lost.append(str(error))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(save, range(6)))
    assert len(lost) == 5
    assert set(lost) == {"a checkpoint 'one' was added meanwhile: take another name"}
    loaded, card = load("one")
    assert same(loaded, models[int(card.notes)])


@pytest.mark.parametrize(
    "arguments",
    [{"depth": 100_000_004}, {"width": 10**9}, {"depth": 100_000_004, "width": 10**6}],
    ids=str,
)
def test_a_card_of_any_size_is_held_against_its_weights_first(
    arguments: dict[str, int], model: nn.Module, store: Path
) -> None:
    card = save_checkpoint(model, Card("large", "resnet20", 10))
    write_card(replace(card, arguments=arguments), store / "cards" / "large.toml")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refusal(load, "large")
    assert "does not fit resnet20" in message or "it is another one" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 << 10


NAME = attrgetter("name")
PACKAGED = [entry.card for entry in list_checkpoints() if entry.place == "packaged"]


@pytest.mark.parametrize("card", [card for card in PACKAGED if card.dataset == "digits"], ids=NAME)
def test_a_packaged_checkpoint_on_the_digits_gives_the_count_of_its_card(card: Card) -> None:
    (stated,) = card.measured
    model, _ = load(card.name)
    data = dataset("digits", stated.split, normalize=card.normalization)
    assert count_correct(model, data, 25) == (stated.correct, stated.total)


def test_the_packaged_language_model_gives_the_counts_of_its_card() -> None:
    (card,) = (card for card in PACKAGED if card.architecture == "gpt12")
    model, _ = load("gpt12")
    for stated in card.measured:
        if stated.dataset == "prose":
            data = open_text("prose", stated.split, window=256)
            if data.content_hash != stated.content_hash:
                pytest.skip("another version of scikit-learn describes its data otherwise")
            assert count_correct(model, data) == (stated.correct, stated.total)


SHALLOW = [
    card
    for card in PACKAGED
    if card.dataset.startswith("cifar10") and "110" not in card.architecture
]  # the deep ones take minutes: benchmarks/packaged_counts.py


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("card", SHALLOW, ids=NAME)
def test_a_packaged_checkpoint_on_original_images_gives_the_count_of_its_card(
    card: Card, cifar_original_val: Path
) -> None:
    data = dataset(cifar_original_val, "test", normalize=card.normalization)
    stated = next(one for one in card.measured if one.content_hash == data.content_hash)
    model, _ = load(card.name)
    assert count_correct(model, data, 25) == (stated.correct, stated.total)


def test_packaged_checkpoints_stay() -> None:
    with pytest.raises(UsageError, match="is part of the package and stays"):
        remove(PACKAGED[0].name)


def test_add_measures_and_keeps(file: Path, model: nn.Module) -> None:
    card = add(file, "mine", "resnet20", data="digits", normalize="digits", licence="CC0-1.0")
    correct, total = count_correct(model, dataset("digits", normalize="digits"))
    (measured,) = card.measured
    assert (measured.correct, measured.total, measured.dataset) == (correct, total, "digits")
    assert card.classes == tuple("0123456789")
    assert read_card(checkpoints.user_folder() / "cards" / "mine.toml") == card
    assert [v.state for v in verify(["mine"])] == ["good"]
    assert "is there already" in refusal(
        add, file, "mine", "resnet20", data="digits", normalize="digits"
    )
    assert len(remove("mine")) == 2
    assert "is called 'mine'" in refusal(remove, "mine")


def test_add_measures_on_each_data_set(file: Path, tmp_path: Path) -> None:
    for number, name in enumerate(dataset("digits").classes):
        image = Image.fromarray(np.full((32, 32, 3), 20 * number, np.uint8))
        (tmp_path / "mine" / "test" / name).mkdir(parents=True)
        image.save(tmp_path / "mine" / "test" / name / "0.png")
    card = add(file, "x", "resnet20", data=["digits", tmp_path / "mine"], normalize="digits")
    assert [(one.dataset, one.total) for one in card.measured] == [("digits", 359), ("mine", 10)]


def test_add_asks_for_what_it_cannot_know(file: Path, state: State, tmp_path: Path) -> None:
    assert "'resnet20' is the name of an architecture" in refusal(
        add, file, "resnet20", "resnet20", data="digits", normalize="digits"
    )
    assert "give normalize" in refusal(add, file, "mine", "resnet20", data="digits")
    assert "name is 'a b'" in refusal(
        add, file, "a b", "resnet20", data="digits", normalize="digits"
    )
    state["linear.weight"], state["linear.bias"] = torch.ones(3, 64), torch.ones(3)
    torch.save(state, tmp_path / "three.pt")
    assert "has 3 classes, digits has 10" in refusal(
        add, tmp_path / "three.pt", "mine", "resnet20", data="digits", normalize="digits"
    )
    assert not checkpoints.user_folder().exists()


def test_add_in_half_precision_measures_what_was_written(
    file: Path, state: State, tmp_path: Path, store: Path
) -> None:
    card_beside = Card(
        "mine", "resnet20", 10, normalization="digits", sha256=checkpoints.file_sha256(file),
        measured=(Measured("elsewhere", "test", 3, 4),),
    )  # fmt: skip
    write_card(card_beside, file.with_suffix(".toml"))
    folder = tmp_path / "packed"
    card = add(file, "mine", "resnet20", data="digits", half=True, folder=folder)
    path = folder / "weights" / "mine.safetensors"
    rounded = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    written = checkpoints.read_state_dict(path)
    assert written.keys() == rounded.keys()
    assert all(torch.equal(value, rounded[name]) for name, value in written.items())
    model, _ = build_with_weights("resnet20", rounded)
    data = dataset("digits", normalize="digits")
    counts = count_correct(model, data)
    assert card.measured == (Measured("digits", "test", *counts, content_hash=data.content_hash),)
    assert card.sha256 == checkpoints.file_sha256(path)
    assert read_card(folder / "cards" / "mine.toml") == card
    assert not store.exists()
    assert "is there already" in refusal(
        add, file, "mine", "resnet20", data="digits", folder=folder
    )


# Public ones -------------------------------------------------------------------------------------


class Answer(BytesIO):
    headers: dict[str, str] = {}  # noqa: RUF012


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """What a request for an address gets; no network for the rest."""
    answers: dict[str, bytes] = {}

    def answer(url: str) -> Answer:
        if url not in answers:
            raise urllib.error.URLError("Network is unreachable")
        return Answer(answers[url])

    monkeypatch.setattr(download_module, "_answer", answer)
    yield answers


ADDRESS = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/"


def test_without_a_network_the_file_and_its_folder_are_named(
    server: dict[str, bytes], store: Path
) -> None:
    message = refusal(fetch, "resnet56-cifar10-akamaster", progress=False)
    assert message == (
        f"resnet56-4bfd9763.th is not in {store / 'fetched'} and cannot be downloaded "
        f"(Network is unreachable): fetch {ADDRESS}resnet56-4bfd9763.th by other means and put it "
        "there"
    )
    assert not [path for path in store.rglob("*") if path.is_file()]


def test_another_file_is_not_kept(server: dict[str, bytes], store: Path) -> None:
    server[f"{ADDRESS}resnet56-4bfd9763.th"] = b"<html>Not found</html>"
    message = refusal(load, "resnet56", "cifar10-akamaster")
    assert "gave another file: its sha256 starts with" in message
    assert message.endswith("expected 4bfd9763")
    assert not [path for path in store.rglob("*") if path.is_file()]


@pytest.mark.assets
def test_fetched_once_then_taken_from_the_cache(
    assets: Path, server: dict[str, bytes], store: Path
) -> None:
    name = "resnet20-cifar10-akamaster"
    content = (assets / "checkpoints" / "resnet20-12fca82f.th").read_bytes()
    server[f"{ADDRESS}resnet20-12fca82f.th"] = content
    assert [v.state for v in verify([name])] == ["not fetched"]
    path = fetch(name, progress=False)
    assert path == store / "fetched" / "resnet20-12fca82f.th"
    server.clear()
    assert load("resnet20", "cifar10-akamaster")[1].normalization == "imagenet"
    assert [v.state for v in verify([name])] == ["good"]
    path.write_bytes(content[:-1])
    assert [v.state for v in verify([name])] == ["bad"]
    assert remove(name) == [path]


def test_the_public_ones_are_those_that_their_publishers_name() -> None:
    public = {e.card.name: e.card for e in list_checkpoints() if e.place == "public"}
    assert len(public) == 6 + 16
    assert [n for n in public if n.startswith("resnet1202")] == ["resnet1202-cifar10-akamaster"]
    for card in public.values():
        assert card.source.startswith("https://github.com/")
        assert card.source.endswith(card.file)
        assert f"-{card.sha256[:8]}." in card.file
        assert card.normalization is not None


@pytest.mark.parametrize(
    "name", ["resnet20_b-cifar100-chenyaofo", "cifar_vgg11_bn-cifar10-chenyaofo"]
)
def test_names_of_chenyaofo_fit_our_networks(name: str) -> None:
    """The names of github.com/chenyaofo/pytorch-cifar-models, written out from its modules."""
    card = checkpoints.find(name).card
    model = create_model(card.architecture, card.num_classes).eval()
    state = {
        key.replace("linear.", "fc.").replace(".shortcut.", ".downsample."): value
        for key, value in model.state_dict().items()
    }
    assert {"fc.weight", "layer2.0.downsample.0.weight"} <= set(state) or {
        "features.0.bias",
        "classifier.6.weight",
    } <= set(state)
    assert same(build_with_weights(card.architecture, state)[0], model)


def test_imagenet_weights_come_with_their_own_preprocessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    path.parent.mkdir(parents=True)
    model = create_model("squeezenet1_1").eval()
    torch.save(model.state_dict(), path)
    assert "is damaged or another file" in refusal(load, "squeezenet1_1")
    monkeypatch.setattr(
        "ensembles.checkpoints.imagenet.open_weights", lambda path, sha256: open_weights(path)
    )
    loaded, card = load("squeezenet1_1", "IMAGENET1K_V1")
    x = torch.ones(1, 3, 64, 64)
    assert torch.equal(loaded(x), model(x))
    assert card.normalization == "0.485,0.456,0.406/0.229,0.224,0.225"
    assert card.preprocessing == {"resize": 256, "crop": 224, "interpolation": "bilinear"}
    assert card.classes[0] == "tench"
    assert "torchvision has IMAGENET1K_V1" in refusal(load, "squeezenet1_1", "IMAGENET1K_V2")


def test_unknown_timm_weights_are_refused_before_any_download() -> None:
    pytest.importorskip("timm")
    assert "has no checkpoint and no weights called 'none'; timm has" in refusal(
        load, "timm:resnet18", "none"
    )


# The command line --------------------------------------------------------------------------------


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_list_and_show() -> None:
    table = run("list", "--model", "resnet110")
    assert "resnet110-cifar10-akamaster" in table
    assert "6.32 % (632 of 10,000 cifar10 test, by the publisher)  can be fetched" in table
    entries = json.loads(run("list", "--json"))
    assert {"card", "place", "path", "here"} == set(entries[0])
    shown = run("show", "resnet110-cifar10-akamaster")
    assert parse_card(shown).sha256 == "1d1ed7c2"
    assert json.loads(run("show", "resnet110-cifar10-akamaster", "--json"))["place"] == "public"


def test_add_verify_and_remove(file: Path) -> None:
    done = run(
        "add", str(file), "--name", "mine", "--model", "resnet20", "--dataset", "digits",
        "--normalize", "digits", "--limit", "40",
    )  # fmt: skip
    assert done.startswith("mine: ")
    assert "of 40 digits test" in done
    assert "mine" in run("list")
    assert run("verify", "mine").split() == ["mine", "user", "good"]
    path = Path(run("fetch", "mine").strip())
    path.write_bytes(path.read_bytes()[:-3])
    assert "is damaged or another file" in run("verify", "mine", code=1)
    assert json.loads(run("verify", "mine", "--json", code=1))[0]["state"] == "bad"
    assert len(json.loads(run("remove", "mine", "--json"))) == 2


def test_errors_reach_the_command_line() -> None:
    with pytest.raises(CheckpointError, match="no checkpoint or file is called 'nothing'"):
        run("show", "nothing")


def test_the_documentation_runs(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[1] / "docs" / "checkpoints.md").read_text()
    start = "$ ensembles checkpoints "
    lines = [line.removeprefix(start) for line in text.splitlines() if line.startswith(start)]
    assert len(lines) > 5
    for line in lines:
        run(*line.split())
    code = "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    exec(compile(code, "docs/checkpoints.md", "exec"), {})
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "269722"
    assert shown[1].startswith("mine.safetensors ")
