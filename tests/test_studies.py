"""What a study says: its file, its values, its units."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensembles.analyses.path_options import PathOptions
from ensembles.errors import UsageError
from ensembles.lesions import Choice
from ensembles.studies import (
    Analysis,
    Images,
    Network,
    Study,
    Sweep,
    parse_study,
    read_study,
)

WHOLE = """
name = "figure-3"
description = "Deletions."
seeds = [0, 1]
precision = "bf16"
predictions = true

[[models]]
name = "resnet20"
checkpoint = "weights.th"

[[models]]
name = "resnet20"
label = "other"
block_kinds = "residual"
data = ["few"]

[[data]]
name = "digits"

[[data]]
name = "images"
label = "few"
split = "val"
limit = 10
normalize = "cifar10"
image_size = 32

[[lesions]]
kind = "delete"

[[lesions]]
count = "2-3"
trials = 5
blocks = [3, "5-7"]
skip_transitions = true
precision = "fp32"
models = ["other"]

[[lesions]]
kind = "reorder"
seed = 7
data = ["digits"]

[[paths]]
method = "all"
images = 4
signs = 2

[[paths]]
direction = "logits"
precision = "fp64"
"""
SAME = Study(
    name="figure-3",
    description="Deletions.",
    seeds=(0, 1),
    precision="bf16",
    predictions=True,
    models=(
        Network("resnet20", "weights.th"),
        Network("resnet20", label="other", block_kinds="residual", data=("few",)),
    ),
    data=(
        Images("digits"),
        Images("images", "few", "val", limit=10, normalize="cifar10", image_size=32),
    ),
    lesions=(
        Sweep(),
        Sweep(
            Choice("delete", "2-3", 5, blocks="3,5-7", skip_transitions=True),
            precision="fp32",
            models=("other",),
        ),
        Sweep(Choice("reorder"), seeds=(7,), data=("digits",)),
    ),
    paths=(
        Analysis(PathOptions("all", images=4, signs=2)),
        Analysis(PathOptions(direction="logits", precision="fp64")),
    ),
)
START = '[[models]]\nname = "vgg15"\n'


def test_a_file_and_a_value_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(WHOLE, encoding="utf-8")
    study = read_study(path)
    assert study == SAME
    assert study.folder == tmp_path
    assert [unit.digest for unit in study.units()] == [unit.digest for unit in SAME.units()]


def test_units() -> None:
    assert [f"{unit.title} ({unit.precision})" for unit in SAME.units()] == [
        "resnet20 on digits: delete 1 (bf16)",
        "resnet20 on digits: reorder 1, seed 7 (bf16)",
        "resnet20 on digits: paths of gradient all, seed 0 (fp32)",
        "resnet20 on digits: paths of gradient all, seed 1 (fp32)",
        "resnet20 on digits: paths of logits (fp64)",
        "resnet20 on few: delete 1 (bf16)",
        "resnet20 on few: paths of gradient all, seed 0 (fp32)",
        "resnet20 on few: paths of gradient all, seed 1 (fp32)",
        "resnet20 on few: paths of logits (fp64)",
        "other on few: delete 1 (bf16)",
        "other on few: delete 2-3 x 5 of 3,5-7 without transitions, seed 0 (fp32)",
        "other on few: delete 2-3 x 5 of 3,5-7 without transitions, seed 1 (fp32)",
        "other on few: paths of gradient all, seed 0 (fp32)",
        "other on few: paths of gradient all, seed 1 (fp32)",
        "other on few: paths of logits (fp64)",
    ]
    seeds = {unit.choice.seed for unit in SAME.units() if unit.task is SAME.lesions[1]}
    assert seeds == {0, 1}
    assert SAME.units()[3].options == PathOptions("all", images=4, signs=2, seed=1)


def test_labels_determine_nothing() -> None:
    def digest(**about: object) -> str:
        network = Network("resnet20", **about)  # type: ignore[arg-type]
        return Study("x", (network,), lesions=(Sweep(),)).units()[0].digest

    assert digest() == digest(label="mine")
    assert len({digest(), digest(checkpoint="a"), digest(block_kinds="plain")}) == 3


@pytest.mark.parametrize(
    ("table", "random"),
    [
        ('[[lesions]]\nkind = "delete"', False),
        ("[[lesions]]\ncount = 1\ntrials = 3", True),
        ("[[lesions]]\ncount = 2", True),
        ('[[lesions]]\nkind = "reorder"', True),
        ('[[lesions]]\nkind = "duplicate"', False),
        ('[[lesions]]\nplan = "p.csv"', False),
        ("[[paths]]", True),
        ("[[paths]]\nsigns = 0", False),
        ('[[paths]]\nmethod = "sampled"\nsigns = 0', True),
        ('[[paths]]\ndirection = "logits"', False),
    ],
)
def test_what_is_drawn_is_drawn_for_each_seed(table: str, random: bool) -> None:
    study = parse_study(f"seeds = [3, 4]\n{START}{table}\n")
    assert [unit.seed for unit in study.units()] == ([3, 4] if random else [None])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "s.toml: is no TOML: Invalid value"),
        ('precison = "fp32"', "s.toml: unknown key 'precison'; expected name, models, .*did you"),
        ('name = "x"', r"s.toml: no table \[\[models\]\]; expected at least one"),
        ("models = 3", r"s.toml, models: expected tables, written \[\[models\]\]"),
        ("[[models]]", r"s.toml, \[\[models\]\]: no name; expected one of `ensembles models`"),
        ("[[models]]\nname = 3", r"s.toml, \[\[models\]\], name: 3; expected a text"),
        (START, "s.toml: the study measures nothing; expected lesions or paths"),
        (
            START + "[[lesions]]\n[[lesions]]\ntrails = 3",
            r"s.toml, \[\[lesions\]\] number 2: unknown key 'trails'; .*did you mean trials\?",
        ),
        (
            START + '[[lesions]]\ntrials = "3"',
            r"s.toml, \[\[lesions\]\], trials: '3'; expected a whole number",
        ),
        (
            START + "[[lesions]]\nskip_transitions = 1",
            r"s.toml, \[\[lesions\]\], skip_transitions: 1; expected true or false",
        ),
        (
            START + "[[lesions]]\nblocks = true",
            r"s.toml, \[\[lesions\]\], blocks: True; expected a list of blocks, such as \[3, 17\]",
        ),
        (
            START + '[[lesions]]\nkind = "delet"',
            r"s.toml, \[\[lesions\]\]: kind 'delet' is unknown: .*did you mean delete\?",
        ),
        (START + "[[lesions]]\ncount = 0", r"s.toml, \[\[lesions\]\]: count 0: expected 1 or"),
        (
            START + "[[lesions]]\nseed = 1\nseeds = [1]",
            r"s.toml, \[\[lesions\]\]: both seed and seeds; expected one of them",
        ),
        (
            START + '[[lesions]]\nprecision = "fp31"',
            "s.toml: precision 'fp31'; expected fp32 or tf32 or bf16; did you mean",
        ),
        (
            START + '[[lesions]]\nmodels = ["vgg16"]',
            r"s.toml: models 'vgg16' is unknown; expected vgg15; did you mean vgg15\?",
        ),
        (
            START + '[[paths]]\ndirection = "logit"',
            r"s.toml, \[\[paths\]\]: direction 'logit'; .*did you mean logits\?",
        ),
        (
            START + '[data]\nname = "digits"\nlimit = 0\n[[lesions]]',
            r"s.toml, \[\[data\]\]: limit 0: expected 1 or more",
        ),
        (START + "[[paths]]\nimages = 0", r"s.toml, \[\[paths\]\]: 0 images; expected at least 1"),
        (START + "[[paths]]\nmemory = 3", r"s.toml, \[\[paths\]\]: unknown key 'memory'"),
        (
            START + START + "[[lesions]]",
            "s.toml: models: vgg15 is there twice; give each a label of its own",
        ),
        (
            START + "[[lesions]]\n[[lesions]]",
            "s.toml: vgg15 on its data: delete 1: is there twice; expected each measurement once",
        ),
        (
            "seeds = [1, 1]\n" + START + "[[lesions]]",
            "s.toml: seeds: 1 is there twice",
        ),
        ("seeds = []\n" + START + "[[lesions]]", "s.toml: the study has no seed; expected at"),
        ("seeds = 1\n" + START + "[[lesions]]", "s.toml, seeds: 1; expected a list of whole numb"),
    ],
)
def test_errors_name_file_table_and_key(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^study {message}") as error:
        parse_study(text, origin="s.toml")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^study .*none\.toml: cannot be read \(No such file"):
        read_study(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"^study .*bytes\.toml: cannot be read \(it is no text"):
        read_study(tmp_path / "bytes.toml")


@given(st.text(max_size=60))
def test_no_text_makes_anything_else_than_a_refusal(text: str) -> None:
    with pytest.raises(UsageError, match=r"^study <text>"):
        parse_study(text)


def test_files_are_looked_for_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "weights.th").touch()
    study = Study("x", (Network("vgg15"),), lesions=(Sweep(),), folder=tmp_path)
    assert study.place("weights.th") == str(tmp_path / "weights.th")
    assert study.place("digits") == "digits"
    assert study.place(None) is None


def test_what_is_kept_of_a_study_is_json() -> None:
    told = json.loads(json.dumps(SAME.described()))
    assert told["models"][0] == {"name": "resnet20", "checkpoint": "weights.th"}
    assert told["lesions"][1] == {
        "count": "2-3", "trials": 5, "blocks": "3,5-7", "skip_transitions": True,
        "precision": "fp32", "models": ["other"],
    }  # fmt: skip
    assert told["paths"][1] == {"direction": "logits", "precision": "fp64"}


def test_a_study_is_read_and_looked_at_without_torch() -> None:
    text = '[[models]]\nname = "vgg15"\n[[lesions]]'
    code = f"import sys, ensembles.studies as s; s.parse_study({text!r})"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
