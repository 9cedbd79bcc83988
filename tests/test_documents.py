"""Every command and program of the README and the docs runs, on small data."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import ensembles
from ensembles.analyses import ANALYSES
from ensembles.cli import main
from ensembles.lesions import KINDS
from ensembles.metrics import METRICS
from ensembles.studies import EXECUTORS, read_study, run
from ensembles.tasks import TASKS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = re.compile(
    r"imagenet\b(?!/)|smollm2|hf:|docstrings|--device cuda|\bfetch\b|cifar100?\b|path/to"
)
SHORT = {
    "analyze": ["--limit", "8"],
    "capacity": [
        *("--sizes", "240", "--seeds", "1", "--shares", "8", "--epochs", "1", "--limit", "64"),
    ],
    "family": [
        *("--parameters", "2k", "--seeds", "1", "--epochs", "1", "--limit", "32"),
        *("--depths", "8", "--families", "preresnet"),
    ],
    "lesion": ["--limit", "4"],
    "paths": ["--limit", "2", "--signs", "2", "--samples", "8"],
    "reproduce": ["--figure", "3", "--limit", "4"],
    "train": ["--limit", "64", "--epochs", "1"],
}
"""Options of commands that make them run in seconds."""

SHORTER = {
    r"\blimit=\d+": "limit=8",
    r'split="test"\)': 'split="test", limit=8)',
    r"\bimages=\d\d+\)": "images=2, signs=2)",
    r"\bepochs=\d+": "epochs=1, limit=64",
}
"""What is written instead in programs."""


@pytest.fixture(autouse=True)
def members_leave_again():
    """What a program of the pages registers in an open set is there for that program alone."""
    sets = (KINDS, METRICS, TASKS, ANALYSES, EXECUTORS)
    before = [dict(one._registered) for one in sets]
    yield
    for one, known in zip(sets, before, strict=True):
        one._registered = known


def examples(page):
    """The code of a page: indented or fenced blocks."""
    block, fenced = [], False
    for line in [*page.read_text(encoding="utf-8").splitlines(), "end"]:
        if line.startswith("```"):
            fenced = not fenced
        elif fenced:
            block.append(line)
            continue
        elif line.startswith("    ") or (not line.strip() and block):
            block.append(line[4:])
            continue
        if block:
            yield "\n".join(block).rstrip()
            block = []


def commands():
    """Each call of the command line in the pages."""
    seen = set()
    for page in PAGES:
        for block in examples(page):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("#")[0].split("&&"):
                    command = " ".join(part.split())
                    if not command.startswith("$ ensembles checkpoints "):  # run in their order
                        command = command.removeprefix("$ ")
                    if command.startswith("ensembles ") and command not in seen:
                        seen.add(command)
                        yield pytest.param(command, id=f"{page.name}: {command}")


def programs():
    """Each program in the pages."""
    for page in PAGES:
        for i, block in enumerate(examples(page)):
            if re.match(r"(import|from) ", block):
                yield pytest.param(block, id=f"{page.name} {i}")


@pytest.fixture(scope="session")
def desk(tmp_path_factory):
    """A folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("desk")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ensembles.create_model("resnet20")
        weights = model.state_dict()
        torch.save({"state_dict": weights}, folder / "weights.th")
        averaged = {name: one * 0.99 for name, one in weights.items()}
        torch.save({"state_dict": weights, "state_dict_ema": averaged}, folder / "last.pth.tar")
        modules = list(dict.fromkeys(name.rpartition(".")[0] for name in weights))
        named = {
            f"part{modules.index(name.rpartition('.')[0]):03}.{name.rpartition('.')[2]}": one
            for name, one in weights.items()
        }
        torch.save(named, folder / "other_names.pth")
        wide = ensembles.create_model("cifar_resnet18").state_dict()
        torch.save(
            {"net": {f"module.{name}": one for name, one in wide.items()}}, folder / "ckpt.pth"
        )
        noise = torch.randint(0, 256, (20, 32, 32, 3), dtype=torch.uint8)
    for i, picture in enumerate(noise):
        place = folder / "images" / f"class{i % 10}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.numpy()).save(place / f"{i}.png")
    own = next(one for one in examples(ROOT / "docs" / "checkpoints.md") if "# net.py" in one)
    (folder / "net.py").write_text(own)
    for name in ("published.csv", "lesions.csv"):
        (folder / name).write_text("lesion,blocks\ndelete,3 17\nreorder,5-6\n")
    write_study(folder)
    return folder


