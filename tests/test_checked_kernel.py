"""First answers of a kernel are held against plain arithmetic; what is wrong goes part by part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import build, images_for
from torch import Tensor, nn

from ensembles.cuda_graphs import Reruns
from ensembles.decomposition import decompose
from ensembles.engine import checked_kernel, evaluate, shared
from ensembles.engine import level as level_module
from ensembles.engine.checked_kernel import CheckedKernel
from ensembles.engine.fused_convolutions import FusedConvolution
from ensembles.lesions import intact, single_deletions

TYPES = [torch.float32, torch.bfloat16]


class Rounded:
    """Computes in float32 and rounds once, as a kernel does; then it may spoil its answer."""

    def __init__(self, spoil: Callable[[Tensor], object] = lambda made: None) -> None:
        self.spoil = spoil
        self.runs = 0

    def fits(self, conv: nn.Conv2d) -> bool:
        return True

    def run(self, conv: nn.Conv2d, x: Tensor, other: Tensor | None, *, relu: bool) -> Tensor | None:
        self.runs += 1
        bias = None if conv.bias is None else conv.bias.float()
        made = F.conv2d(x.float(), conv.weight.float(), bias, conv.stride, conv.padding)
        made = made if other is None else made + other.float()
        made = (made.relu() if relu else made).to(x.dtype)
        self.spoil(made)
        return made


def layer_of(
    kernel: Any, dtype: torch.dtype = torch.float32, relu: bool = True
) -> tuple[FusedConvolution, CheckedKernel, Tensor]:
    """A fused convolution, and images for it."""
    torch.manual_seed(0)
    checked = CheckedKernel(kernel)
    conv = nn.Conv2d(16, 16, 3, padding=1).to(dtype)
    return FusedConvolution(conv, checked, relu=relu), checked, torch.randn(9, 16, 5, 5).to(dtype)


def by_parts(layer: FusedConvolution, x: Tensor) -> Tensor:
    made: Tensor = layer.conv(x) + x
    return made.relu() if layer.relu else made


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_right_is_used(dtype: torch.dtype) -> None:
    kernel = Rounded()
    layer, checked, x = layer_of(kernel, dtype)
    assert checked.told == "part by part"
    for times in range(1, 4):
        made = layer(x, x)
        torch.testing.assert_close(made, by_parts(layer, x), rtol=2e-2, atol=4e-2)
        assert kernel.runs == times
    layer(x[:4], x[:4])
    layer(x)
    assert checked.told == "2 shapes fused with sums and ReLUs"


def clear_last(made: Tensor) -> None:
    made[-1] = 0


def shift(made: Tensor) -> None:
    made.copy_(made.roll(1, 1))


def one_number(made: Tensor) -> None:
    made[2, 3, 4, 4] += 1


def border(made: Tensor) -> None:
    made[..., -1] *= 1.1


def coarse(made: Tensor) -> None:
    made.mul_(1 + max(4 * torch.finfo(made.dtype).eps, 1e-4))


def no_answer(made: Tensor) -> None:
    made.fill_(float("nan"))


def infinite(made: Tensor) -> None:
    made[0, 0, 0, 0] = float("inf")


def added_twice(made: Tensor) -> None:
    made += made


def test_of_many_rows_the_first_and_the_last_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_kernel, "_ENDS", 2)
    for place in range(9):
        layer, checked, x = layer_of(Rounded(lambda made, row=place: made[row].add_(1)))  # type: ignore[misc]
        layer(x, x)
        assert ("part by part (" in checked.told) == (place in (0, 1, 7, 8)), place


def test_a_shape_that_is_wrong_once_is_used_no_more() -> None:
    kernel = Rounded()
    layer, checked, x = layer_of(kernel)
    layer(x, x)
    kernel.spoil = clear_last
    layer(x[:4], x[:4])
    assert "part by part (" in checked.told
    runs = kernel.runs
    torch.testing.assert_close(layer(x, x), by_parts(layer, x))
    assert kernel.runs == runs


WRONGS = [clear_last, shift, one_number, border, coarse, no_answer, infinite, added_twice]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("spoil", WRONGS)
def test_what_is_wrong_goes_part_by_part(
    spoil: Callable[[Tensor], object], dtype: torch.dtype
) -> None:
    kernel = Rounded(spoil)
    layer, checked, x = layer_of(kernel, dtype, relu=False)
    for _ in range(2):
        assert torch.equal(layer(x, x), by_parts(layer, x))
        assert kernel.runs == 1
    assert checked.told.startswith("1 shape part by part (")
    assert checked.told.endswith(f" of {x.numel()} numbers of a first answer were wrong)")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no compiler\nis there"),
        AssertionError(),
        PermissionError(13, "denied"),
        KeyError("sm_99"),
    ],
)
def test_what_raises_goes_part_by_part(error: Exception) -> None:
    def spoil(_: Tensor) -> None:
        raise error

    kernel = Rounded(spoil)
    layer, checked, x = layer_of(kernel)
    for _ in range(2):
        assert torch.equal(layer(x, x), by_parts(layer, x))
    assert kernel.runs == 1
    text = " ".join(str(error).split())
    why = f"{type(error).__name__}: {text}" if text else type(error).__name__
    assert checked.told == f"1 shape part by part ({why})"
    kernel.spoil = lambda made: None
    layer(x)
    assert checked.told == f"1 shape fused with sums and ReLUs; 1 shape part by part ({why})"


def test_what_raises_later_goes_part_by_part_from_then_on() -> None:
    kernel = Rounded()
    layer, checked, x = layer_of(kernel)
    layer(x, x)

    def spoil(_: Tensor) -> None:
        raise RuntimeError("lost")

    kernel.spoil = spoil
    for _ in range(2):
        assert torch.equal(layer(x, x), by_parts(layer, x))
    assert (kernel.runs, checked.told) == (2, "1 shape part by part (RuntimeError: lost)")


def test_memory_that_runs_out_is_said_and_forgotten() -> None:
    def spoil(_: Tensor) -> None:
        raise torch.OutOfMemoryError("out of memory")

    kernel = Rounded(spoil)
    layer, checked, x = layer_of(kernel)
    with pytest.raises(torch.OutOfMemoryError):
        layer(x, x)
    kernel.spoil = lambda made: None
    layer(x, x)
    assert checked.told == "1 shape fused with sums and ReLUs"


def test_every_number_of_rows_is_looked_at() -> None:
    """As where places of a large batch do not fit their type."""

    def spoil(made: Tensor) -> None:
        made[8:] = 0

    kernel = Rounded(spoil)
    layer, checked, x = layer_of(kernel)
    layer(x[:8], x[:8])
    assert "fused" in checked.told
    assert torch.equal(layer(x, x), by_parts(layer, x))
    assert torch.equal(layer(x[:8], x[:8]), by_parts(layer, x[:8]))
    assert kernel.runs == 2
    assert checked.told.startswith("1 shape part by part (")


@pytest.mark.parametrize("odd", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_not_finite_must_be_alike(odd: str, relu: bool, dtype: torch.dtype) -> None:
    layer, checked, x = layer_of(Rounded(), dtype, relu)
    x[3, 2, 1, 1] = float(odd)
    assert not layer(x, x)[3].isfinite().all()
    assert checked.told == "1 shape fused with sums and ReLUs"
    layer, checked, _ = layer_of(Rounded(lambda made: made.nan_to_num_()), dtype, relu)
    assert torch.allclose(layer(x, x), by_parts(layer, x), rtol=0, atol=0, equal_nan=True)
    assert "wrong" in checked.told


def test_weights_that_are_all_0_prove_nothing() -> None:
    class Sums(Rounded):
        """Leaves the products out."""

        def run(
            self, conv: nn.Conv2d, x: Tensor, other: Tensor | None, *, relu: bool
        ) -> Tensor | None:
            assert other is not None and conv.bias is not None
            return (other + conv.bias[:, None, None]).relu()

    layer, checked, x = layer_of(Sums())
    empty, _, _ = layer_of(Sums())
    empty.kernel = checked
    empty.conv.weight.zero_()
    for _ in range(2):
        torch.testing.assert_close(empty(x, x), by_parts(empty, x))
        assert checked.told == "part by part"
    assert torch.equal(layer(x, x), by_parts(layer, x))
    assert "wrong" in checked.told


@pytest.mark.parametrize("change", [lambda made: made.double(), lambda made: made[:, :8]])
def test_answers_have_the_type_and_the_shape_of_a_convolution(
    change: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Rounded()
    usual = kernel.run
    monkeypatch.setattr(kernel, "run", lambda *given, **how: change(usual(*given, **how)))
    layer, checked, x = layer_of(kernel)
    assert torch.equal(layer(x, x), by_parts(layer, x))
    assert checked.told.startswith("1 shape part by part (TypeError: an answer ")


def test_nothing_is_looked_at_while_a_graph_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Rounded()
    layer, _, x = layer_of(kernel)
    recording = True
    monkeypatch.setattr(checked_kernel, "is_recording", lambda: recording)
    assert torch.equal(layer(x, x), by_parts(layer, x))
    assert kernel.runs == 0
    recording = False
    layer(x, x)
    recording = True
    layer(x, x)
    assert kernel.runs == 2


def test_what_a_graph_holds_was_looked_at_when_it_was_warmed_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording, refused = False, 0

    class Recording(Reruns):
        """Replays as if it recorded."""

        def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
            def recorded() -> Any:
                nonlocal recording
                recording = True
                try:
                    return function()
                finally:
                    recording = False

            return super().record(recorded)

    class Seen(CheckedKernel):
        def run(self, *given: Any, **how: Any) -> Tensor | None:
            nonlocal refused
            made = super().run(*given, **how)
            refused += made is None
            return made

    monkeypatch.setattr(checked_kernel, "is_recording", lambda: recording)
    monkeypatch.setattr(level_module, "recorder_for", lambda _: Recording())
    kernel = Rounded()
    monkeypatch.setattr(shared, "kernel_for", lambda *_: Seen(kernel))
    model = build([("post", 6, 1), ("pre", 6, 1), ("post", 6, 1)])
    images, labels = images_for(model, 20)
    net = decompose(model, images[:2])
    sweep = [intact(), *single_deletions(3)]
    told: dict[str, str] = {}
    how: dict[str, Any] = {"device": "cpu", "batch_size": 8}
    fast = evaluate(net, [(images, labels)], sweep, engine="level", told=told, **how)
    assert told["graphs"] == "yes" and kernel.runs > 20 and refused == 0
    slow = evaluate(net, [(images, labels)], sweep, engine="direct", **how)
    assert [one.correct for one in fast] == [one.correct for one in slow]


def test_derivatives_are_left_to_torch() -> None:
    kernel = Rounded()
    layer, _, _ = layer_of(kernel)
    with torch.inference_mode(mode=False), torch.enable_grad():
        layer = FusedConvolution(nn.Conv2d(2, 2, 1), CheckedKernel(kernel), relu=True)
        x = torch.randn(1, 2, 3, 3, requires_grad=True)
        layer(x, x.detach()).sum().backward()
    assert kernel.runs == 0 and x.grad is not None


def test_only_plain_convolutions_are_taken() -> None:
    checked = CheckedKernel(Rounded())
    assert checked.fits(nn.Conv2d(2, 2, 3, 2, 1))
    for conv in (
        nn.Conv2d(2, 2, 3, groups=2), nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
    ):  # fmt: skip
        assert not checked.fits(conv)
