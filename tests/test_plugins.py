"""Members from outside: a package in another folder, and the examples of docs/extending.md."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from calls import called
from networks import build, images_for
from torch import Tensor, nn

import ensembles
from ensembles.analyses import ANALYSES
from ensembles.decomposition import Decomposition, decompose
from ensembles.errors import LesionError, UsageError
from ensembles.lesions import KINDS, Scale, parse_lesion
from ensembles.metrics import METRICS
from ensembles.open_set import PluginWarning
from ensembles.studies import EXECUTORS
from ensembles.tasks import TASKS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "extending.md"
SETS = (KINDS, METRICS, TASKS, ANALYSES, EXECUTORS)
Subject = tuple[Decomposition, list[tuple[Tensor, Tensor]]]
Points = dict[str, dict[str, str]]


def look_anew() -> None:
    """Let every open set look for installed packages again."""
    importlib.invalidate_caches()
    for one in SETS:
        one.refresh()
    for command in ("lesion", "analyze", "export", "study"):  # whose options were made on import
        if sys.modules.pop(f"ensembles.cli.{command}", None) is not None:
            delattr(ensembles.cli, command)


def installed(folder: Path, package: str, points: Points) -> Iterator[None]:
    """Have a package that lies in a folder, as if pip had put it there, for a while."""
    info = folder / f"{package}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
    lines = [
        line
        for group, members in points.items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in members.items()), "")
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    sys.path.insert(0, str(folder))
    look_anew()
    yield
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    look_anew()


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package of tests/plugin, in a folder of its own."""
    folder = tmp_path_factory.mktemp("packages")
    shutil.copytree(HERE / "plugin" / "visitor", folder / "visitor")
    project = tomllib.loads((HERE / "plugin" / "pyproject.toml").read_text())["project"]
    for _ in installed(folder, "visitor", project["entry-points"]):
        yield folder


@pytest.fixture(scope="module")
def subject() -> Subject:
    model = build([("post", 6, 1), ("pre", 6, 1), ("post", 8, 2), ("post", 8, 1)], seed=1)
    images, labels = images_for(model, 10)
    return decompose(model, images), [(images[:6], labels[:6]), (images[6:], labels[6:])]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], weights: str, opened_once: None
) -> Callable[..., tuple[str, str]]:
    """Run the command line on a small network; returns standard output and standard error."""
    small = ["--model", "resnet20", "--checkpoint", weights, "--dataset", "digits", "--limit", "8"]

    def run(*arguments: object, small: list[str] = small) -> tuple[str, str]:
        code, out, err = called(capsys, *arguments, *small)
        assert code == 0, err
        return out, err

    return run


# What is there, and what is broken


@pytest.mark.usefixtures("visitor")
def test_the_sets_list_what_a_package_brings() -> None:
    assert "dim" in ensembles.list_lesions() and "drift" in ensembles.list_metrics()
    assert "spread" in ensembles.list_analyses()


@pytest.mark.usefixtures("visitor")
def test_what_cannot_be_imported_is_named_and_the_rest_goes_on() -> None:
    look_anew()
    with pytest.warns(PluginWarning, match="lesion 'broken' of the package visitor cannot be im"):
        assert "dim" in KINDS.members()
    with pytest.raises(LesionError, match=r"'broken' .* \(ModuleNotFoundError: No module named"):
        parse_lesion("broken", "3")
    with pytest.raises(UsageError, match="analysis 'broken' of the package visitor"):
        ANALYSES.get("broken")


# In the library


@pytest.mark.usefixtures("visitor")
def test_a_lesion_of_a_package_is_one_like_the_others(subject: Subject) -> None:
    lesion = parse_lesion("dim", "2 4 d0.25")
    assert lesion.text == "2 4 d0.25" and parse_lesion("dim", lesion.text) == lesion
    scaled = ensembles.lesion(*subject, [Scale((2, 4), 0.75)])
    for engine in ("prefix", "level", "direct"):
        dimmed = ensembles.lesion(*subject, [lesion], engine=engine)
        assert list(dimmed["lesion"]) == ["none", "dim"]
        assert list(dimmed["correct"]) == list(scaled["correct"])
        assert np.allclose(dimmed["loss"], scaled["loss"], atol=1e-6)
    chain = lesion.then(Scale((1,), 0.5))
    assert len(ensembles.lesion(*subject, [chain, lesion.recalibrated(1, 4)], reference=subject[1]))
    sweep = ensembles.Choice("dim", settings={"amount": 0.1})
    assert len(ensembles.analyze(*subject, "lesion", choice=sweep)) == 5
    network = subject[0].lesioned(lesion)
    assert isinstance(network, nn.Module)


