"""Units are measured wherever an executor has them measured, and come out the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from study_tables import assert_same_tables
from untrained import save_untrained

from ensembles.analyses.base import Options, option
from ensembles.analyses.path_options import PathOptions
from ensembles.errors import EvaluationError, StoreError, UsageError
from ensembles.lesions import Choice
from ensembles.progress import Progress
from ensembles.store import Store
from ensembles.studies import (
    EXECUTORS,
    Data,
    Executor,
    Measurement,
    Network,
    Networks,
    RunTable,
    Setting,
    Study,
    Sweep,
    Unit,
    run,
    run_unit,
    status,
    written_unit,
)
from ensembles.studies.members.slurm import SlurmOptions, _job_name
from ensembles.studies.workers import slurm_queue

IN_A_PROCESS = """
import json, sys
from pathlib import Path
from ensembles.studies import run_unit, study_of, unit_of

if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    study = study_of(told["study"], folder=Path(told["folder"]))
    for unit in told["units"]:
        result = run_unit(unit_of(unit), told["store"], study=study, check=False)
        print(json.dumps([result.measured, result.summary, result.failed]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights of an untrained network."""
    return save_untrained(tmp_path_factory.mktemp("study") / "a.pt").parent


@pytest.fixture
def study(folder: Path, opened_once: None) -> Study:
    """A network with a few lesions and two analyses."""
    return Study(
        name="small",
        models=(Network("resnet20", "a.pt"),),
        data=(Data("digits", limit=6),),
        lesions=(Sweep(Choice(blocks=(1, 2))), Sweep(Choice(counts=4, trials=2), seeds=(3,))),
        analyses=(Measurement("paths", PathOptions(signs=0, images=2)), Measurement("influence")),
        folder=folder,
    )


def test_a_unit_from_its_json_makes_the_same_rows_in_a_process_of_its_own(
    study: Study, folder: Path, tmp_path: Path
) -> None:
    run(study, tmp_path / "here.db")
    there = tmp_path / "there.db"
    told = {
        "study": study.described(),
        "folder": str(folder),
        "units": [written_unit(unit) for unit in study.units()],
        "store": str(there),
    }
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, json.dumps(told)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [json.loads(line)[2] for line in done.stdout.splitlines()] == [""] * 4
    assert (status(study, there)["state"] == "done").all()
    names = assert_same_tables(study, tmp_path / "here.db", there)
    assert names == ["lesions", "gradient", "influence"]


def test_a_unit_is_measured_once_however_often_it_is_run(study: Study, tmp_path: Path) -> None:
    lines: list[str] = []
    networks = Networks()
    for unit in study.units():
        first, second = (
            run_unit(unit, tmp_path / "x.db", study=study, tell=lines.append, networks=networks)
            for _ in range(2)
        )
        assert (first.failed, second.failed) == ("", "")
        assert first.measured > 0 and second.measured == 0
    assert lines[:2] == [
        "resnet20 on digits: delete 1 of 1,2: 3 lesions, 3 of them measured now",
        "resnet20 on digits: delete 1 of 1,2: 3 lesions, 0 of them measured now",
    ]


def test_a_unit_that_fails_says_why_and_leaves_it_in_the_store(
    study: Study, tmp_path: Path
) -> None:
    bad = Study("bad", (Network("resnet20", "none.pt"),), lesions=(Sweep(),))
    [unit] = bad.units()
    found = run_unit(unit, tmp_path / "x.db", study=bad)
    assert "none.pt" in found.failed and found.summary == f"failed: {found.failed}"
    assert status(bad, tmp_path / "x.db")["reason"].tolist() == [found.failed]
    with pytest.raises(UsageError, match="device 'gpu'"):
        run_unit(unit, tmp_path / "x.db", study=bad, device="gpu")
    with pytest.raises(StoreError, match="no/such"):
        run_unit(study.units()[0], "/no/such/x.db", study=study)


def test_units_of_one_network_share_it(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ensembles.checkpoints

    opened: list[str] = []
    original = ensembles.checkpoints.open_subject

    def counted(name: str, *arguments: Any, **options: Any) -> Any:
        opened.append(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(ensembles.checkpoints, "open_subject", counted)
    run(study, tmp_path / "x.db")
    assert opened == ["resnet20"]
    for unit in study.units()[:2]:
        run_unit(unit, tmp_path / "x.db", study=study)
    assert len(opened) == 3


@dataclass(frozen=True)
class Places(Options):
    """Options of the executor below."""

    workers: int = option("How many.", 1)


class Backwards(Executor):
    """Runs units in this process, the last one first."""

    name = "last-first"
    summary = "this process, the last unit first"
    options = Places

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, str]] = []

    def run(
        self,
        units: Sequence[Unit],
        store: Store,
        setting: Setting,
        progress: bool | Progress | None,
        tell: Callable[[str], None],
    ) -> None:
        """See the base class."""
        for unit in reversed(units):
            self.seen.append((unit.title, setting.options.workers, setting.device))
            run_unit(unit, store, study=setting.study, device=setting.device, tell=tell)


@pytest.fixture
def backwards() -> Iterator[Backwards]:
    """An executor that a program adds."""
    executor = Backwards()
    EXECUTORS.register("last-first", executor)
    yield executor
    EXECUTORS.forget("last-first")


def test_a_program_adds_an_executor(study: Study, tmp_path: Path, backwards: Backwards) -> None:
    lines: list[str] = []
    found = run(study, tmp_path / "x.db", "last-first", device="cpu", tell=lines.append, workers=2)
    assert (found["state"] == "done").all()
    titles = [unit.title for unit in study.units()]
    assert backwards.seen == [(title, 2, "cpu") for title in reversed(titles)]
    assert [line.partition(": ")[0] for line in lines] == ["resnet20 on digits"] * 4


def test_the_file_says_where_a_study_runs_unless_the_call_does(
    study: Study, tmp_path: Path, backwards: Backwards
) -> None:
    short = replace(
        study, lesions=study.lesions[:1], analyses=(), run=RunTable("last-first", {"workers": 3})
    )
    run(short, tmp_path / "x.db")
    run(short, tmp_path / "x.db", workers=4)
    assert [workers for _, workers, _ in backwards.seen] == [3, 4]
    run(short, tmp_path / "x.db", "here")
    assert len(backwards.seen) == 2


def test_unknown_executors_and_options_are_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^executor 'heer' is unknown; .*did you mean here\?$"):
        run(study, tmp_path / "x.db", "heer")
    with pytest.raises(UsageError, match=r"^executor 'here' has no option 'workers'; it takes non"):
        run(study, tmp_path / "x.db", workers=2)
    assert not (tmp_path / "x.db").exists()


def test_the_rest_goes_on_where_a_unit_shares_lesions_with_one_that_fails(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sweeps hold the intact network; the first is stopped before it measures it."""
    from ensembles.analyses.members import lesion as module

    measure, calls = module.lesion, []

    def once(*arguments: Any, **options: Any) -> pd.DataFrame:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("out of luck")
        return measure(*arguments, **options)

    monkeypatch.setattr(module, "lesion", once)
    short = replace(study, analyses=())
    found = run(short, tmp_path / "x.db")
    assert found["state"].tolist() == ["failed", "done"]
    assert found["reason"][0] == "RuntimeError: out of luck"
    assert (run(short, tmp_path / "x.db")["state"] == "done").all()


@pytest.mark.parametrize("text", ["a\nrm -rf x", "a b", "$(x)", "`x`", "a;b", "", "a'b", "\x1b"])
def test_no_text_of_a_study_becomes_a_line_of_a_script_of_slurm(text: str) -> None:
    assert re.fullmatch(r"ensembles-[A-Za-z0-9._-]*", _job_name(text))
    for options in (SlurmOptions(partition=text), SlurmOptions(account=text)):
        with pytest.raises(UsageError, match="expected names of letters, digits and"):
            options.check()
    SlurmOptions(partition="gpu,gpu-long", account="lab_1").check()


@pytest.mark.parametrize(
    ("said", "most"),
    [
        ("MaxArraySize            = 1001\n", 1001),  # numbered from 0
        ("MaxArraySize = 7\nSchedulerParameters = bf_max=3,max_array_tasks=5,defer\n", 5),
        ("MaxArraySize = 1\nSchedulerParameters = (null)\n", 1),
        ("Configuration data as of today\n", 1000),
    ],
)
def test_arrays_are_as_large_as_slurm_says(
    said: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.CompletedProcess([], 0, stdout=said)
    monkeypatch.setattr(slurm_queue.subprocess, "run", lambda *_, **__: done)
    assert slurm_queue.largest_array() == most


def test_an_array_that_is_refused_takes_those_before_it_along(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensembles.studies.members import slurm as module

    submitted: list[Any] = []
    cancelled: list[str] = []

    class Refuses:
        def map_array(self, worker: object, names: list[str]) -> list[Any]:
            if submitted:
                raise RuntimeError("sbatch: error: QOSMaxSubmitJobPerUserLimit\n")
            submitted.extend(SimpleNamespace(job_id=f"12_{k}") for k, _ in enumerate(names))
            return submitted

    monkeypatch.setattr(module, "largest_array", lambda: 2)
    monkeypatch.setattr(module, "_executor", lambda *_: Refuses())
    monkeypatch.setattr(module, "cancel", cancelled.extend)
    with pytest.raises(EvaluationError, match=r"^slurm: the job was not taken: sbatch: error: QOS"):
        run(study, tmp_path / "x.db", "slurm", workers=3)
    assert cancelled == ["12_0", "12_1"]
