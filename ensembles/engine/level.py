"""Lesions level by level: those that meet the same step are one batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ensembles.cuda_graphs import Replayed, recorder_for
from ensembles.decomposition import Decomposition
from ensembles.decomposition.inputs import Inputs, mapped, named_tensors, rows_of, take
from ensembles.engine.level_plan import START, LevelPlan, plan_levels
from ensembles.engine.materials import Materials
from ensembles.engine.memory import empty_cache, free_bytes, is_oom
from ensembles.engine.pages import Piece, Rows, fixed_rows, rows_on, run_on_pages, whole_tensor
from ensembles.engine.parts import numbered
from ensembles.engine.row_form import HEAD, STEM, RowForm, seen_on
from ensembles.engine.shared import SharedPrefixes
from ensembles.lesions.steps import Key, Program

__all__ = ["LevelOrder"]

_PAGES = {"cpu": (1 << 20, 1 << 7), "cuda": (1 << 25, 1 << 14), "mps": (1 << 23, 1 << 11)}
"""On each kind of device: the numbers that a page holds at most, and its rows."""

_MOST_RECORDED = 8
"""Slices of lesions, beyond which recording them would take longer than running them."""

_SHARE = 0.3
"""Of the free memory, for states that go into a call or come out of it."""


class LevelOrder(SharedPrefixes):
    """Runs programs level by level, in slices of lesions that fit the memory.

    A step takes a page of rows at a time: states of several lesions, one after the other. Where a
    kernel might follow the number of rows (on a GPU, and in bfloat16) every page of a step has the
    same number of rows, which depends on the network and on the kind of device alone; so a row's
    numbers depend neither on the other lesions nor on the batch.

    Args:
        net: The network; left as it is.
        programs: What each lesion runs.
        materials: What its steps need beside the network.
        device: Where to run.
        dtype: The type of weights and activations.
        intact: Given to all engines; here its parts are always made, to see how it keeps rows.

    Attributes:
        padded: Whether all pages of a step have the same number of rows.
        recorder: What records slices; None where nothing does.
        width: How many lesions a slice has at most; None until the first batch.
        fault: Why the lesions run depth first all the same; "" where they do not.
    """

    name = "level"
    side_by_side = False

    def __init__(
        self,
        net: Decomposition,
        programs: Sequence[Program],
        materials: Materials,
        device: torch.device,
        dtype: torch.dtype,
        *,
        intact: bool = False,
    ) -> None:
        super().__init__(net, programs, materials, device, dtype, intact=True)
        self.device = device
        self.padded = device.type != "cpu" or dtype == torch.bfloat16
        self.width: int | None = None
        self.fault = ""
        self._order = [route.lesion for route in self.routes]
        self._every = {STEM: self.stem, **self.parts, HEAD: self.head}
        self._numbered = {
            key: found for key, part in self._every.items() if (found := numbered([part]))
        }
        self._form: RowForm | None = None
        self._shrunk = 1
        self.recorder = recorder_for(device)
        self._unrecorded = ""
        self._replayed: dict[tuple[int, int], Replayed] = {}
        self._largest = self._batches = 0
        if self._numbered:
            self._unrecord("noise is drawn for each batch")
        self._plans: dict[tuple[int, int], LevelPlan] = {}

    @property
    def told(self) -> dict[str, str]:
        """How lesions were run, for the provenance."""
        found = super().told
        if self.fault:
            return found | {"engine": f"{SharedPrefixes.name} ({self.fault})"}
        if self.recorder is None and not self._unrecorded:
            return found
        why = self._why_not_recorded
        return found | {"graphs": f"no ({why})" if why else "yes"}

    def run(self, inputs: Inputs) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of each lesion and its output, from inputs of this device and type."""
        numbers = self._row_numbers(inputs)
        form = self._seen(inputs, numbers)
        if form.fault:
            yield from super().run(inputs)
            return
        start = 0
        while start < len(self._order):
            width = self._width(rows_of(inputs), form)
            stop = min(start + width, len(self._order))
            try:
                yield from self._slice(start, stop, inputs, form, numbers)
            except (RuntimeError, MemoryError) as error:
                if not is_oom(error):
                    raise
                self._shrink(stop - start)
                if stop - start == 1:
                    raise
            else:
                start = stop
                continue
            empty_cache(self.device)

    def intact(self, inputs: Inputs) -> Tensor:
        """The output of the intact network."""
        numbers = self._row_numbers(inputs)
        form = self._seen(inputs, numbers)
        if form.fault:
            return super().intact(inputs)
        ((_, output),) = self._outputs(plan_levels([self.whole], [0]), inputs, form, numbers)
        return output

    def answer_later(self) -> None:
        """Nothing: the head takes a page of rows at a time, as all other parts."""

    def _plan(self, start: int, stop: int) -> LevelPlan:
        """The plan of some lesions, in the order of the tree."""
        if (start, stop) not in self._plans:
            lesions = self._order[start:stop]
            sequences = [self.sequences[one] for one in lesions]
            self._plans[start, stop] = plan_levels(sequences, lesions)
        return self._plans[start, stop]

    def _slice(
        self, start: int, stop: int, inputs: Inputs, form: RowForm, numbers: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """Run a slice of lesions on a batch, from its second time on by a recording.

        What a recording gives is written over by its next run.
        """
        plan, rows = self._plan(start, stop), len(numbers)
        self._largest = max(self._largest, rows)
        if self.recorder is None or 2 * rows <= self._largest:
            yield from self._outputs(plan, inputs, form, numbers)
            return
        full = mapped(lambda tensor: fixed_rows(tensor, self._largest), inputs)
        if (start, stop) not in self._replayed:
            places = torch.arange(self._largest)

            def run(*tensors: Tensor) -> list[Tensor]:
                given = iter(tensors)
                again = mapped(lambda _: next(given), full)
                return [output for _, output in self._outputs(plan, again, form, places)]

            self._replayed[start, stop] = Replayed(run, self.recorder, warm_up=1)
        self._batches += start == 0
        outputs = self._replayed[start, stop](*named_tensors(full).values())
        lesions = (lesion for some in plan.lesions for lesion in some)
        for lesion, output in zip(lesions, outputs, strict=True):
            yield lesion, output[:rows]

    @property
    def _why_not_recorded(self) -> str:
        """Why slices are not replayed; "" where they are."""
        refused = [one.refused for one in self._replayed.values() if one.refused is not None]
        if self.recorder is None or refused:
            return self._unrecorded or refused[0]
        return "" if self._batches > 1 else "no batch came after the first"

    def _unrecord(self, why: str) -> None:
        """Go on without recordings."""
        if self.recorder is not None:
            self.recorder, self._unrecorded = None, why
            self._replayed.clear()

    def _outputs(
        self, plan: LevelPlan, inputs: Inputs, form: RowForm, numbers: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """Run a slice of lesions on a batch."""
        alive = {START: self._begun_on_pages(inputs, form, numbers)}
        for call in plan.calls:
            states = [alive[one] for one in call.parents]
            made = self._on_pages(call.key, states, form, numbers)
            alive.update(zip(call.nodes, made, strict=True))
            for node in call.done:
                del alive[node]
            del states, made
        together = max(self._page_rows(HEAD, form) // len(numbers), 1)
        for first in range(0, len(plan.ends), together):
            some = slice(first, first + together)
            states = [alive[node] for node in plan.ends[some]]
            outputs = self._on_pages(HEAD, states, form, numbers)
            for rows, lesions in zip(outputs, plan.lesions[some], strict=True):
                output = whole_tensor(rows)
                for lesion in lesions:
                    yield lesion, output

    def _on_pages(
        self, key: Key, states: Sequence[Rows], form: RowForm, numbers: Tensor
    ) -> list[Rows]:
        """Run a step on states."""
        part = self._every[key]

        def run(page: Any, owners: list[tuple[int, int, int]]) -> Any:
            given = [numbers[first:last] for _, first, last in owners]
            self._number(key, given, rows_on(page))
            return part(page)

        size = self._page_rows(key, form)
        return run_on_pages(run, states, size, form.constant, padded=self.padded)

    def _begun_on_pages(self, inputs: Inputs, form: RowForm, numbers: Tensor) -> Rows:
        """The state after the stem."""
        size, found = self._page_rows(STEM, form), Rows()
        for first in range(0, len(numbers), size):
            part = slice(first, min(first + size, len(numbers)))
            some = take(inputs, part)
            if self.padded:
                some = mapped(lambda tensor: fixed_rows(tensor, size), some)
            self._number(STEM, [numbers[part]], rows_of(some))
            found.append(Piece(self._begun(some), 0, part.stop - first))
        return found

    def _row_numbers(self, inputs: Inputs) -> Tensor:
        """The number of each row in the data."""
        modules = next(iter(self._numbered.values()), [None])
        known = getattr(modules[0], "rows", None)
        rows = rows_of(inputs)
        return known if known is not None and len(known) == rows else torch.arange(rows)

    def _number(self, key: Key, given: Sequence[Tensor], count: int) -> None:
        """Tell the modules of a part the numbers of some rows; padding has that of the first."""
        for module in self._numbered.get(key, ()):
            rows = torch.cat(list(given))
            module.rows = torch.cat([rows, rows[:1].expand(count - len(rows))])

    def _seen(self, inputs: Inputs, numbers: Tensor) -> RowForm:
        """How the network keeps rows, seen on the first batch."""
        if self._form is None:
            self._form = seen_on(lambda some, places: self._states(some, numbers[places]), inputs)
            self.fault = self._form.fault
            for key in self._numbered:
                self._number(key, [numbers], len(numbers))
        return self._form

    def _states(self, inputs: Inputs, numbers: Tensor) -> dict[Key, Any]:
        """The states of the intact network after each step."""
        for key in self._numbered:
            self._number(key, [numbers], len(numbers))
        found: dict[Key, Any] = {STEM: self._begun(inputs)}
        value = found[STEM]
        for _, key in self.whole:
            found[key] = value = self.parts[key](value)
        found[HEAD] = self.head(value)
        return found

    def _page_rows(self, key: Key, form: RowForm) -> int:
        """How many rows of a step are run at a time: a power of two."""
        assert form.elements is not None
        numbers = form.elements[self.usual.get(key, key)]
        held, rows = _PAGES.get(self.device.type, _PAGES["cpu"])
        most = max(min(held // numbers, rows) // self._shrunk, 1)
        return 1 << (most.bit_length() - 1)

    def _width(self, rows: int, form: RowForm) -> int:
        """How many lesions a slice has, so that the states of all fit the memory."""
        if self.width is None:
            lesion = rows * (form.state_bytes / _SHARE + form.output_bytes)
            most = max(int(free_bytes(self.device) / lesion), 1)
            slices = max(math.ceil(len(self._order) / most), 1)
            self.width = math.ceil(len(self._order) / slices)
            if slices > _MOST_RECORDED:
                self._unrecord(f"{slices} slices")
        return max(self.width, 1)

    def _shrink(self, width: int) -> None:
        """Take fewer lesions at a time or, where it was one, fewer rows."""
        if width == 1:
            self._shrunk *= 2
        self.width = max(width // 2, 1)
        self._plans.clear()
        self._unrecord("memory ran out")