@pytest.mark.usefixtures("visitor")
def test_a_metric_of_a_package_is_one_like_the_others(subject: Subject) -> None:
    net, data = subject
    frame = ensembles.lesion(net, data, metrics=("drift",))
    assert frame["drift"][0] == 0 and (frame["drift"][1:] > 0).all() and (frame["drift"] < 1).all()
    with torch.no_grad():
        images = torch.cat([images for images, _ in data])
        intact = net(images).softmax(-1)
        changed = net.lesioned(ensembles.lesions.Delete((2,)))(images).softmax(-1)
    wanted = float((changed - intact).abs().sum(-1).mean() / 2)
    assert frame["drift"][2] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.usefixtures("visitor")
def test_an_analysis_of_a_package_is_one_like_the_others(subject: Subject, tmp_path: Path) -> None:
    table = ensembles.analyze(*subject, "spread", relative=True)
    assert list(table.columns) == ["block", "name", "spread"] and len(table) == 4
    assert table.attrs["options"] == {"relative": True, "power": 2.0}
    assert table.attrs["provenance"]["precision"] == "fp32"
    ensembles.write_frame(table, tmp_path / "spread.csv")
    again = ensembles.read_frame(tmp_path / "spread.csv")
    figure = ensembles.plot_analysis(again, tmp_path / "spread.png")
    assert figure.axes[0].get_ylabel() == "Spread"
    with pytest.raises(UsageError, match=r"spread has no option 'powr'; .* did you mean power"):
        ensembles.analyze(*subject, "spread", powr=1)


# In a store, a figure, a report


@pytest.mark.usefixtures("visitor")
def test_a_store_keeps_all_of_it(subject: Subject, tmp_path: Path) -> None:
    store, lesions = tmp_path / "a.db", [parse_lesion("dim", "2 d0.25")]
    first = ensembles.lesion(*subject, lesions, metrics=("drift",), store=store)
    again = ensembles.lesion(*subject, lesions, metrics=("drift",), store=store)
    assert (first.attrs["store"]["measured"], again.attrs["store"]["measured"]) == (2, 0)
    pd.testing.assert_frame_equal(first, again)
    known = [ensembles.analyze(*subject, "spread", store=store) for _ in range(2)]
    assert [table.attrs["store"]["known"] for table in known] == [False, True]
    with ensembles.Store(store, mode="r") as db:
        (context,) = db.contexts()
        assert {one.kind for one in db.outcomes(context)} == {"none", "dim"}
        assert len(db.analyses(context, "spread")) == 1


@pytest.mark.usefixtures("visitor")
def test_lesions_and_metrics_of_a_package_are_drawn(subject: Subject) -> None:
    sweep = ensembles.Choice("dim")
    frame = ensembles.analyze(*subject, "lesion", choice=sweep, metrics=("drift",))
    assert "Dimmed block" in ensembles.plot_lesions(frame).axes[0].get_xlabel()
    figure = ensembles.plot_lesions(frame, metric="drift")
    assert "Total variation distance" in figure.axes[0].get_ylabel()


# On the command line, in a study


@pytest.mark.usefixtures("visitor")
def test_the_command_line_offers_it(call: Callable[..., tuple[str, str]]) -> None:
    look_anew()
    out, err = call("lesion", "--list", small=[])
    assert re.search(r"^dim +a share of the branch is taken away$", out, re.MULTILINE)
    assert err.count("\n") == 1
    assert err.startswith("ensembles: warning: lesion 'broken' of the package visitor cannot be")
    out, _ = call("analyze", "--list", small=[])
    assert re.search(r"^spread +how far apart rows are after each block$", out, re.MULTILINE)
    out, _ = call("lesion", "--help", small=[])
    assert "--amount" in out and "For dim: share of the branch" in out
    out, _ = call("analyze", "spread", "--help", small=[])
    assert "--relative" in out and "--power" in out and "Source: nobody." in out


