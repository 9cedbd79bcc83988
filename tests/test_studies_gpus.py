"""The pool of one machine gives each worker one GPU, before anything of CUDA is loaded."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ensembles.errors import UsageError
from ensembles.studies import Data, Network, Setting, Study, Sweep
from ensembles.studies.members.local import Local, LocalOptions
from ensembles.studies.workers.work_folder import WorkFolder

TELLS = """
import json, os, sys
from pathlib import Path
place = os.environ.get("TELLS")
if place:
    told = {"sees": os.environ.get("CUDA_VISIBLE_DEVICES"), "torch": "torch" in sys.modules,
            "arguments": sys.orig_argv[1:], "threads": os.environ.get("OMP_NUM_THREADS")}
    Path(place, f"{os.getpid()}.part").write_text(json.dumps(told))
    os.rename(Path(place, f"{os.getpid()}.part"), Path(place, f"{os.getpid()}.json"))
    os._exit(0)
"""


Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with some cards, of which some are visible."""

    def made(cards: int, visible: str | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return made


def setting(device: str, **options: int) -> Setting:
    study = Study("cards", (Network("resnet20"),), (Data("digits"),), (Sweep(),))
    return Setting(study, device, options=LocalOptions(**options))


def told(how: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What the processes of a pool see as they start, in the order of their names."""
    (tmp_path / "told").mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(TELLS)
    monkeypatch.setenv("TELLS", str(tmp_path / "told"))
    paths = [str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    folder = WorkFolder(tmp_path / "work")
    folder.prepare()
    crew = Local().crew(folder, "r", 1, how, lambda _: None)
    end = time.monotonic() + 60
    while crew.tend(lambda _: None) and time.monotonic() < end:
        time.sleep(0.02)
    found = [json.loads(path.read_text()) for path in (tmp_path / "told").glob("*.json")]
    assert len(found) == Local().hands(1, how)
    return sorted(found, key=lambda one: one["arguments"][4])


@pytest.mark.parametrize(
    ("there", "how", "device", "sees"),
    [
        ((2,), setting("auto"), "cuda", ["0", "1"]),
        ((2,), setting("cuda", gpus=1), "cuda", ["0"]),
        ((2,), setting("auto", workers=3), "cuda", ["0", "1", "0"]),
        ((2,), setting("cuda", workers=1), "cuda", ["0"]),
        ((2, "3, GPU-8e"), setting("auto"), "cuda", ["3", "GPU-8e"]),
        ((3, "7,5,6"), setting("cuda", gpus=2, workers=4), "cuda", ["7", "5", "7", "5"]),
        ((3, "7,5,6"), setting("cuda:2"), "cuda", ["6"]),
        ((2,), setting("cuda:1", workers=2), "cuda", ["1", "1"]),
        ((2, "0,1"), setting("auto", gpus=0, workers=2), "cpu", ["0,1", "0,1"]),
        ((2,), setting("cpu", workers=2), "cpu", [None, None]),
        ((0,), setting("auto", workers=1), "cpu", [None]),
    ],
)
def test_each_worker_sees_its_card_before_torch_is_there(
    there: tuple, how: Setting, device: str, sees: list,
    *, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    machine(*there)
    found = told(how, tmp_path, monkeypatch)
    assert [one["sees"] for one in found] == sees
    assert not any(one["torch"] for one in found)
    at = {one["arguments"][one["arguments"].index("--device") + 1] for one in found}
    assert at == {device}


@pytest.mark.parametrize(
    ("cards", "how", "line"),
    [
        (2, setting("auto", gpus=3), "gpus 3; this machine has 2"),
        (0, setting("auto", gpus=1), "gpus 1; this machine has 0"),
        (0, setting("cuda"), "device 'cuda'; this machine has 0 GPUs that torch can use"),
        (2, setting("cuda", gpus=0), "gpus 0 and device 'cuda'; leave one of them out"),
        (2, setting("cuda:2"), "device 'cuda:2'; this machine has 2 GPUs that torch can use"),
        (2, setting("cuda:1", gpus=1), "gpus 1 and device 'cuda:1'; leave one of them out"),
        (2, setting("cpu", gpus=1), "gpus 1 and device 'cpu'; leave one of them out"),
    ],
)
def test_cards_that_are_not_there_are_refused(
    cards: int, how: Setting, line: str, machine: Machine
) -> None:
    machine(cards)
    with pytest.raises(UsageError) as error:
        Local().hands(1, how)
    assert str(error.value) == line
