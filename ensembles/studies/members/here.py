"""The executor of this process: one unit after the other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from ensembles.progress import Progress, bar
from ensembles.studies.executors import Executor, Setting, Tell
from ensembles.studies.units import Networks, prepare_unit, run_unit

if TYPE_CHECKING:
    from ensembles.store import Store
    from ensembles.studies.study import Unit

__all__ = ["MEMBER", "Here"]


class Here(Executor):
    """Measures in this process.

    First every network is opened once on its data, so that a wrong name or a missing file is told
    at the start and it is known how much there is to do.
    """

    name = "here"
    summary = "this process, one unit after the other"

    def run(
        self,
        units: Sequence[Unit],
        store: Store,
        setting: Setting,
        progress: bool | Progress | None,
        tell: Tell,
    ) -> None:
        """See the base class."""
        from ensembles.engine import choose_device  # noqa: PLC0415 (imports torch)

        choose_device(setting.device)
        networks = Networks()
        wanted = _missing(units, store, setting, networks, tell)
        total, done = sum(wanted.values()), 0
        with bar(f"study {setting.study.name}", " lesions", shown=progress) as report:
            report(0, total)
            for place, (unit, number) in enumerate(wanted.items(), start=1):
                found = run_unit(
                    unit,
                    store,
                    study=setting.study,
                    device=setting.device,
                    batch_size=setting.batch_size,
                    check=setting.check,
                    progress=_part(report, done, number, total),
                    networks=networks,
                )
                where = "" if found.failed else f"{place}/{len(wanted)} "
                tell(f"{where}{unit.title}: {found.summary}")
                done += number
                report(done, total)


def _missing(
    units: Sequence[Unit], store: Store, setting: Setting, networks: Networks, tell: Tell
) -> dict[Unit, int]:
    """The units of which something is missing, and how much of it no unit before them lacks."""
    wanted: dict[Unit, int] = {}
    counted: set[Hashable] = set()
    said = dict[str, None]()
    lesions = complete = 0
    for unit in units:
        found = prepare_unit(
            unit, store, study=setting.study, device=setting.device, networks=networks
        )
        said |= dict.fromkeys(found.said)
        if found.failed:
            tell(f"{unit.title}: failed: {found.failed}")
        elif not found.missing:
            complete += 1
        else:
            new = set(found.missing) - counted
            counted |= new
            wanted[unit] = len(new)
            lesions += len(new) if found.by_lesion else 0
    tell(
        f"study {setting.study.name}: {len(units)} units, {complete} of them complete; {lesions} "
        f"lesions and {sum(wanted.values()) - lesions} other analyses to measure"
    )
    for line in said:
        tell(line)
    return wanted


def _part(report: Progress, done: int, number: int, total: int) -> Progress:
    """The progress of a unit as that of the whole, of which some is done before it."""
    return lambda now, of: report(done + (number * now // of if of else 0), total)


MEMBER = Here()