@pytest.mark.usefixtures("visitor")
def test_the_command_line_runs_it(
    call: Callable[..., tuple[str, str]], weights: str, tmp_path: Path
) -> None:
    out, _ = call(
        "lesion", "--kind", "dim", "--amount", 0.25, "--blocks", "2,5", "--metrics", "top1,drift",
        "--plot", tmp_path / "dim.svg", "--json",
    )  # fmt: skip
    rows = json.loads(out)["rows"]
    assert [row["blocks"] for row in rows] == ["", "2 d0.25", "5 d0.25"]
    assert rows[1]["drift"] > 0 and "Dimmed block" in (tmp_path / "dim.svg").read_text()
    (tmp_path / "plan.csv").write_text(
        "lesion,blocks\ndim,2 d0.25\nthen,dim 2 d0.5 then delete 3\n"
    )
    out, _ = call("lesion", "--plan", tmp_path / "plan.csv", "--json")
    assert [row["lesion"] for row in json.loads(out)["rows"]] == ["none", "dim", "then"]
    table = tmp_path / "spread.csv"
    _, err = call("analyze", "spread", "--power", 1, "--out", table, "--plot", tmp_path / "a.png")
    assert "rows are furthest apart after block" in err and (tmp_path / "a.png").exists()
    assert ensembles.read_frame(table).attrs["options"]["power"] == 1
    call("export", "--kind", "dim", "--blocks", "2", "--amount", 0.1, "--out", tmp_path / "x.pt2",
         small=["--model", "resnet20", "--checkpoint", weights])  # fmt: skip


STUDY = """
[[models]]
name = "resnet20"
checkpoint = "{weights}"

[[data]]
name = "digits"
limit = 8

[[lesions]]
kind = "dim"
amount = 0.25
metrics = ["top1", "loss", "drift"]

[[analyses]]
name = "spread"
relative = true
"""


@pytest.mark.usefixtures("visitor")
def test_a_study_measures_it_and_the_report_shows_it(
    call: Callable[..., tuple[str, str]], weights: str, tmp_path: Path
) -> None:
    file, page = tmp_path / "study.toml", tmp_path / "page.html"
    file.write_text(STUDY.format(weights=weights))
    _, err = call("study", "run", file, small=[])
    assert "dim" in err and "spread" in err
    out, _ = call("study", "status", file, small=[])
    assert [line.split()[-1] for line in out.splitlines()[1:]] == ["done", "done"]
    call("study", "export", file, "--out", tmp_path / "all.csv", small=[])
    lesions = ensembles.read_frame(tmp_path / "all-lesions.csv")
    assert set(lesions["lesion"]) == {"none", "dim"} and lesions["drift"].notna().all()
    assert len(ensembles.read_frame(tmp_path / "all-spread.csv")) == 9
    call("report", tmp_path / "study.db", "--out", page, small=[])
    text = page.read_text()
    for shown in ("2 d0.25", "Dimmed block", "Total variation distance", "furthest apart"):
        assert shown in text


