"""A study on a real Ray cluster of three nodes on this machine, one of which is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from study_tables import assert_same_tables
from untrained import save_untrained

from ensembles.errors import UsageError
from ensembles.lesions import Choice
from ensembles.studies import Data, Network, Study, Sweep, run, status
from ensembles.studies.workers.work_folder import work_folder

pytestmark = pytest.mark.cluster


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Three nodes; the last two can be lost."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    found.nodes = [found.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A network whose lesions take some seconds, and one that is not there."""
    save_untrained(tmp_path / "a.pt")
    return Study(
        name="on ray",
        models=(Network("resnet20", "a.pt"), Network("resnet20", "none.pt", "lost")),
        data=(Data("digits", limit=16),),
        lesions=(Sweep(), Sweep(Choice(counts=3, trials=20))),
        folder=tmp_path,
    )


def test_a_node_is_lost_and_the_export_is_that_of_one_process(
    cluster: Any, study: Study, tmp_path: Path
) -> None:
    store, lines = tmp_path / "ray.db", list[str]()
    folder, done, removed = work_folder(study, store), threading.Event(), list[bool]()

    def remove() -> None:
        while not done.wait(0.2):
            if len(folder.results()) >= 2:
                cluster.remove_node(cluster.nodes[0], allow_graceful=False)
                removed.append(True)
                return

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        run(
            study, store, "ray", device="cpu", check=False, tell=lines.append, workers=2,
            minutes=0.001, lease=3.0,
        )  # fmt: skip
    finally:
        done.set()
        thread.join()
    assert removed and "2 actors on a Ray cluster of 3 nodes" in lines
    run(study, tmp_path / "here.db", check=False)
    assert_same_tables(study, tmp_path / "here.db", store)
    found = status(study, store)
    assert list(found["state"]) == ["done", "done", "failed", "failed"]
    assert found["reason"].iloc[2:].str.contains("none.pt").all()


def test_what_it_refuses(cluster: Any, study: Study, tmp_path: Path) -> None:
    for options, device, message in [
        ({"gpus": 1.0}, "auto", "gpus 1; the Ray cluster has none"),
        ({"gpus": -1.0}, "auto", "gpus -1.0; expected 0 to 64"),
        ({}, "mps", "device 'mps'; expected auto, cuda or cpu"),
    ]:
        with pytest.raises(UsageError) as error:
            run(study, tmp_path / "x.db", "ray", device=device, **options)
        assert str(error.value).startswith(message)
