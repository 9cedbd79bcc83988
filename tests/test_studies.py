"""What a study says: its file, its values, its units."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensembles.analyses.path_options import PathOptions
from ensembles.errors import UsageError
from ensembles.lesions import Choice, Delete, Draw, Scale
from ensembles.studies import (
    Data,
    Measurement,
    Network,
    RunTable,
    Study,
    Sweep,
    parse_study,
    read_study,
    study_of,
    unit_of,
    written_unit,
)

GOLDEN = Path(__file__).parent / "data" / "study-version-1-digests.json"

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
        Data("digits"),
        Data("images", "few", "val", limit=10, normalize="cifar10", image_size=32),
    ),
    lesions=(
        Sweep(),
        Sweep(
            Choice("delete", range(2, 4), 5, blocks=(3, 5, 6, 7), skip_transitions=True),
            precision="fp32",
            models=("other",),
        ),
        Sweep(Choice("reorder"), seeds=(7,), data=("digits",)),
    ),
    analyses=(
        Measurement("paths", PathOptions("all", images=4, signs=2)),
        Measurement("paths", PathOptions(direction="logits", precision="fp64")),
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
    drawn = [unit for unit in SAME.units() if unit.analysis is SAME.lesions[1]]
    assert [unit.seeded.choice.seed for unit in drawn] == [0, 1]
    assert SAME.units()[3].seeded.chosen == PathOptions("all", images=4, signs=2, seed=1)


@pytest.mark.parametrize("known", json.loads(GOLDEN.read_text(encoding="utf-8")))
def test_what_version_1_could_say_has_the_digest_of_version_1(known: dict[str, Any]) -> None:
    """Also where a file writes the same blocks in another way than they are written here."""
    units = parse_study(known["file"], name="x").units()
    assert [unit.digests[-1] for unit in units] == list(known["units"].values())


def test_blocks_determine_a_unit_and_not_how_they_are_written() -> None:
    def unit(blocks: str) -> Any:
        return parse_study(f"{START}[[lesions]]\nblocks = {blocks}\n").units()[0]

    same = [unit(text) for text in ('"3,5-7"', '[3, "5-7"]', '"5-7 3"', "[3, 5, 6, 7]")]
    assert len({one.digest for one in same}) == 1
    assert (
        same[0].digest
        == Study("x", (Network("vgg15"),), lesions=(Sweep(Choice(blocks=(3, 5, 6, 7))),))
        .units()[0]
        .digest
    )
    assert [len(one.digests) for one in same] == [1, 1, 2, 2]
    assert unit('"3,5-8"').digest != same[0].digest


def test_what_came_after_version_1_is_part_of_the_digest() -> None:
    tables = [
        "[[lesions]]",
        '[[lesions]]\nmetrics = ["top1", "kl"]',
        "[[lesions]]\nrecalibrated = 4",
        '[[lesions]]\ntask = "classification"',
        '[[lesions]]\nkind = "scale"\nfactor = 0.5',
        '[[lesions]]\nkind = "scale"\nfactor = 0.25',
        '[[analyses]]\nname = "influence"',
        "[data]\nrows = [3]\n[[lesions]]",
    ]
    found = {parse_study(START + table).units()[0].digest for table in tables}
    assert len(found) == len(tables)
    network = START.replace("vgg15", 'vgg15"\ninitial = "w.pt')
    assert parse_study(network + "[[lesions]]").units()[0].digest not in found


def test_every_analysis_is_a_table_of_the_file() -> None:
    text = START + '[[analyses]]\nname = "influence"\nprecision = "tf32"\n'
    text += '[[analyses]]\nname = "paths"\ndirection = "logits"\n'
    text += '[[analyses]]\nname = "lesion"\nkind = "scale"\nfactor = 0.5\nmetrics = ["kl"]\n'
    study = parse_study(text)
    assert study.lesions == (Sweep(Choice("scale", settings={"factor": 0.5}), metrics=("kl",)),)
    assert study.analyses == (
        Measurement("influence", precision="tf32"),
        Measurement("paths", PathOptions(direction="logits")),
    )
    other = parse_study(text.replace('[[analyses]]\nname = "paths"', "[[paths]]"))
    assert set(other.analyses) == set(study.analyses)
    titles = [unit.title.partition(": ")[2] for unit in study.units()]
    assert titles == ["scale factor 0.5 1 (kl)", "influence", "paths of logits"]
    assert [unit.precision for unit in study.units()] == ["fp32", "tf32", "fp32"]


def test_where_a_study_runs_determines_nothing() -> None:
    text = START + "[[lesions]]\n"
    there = parse_study(text + '[run]\non = "elsewhere"\nworkers = 3\n')
    assert there.run == RunTable("elsewhere", {"workers": 3})
    assert there == parse_study(text)
    assert there.described() == parse_study(text).described()


def test_a_program_says_what_no_file_can() -> None:
    plan = (Delete((3,)), Scale((4,), 0.5).drawn(2, 7))
    study = Study("x", (Network("vgg15"),), lesions=(Sweep(Choice(plan=plan)),))
    [unit] = study.units()
    assert unit.title == "vgg15 on its data: plan of 2"
    again = unit_of(json.loads(json.dumps(written_unit(unit))))
    assert again == unit and again.digest == unit.digest
    assert [one.draw for one in again.analysis.choice.plan] == [None, Draw(2, 7)]


def test_values_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^options of 'influence' are PathOptions; expected Inf"):
        Measurement("influence", PathOptions())
    with pytest.raises(
        UsageError, match=r"^analysis 'lesion' measures lesions; expected them as a"
    ):
        Measurement("lesion")
    with pytest.raises(UsageError, match=r"^precision of 'paths': expected it among the options"):
        Measurement("paths", precision="fp32")
    with pytest.raises(UsageError, match=r"^a seed among the settings of lesions; expected it as"):
        Sweep(Choice("noise", settings={"strength": 0.1, "seed": 3}))
    with pytest.raises(UsageError, match=r"^row -1: expected 0 or more"):
        Data(rows=(-1,))


TEXTS = st.text("ab.", min_size=1, max_size=3)
BLOCKS = st.sets(st.integers(1, 30), min_size=1, max_size=5).map(sorted).map(tuple)
CHOICES = st.builds(
    Choice,
    kind=st.sampled_from(["delete", "reorder", "duplicate"]),
    counts=st.none() | st.integers(1, 9) | st.builds(range, st.integers(1, 3), st.integers(5, 9)),
    trials=st.none() | st.integers(1, 9),
    blocks=st.none() | BLOCKS,
    skip_transitions=st.booleans(),
    recalibrated=st.none() | st.integers(1, 4),
) | st.builds(lambda f: Choice("scale", settings={"factor": f}), st.sampled_from([0.0, 0.5, 2.0]))
SWEEPS = st.builds(
    Sweep,
    choice=CHOICES,
    metrics=st.sampled_from([("top1", "loss"), ("kl",), ("top1", "agreement")]),
    seeds=st.sampled_from([(), (3,), (0, 4)]),
    precision=st.sampled_from([None, "bf16"]),
)
OPTIONS = st.builds(
    PathOptions,
    method=st.sampled_from(["exact", "sampled", "all"]),
    signs=st.sampled_from([0, 2, 16]),
    images=st.none() | st.integers(1, 9),
    precision=st.sampled_from(["fp32", "fp64"]),
)
STUDIES = st.builds(
    Study,
    name=TEXTS,
    models=st.builds(Network, TEXTS, st.none() | TEXTS, label=TEXTS, initial=st.none() | TEXTS).map(
        lambda one: (one,)
    ),
    data=st.builds(
        Data,
        st.none() | TEXTS,
        limit=st.none() | st.integers(1, 99),
        rows=st.sampled_from([(), (3,)]),
    ).map(lambda one: (one,)),
    lesions=SWEEPS.map(lambda one: (one,)),
    analyses=OPTIONS.map(lambda one: (Measurement("paths", one), Measurement("influence"))),
    seeds=st.sampled_from([(0,), (1, 2)]),
    predictions=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(STUDIES)
def test_a_study_and_its_units_are_read_back_from_json_and_pickles(study: Study) -> None:
    again = study_of(json.loads(json.dumps(study.described())))
    assert again == study
    for unit, twin in zip(study.units(), again.units(), strict=True):
        assert twin == unit and twin.digest == unit.digest
        alone = unit_of(json.loads(json.dumps(written_unit(unit))))
        assert alone == unit and alone.digests == unit.digests
        assert pickle.loads(pickle.dumps(unit)) == unit


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
        ("name = ", "s.toml is no TOML: Invalid value"),
        ('precison = "fp32"', "s.toml: unknown key 'precison'; expected name, seeds, .*did you"),
        ('name = "x"', r"s.toml: no table \[\[models\]\]; expected at least one"),
        ("models = 3", r"s.toml, models: expected tables, written \[\[models\]\]"),
        ("[[models]]", r"s.toml, \[\[models\]\]: no name; expected one of `ensembles models`"),
        ("[[models]]\nname = 3", r"s.toml, \[\[models\]\], name: 3; expected a text"),
        (START, "s.toml: the study measures nothing; expected lesions, paths or analyses"),
        (
            START + "[[lesions]]\n[[lesions]]\ntrails = 3",
            r"s.toml, \[\[lesions\]\] number 2: unknown key 'trails'; .*did you mean trials",
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
            r"s.toml, \[\[lesions\]\]: lesion 'delet' is unknown; .*did you mean delete",
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
        (START + "[[paths]]\nsings = 3", r"s.toml, \[\[paths\]\]: unknown key 'sings'.*did you"),
        (START + "[[analyses]]", r"s.toml, \[\[analyses\]\]: no name of an analysis; expected les"),
        (
            START + '[[analyses]]\nname = "influense"',
            r"s.toml, \[\[analyses\]\]: analysis 'influense' is unknown; .*mean influence\?",
        ),
        (
            START + '[[analyses]]\nname = "paths"\nsigns = "3"',
            r"s.toml, \[\[analyses\]\], signs: '3'; expected a whole number",
        ),
        (
            START + '[[lesions]]\nkind = "scale"\nfactors = 0.5',
            r"s.toml, \[\[lesions\]\]: unknown key 'factors'; .*did you mean factor\?",
        ),
        (
            START + '[[lesions]]\nkind = "scale"\nfactor = "half"',
            r"s.toml, \[\[lesions\]\], factor: 'half'; expected a number",
        ),
        (
            START + '[[lesions]]\nmetrics = ["top1", "klm"]',
            r"s.toml, \[\[lesions\]\]: metric 'klm' is unknown",
        ),
        (
            START + '[[lesions]]\nblocks = "3-x"',
            r"s.toml, \[\[lesions\]\]: blocks '3-x'",
        ),
        (
            START + '[[lesions]]\nplan = "p.csv"\nblocks = "3"',
            r"s.toml, \[\[lesions\]\]: plan p.csv: a plan names all lesions, found others",
        ),
        (
            START + "[[lesions]]\nplan = [3]",
            r"s.toml, \[\[lesions\]\], plan: \[3\]; expected the name",
        ),
        (
            START + '[[lesions]]\nplan = [["delete", "x"]]',
            r"s.toml, \[\[lesions\]\]: blocks 'x': delete expects block numbers",
        ),
        (START + "[[lesions]]\n[[run]]", r"s.toml, run: expected a table, written \[run\]"),
        (START + "[[lesions]]\n[run]\non = 3", r"s.toml, \[run\], on: 3; expected a text"),
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
    assert told["analyses"][1] == {"name": "paths", "direction": "logits", "precision": "fp64"}
    assert study_of(told) == SAME


def test_a_study_is_read_and_looked_at_without_torch() -> None:
    text = '[[models]]\nname = "vgg15"\n[[lesions]]'
    code = f"import sys, ensembles.studies as s; s.parse_study({text!r})"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
