"""Cards of checkpoints: read back, understood, and refused where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoint_values import refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from ensembles.cards import Card, Measured, card_text, parse_card, read_card, write_card
from ensembles.errors import OutputError

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