@pytest.mark.slow
def test_pip_installs_it_for_a_program_of_its_own(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(HERE / "plugin", source)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--target", str(target), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    code = f"""
import sys
sys.path.insert(0, {str(target)!r})
from ensembles.cli import main
main(["lesion", "--list"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "\ndim " in done.stdout
    assert "lesion 'broken' of the package ensembles-visitor cannot be imported" in done.stderr


@pytest.mark.usefixtures("visitor")
def test_a_setting_cannot_take_the_name_of_an_option() -> None:
    from visitor.dim import Dim

    from ensembles.cli.export import export
    from ensembles.cli.lesion import lesion
    from ensembles.cli.settings import OPTIONS_OF_COMMANDS, kind_options, settings_of

    @dataclass(frozen=True)
    class Taken(Dim):
        kind: ClassVar[str] = "taken"
        device: str = ensembles.lesions.setting("Where.", "here")

    KINDS.register("taken", Taken)
    try:
        with pytest.warns(PluginWarning, match="setting 'device' of the lesion 'taken' has no opt"):
            kind_options()(lambda: None)
        with pytest.warns(PluginWarning):
            given = {"amount": 0.5, "device": "cpu"}
            assert settings_of("taken", given) == {"amount": 0.5} and given == {"device": "cpu"}
    finally:
        KINDS.forget("taken")
    own = {"amount", *(one.name for kind in KINDS.members().values() for one in kind.settings())}
    for command in (lesion, export):
        named = {parameter.name for parameter in command.params}
        assert named - own <= OPTIONS_OF_COMMANDS


# The document


def modules() -> dict[str, str]:
    """The modules that docs/extending.md shows, by their file."""
    blocks = re.findall(r"```python\n# (stranger/\w+\.py)\n(.*?)```", DOCUMENT.read_text(), re.S)
    return dict(blocks)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package that docs/extending.md shows."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "stranger").mkdir()
    (folder / "stranger" / "__init__.py").touch()
    for file, source in modules().items():
        (folder / file).write_text(source)
    (said,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.S)
    yield from installed(folder, "stranger", tomllib.loads(said)["project"]["entry-points"])


@pytest.mark.parametrize("file", list(modules()))
def test_each_example_is_short(file: str) -> None:
    assert len(modules()[file].strip().splitlines()) <= 30


def test_the_document_shows_one_of_each() -> None:
    assert len(modules()) == 5
    (said,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.S)
    groups = tomllib.loads(said)["project"]["entry-points"]
    assert set(groups) == {one.group for one in SETS}


@pytest.mark.usefixtures("stranger")
def test_the_examples_of_lesion_metric_and_analysis(subject: Subject) -> None:
    frame = ensembles.lesion(*subject, [parse_lesion("negate", "2")], metrics=("surprise",))
    scaled = ensembles.lesion(*subject, [Scale((2,), -1.0)])
    assert np.allclose(frame["loss"], scaled["loss"], atol=1e-6)
    assert ((frame["surprise"] > 0) & (frame["surprise"] < 1)).all()
    assert ((1 - frame["surprise"]).map(np.log) + frame["loss"] >= -1e-9).all()  # Jensen
    table = ensembles.analyze(*subject, "norms", power=1.0)
    assert (table["norm"] > 0).all() and len(table) == 4


class Pair(nn.Module):
    """Two answers of three classes from one residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = nn.Linear(5, 5), nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.relu(self.block(x))
        return self.head(x).unflatten(-1, (2, 3))


@pytest.mark.usefixtures("stranger")
def test_the_example_of_a_task() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, inputs = Pair().eval(), torch.randn(6, 5)
        targets = torch.randint(3, (6, 2))
    net = decompose(model, inputs)
    frame = ensembles.lesion(net, [(inputs, targets)], task="several", metrics=("loss", "kl"))
    assert list(frame["total"]) == [12, 12] and frame.attrs["observation"] == "answer"
    with torch.no_grad():
        right = model(inputs).argmax(-1) == targets
    assert frame["correct"][0] == int(right.sum())


@pytest.mark.usefixtures("stranger")
def test_the_example_of_an_executor(
    call: Callable[..., tuple[str, str]], weights: str, tmp_path: Path
) -> None:
    assert "backwards" in ensembles.list_executors()
    file = tmp_path / "study.toml"
    norms = '[[analyses]]\nname = "norms"\n[[lesions]]\nkind = "negate"\nblocks = "2"\n'
    head = STUDY.format(weights=weights).partition("[[lesions]]")[0]
    file.write_text(head + norms)
    _, err = call("study", "run", file, "--on", "backwards", small=[])
    lines = [line for line in err.splitlines() if "resnet20 on digits" in line]
    assert len(lines) == 2
    out, _ = call("study", "status", file, small=[])
    assert [line.split()[-1] for line in out.splitlines()[1:]] == ["done", "done"]