def write_study(folder):
    """The study of docs/studies.md, made to run in seconds, and stores of its results."""
    page = examples(ROOT / "docs" / "studies.md")
    text = next(block for block in page if block.startswith("description"))
    small = 'name = "resnet20"\ncheckpoint = "weights.th"\nlabel = "resnet110"'
    for whole, short in (('name = "resnet110"', small), ("limit = 100", "limit = 4"),
                         ("trials = 5", "trials = 1"), ("images = 8", "images = 2"),
                         ("signs = 8", "signs = 2")):  # fmt: skip
        assert whole in text
        text = text.replace(whole, short)
    (folder / "figures.toml").write_text(text, encoding="utf-8")
    run(read_study(folder / "figures.toml"), folder / "figures.db")
    for name in ("machine1.db", "machine2.db"):
        shutil.copy(folder / "figures.db", folder / name)


@pytest.fixture
def at_desk(desk, tmp_path, monkeypatch, opened_once):
    """Stand in a fresh copy of that folder, with a store and a cache of one's own."""
    shutil.copytree(desk, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENSEMBLES_CHECKPOINTS", str(tmp_path / "store"))


def shortened(command):
    """The arguments of a command, made to run in seconds."""
    arguments = shlex.split(command)[1:]
    extra = [] if "--list" in arguments else SHORT.get(arguments[0], [])
    for option, value in zip(extra[::2], extra[1::2], strict=True):
        if option in arguments:
            arguments[arguments.index(option) + 1] = value
        else:
            arguments += [option, value]
    few = {"--trials": "1", "--recalibrated": "1"}
    if "coupling" in arguments:
        few |= {"--rows": "1", "--positions": "1"}
    if "recalibration" in arguments:
        arguments += ["--size", "16"]
    if "--recalibrated" in arguments:
        few["--blocks"] = "1-2"
    for option in few.keys() & set(arguments):
        arguments[arguments.index(option) + 1] = few[option]
    return arguments


@pytest.mark.slow
@pytest.mark.parametrize("command", list(commands()))
def test_each_command_runs(command, at_desk, unplaced, capsys):
    if ELSEWHERE.search(command.replace("--normalize imagenet", "")):
        pytest.skip("needs the network, a GPU or data that is not here")
    with pytest.raises(SystemExit) as stop:
        main(shortened(command))
    assert stop.value.code == 0, capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("program", list(programs()))
def test_each_program_runs(program, at_desk, unplaced):
    if ELSEWHERE.search(program):
        pytest.skip("needs the network, a GPU or data that is not here")
    for whole, short in SHORTER.items():
        program = re.sub(whole, short, program)
    exec(compile(program, "<document>", "exec"), {})


ALL_PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "notebooks").glob("*.md")),
]


def prose(page):
    """A page without its code."""
    text = re.sub(r"^(```|:::).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "``", text)


def anchors(page):
    """What a link may name in a page: its headings, as GitHub and the site write them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#{1,4} +(.+?) *$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", one) for one in titles]
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in plain}


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        place = page.parent / file if file else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.name)
def test_links_to_elsewhere_are_well_formed(page):
    text = prose(page)
    assert text.count("](http") == len(re.findall(r"\]\(https://[\w-]+(\.[\w-]+)+[^)\s]*\)", text))
    for number in re.findall(r"arxiv\.org/\w+/([^)\s>]+)", text):
        assert re.fullmatch(r"\d{4}\.\d{4,5}", number)
    for number in re.findall(r"\b(?:arXiv|arxiv)[: ]+(\d[\w.]*\d)", text):
        assert re.fullmatch(r"\d{4}\.\d{4,5}", number), number
