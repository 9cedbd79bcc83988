"""Paths of language models: from the embedding to one token, against every path by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ensembles
from ensembles.errors import PathError, UsageError
from ensembles.numerics import differentiable
from ensembles.plots.paths import shares_by_length
from ensembles.unravelling.maps import FunctionMap
from ensembles.unravelling.measurement import prepared
from ensembles.unravelling.oracle import path_gradients, path_logits
from ensembles.unravelling.token_streams import at_every_token, at_token, counting

IDS = torch.randint(0, 40, (3, 7), generator=torch.Generator().manual_seed(0))
SMALL = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}


def model_of(name: str) -> nn.Module:
    """A small language model with random weights."""
    torch.manual_seed(1)
    if name == "gpt":
        return ensembles.create_model("gpt6", num_classes=40, width=16, heads=2)
    transformers = pytest.importorskip("transformers")
    if name == "gpt2":
        config = transformers.GPT2Config(vocab_size=40, n_embd=16, n_head=2, n_layer=2)
        return transformers.GPT2LMHeadModel(config).eval()
    kind: Any = {"llama": "Llama", "gpt_neox": "GPTNeoX", "qwen2": "Qwen2"}[name]
    config = getattr(transformers, f"{kind}Config")(intermediate_size=24, **SMALL)
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


def autograd(net: Any, stream: Tensor, right: Tensor) -> Tensor:
    probe = stream.detach().requires_grad_()
    with torch.enable_grad():
        loss = nn.functional.cross_entropy(net(probe), right, reduction="sum")
        (found,) = torch.autograd.grad(loss, probe)
    return found


@pytest.mark.parametrize("name", ["gpt", "gpt2", "llama", "gpt_neox"])
def test_lengths_are_the_sums_of_all_their_paths(name: str) -> None:
    net = ensembles.decompose(model_of(name), IDS[:2])
    frame = ensembles.paths(net, IDS, images=3, signs=0, token=5)
    assert frame.attrs["provenance"]["precision"] == "fp64"
    assert frame.attrs["sum_error"] < 1e-12
    first, ((stream, right),) = at_token(net, IDS, 5)
    double, stream = prepared(first, torch.device("cpu"), "fp64"), stream.double()
    with torch.enable_grad():
        logits = double(stream)
        probe = logits.detach().requires_grad_()
        loss = nn.functional.cross_entropy(probe, right, reduction="sum")
        (cotangent,) = torch.autograd.grad(loss, probe)
    each = path_gradients(double, stream, cotangent)
    assert len(each) == 2 ** len(net) == frame["paths"].sum()
    whole = sum(each.values())
    assert torch.allclose(whole, autograd(double, stream, right), rtol=1e-9, atol=1e-14)
    norms = torch.zeros(len(net) + 1, len(IDS), dtype=torch.float64)
    for length in range(len(net) + 1):
        total = sum(part for choice, part in each.items() if sum(choice) == length)
        norms[length] = total.flatten(1).norm(dim=1)  # type: ignore[union-attr]
    wanted = norms.mean(1)
    found = torch.tensor(frame["gradient_coherent"].tolist(), dtype=torch.float64)
    assert torch.allclose(found, wanted, rtol=1e-9)
    ratio = (norms.sum(0) / whole.flatten(1).norm(dim=1)).median()  # type: ignore[union-attr]
    assert frame.attrs["cancellation"]["input"] == pytest.approx(float(ratio), rel=1e-9)


def test_logits_by_length_are_those_of_all_paths() -> None:
    net = ensembles.decompose(model_of("gpt"), IDS[:2])
    frame = ensembles.paths(net, IDS, direction="logits", images=3)
    first, ((stream, _),) = at_token(net, IDS, None)
    double = prepared(first, torch.device("cpu"), "fp64")
    with differentiable():
        parts, _ = path_logits(double, stream.double())
    wanted = parts.norm(dim=-1).mean(1)
    found = torch.tensor(frame["logit_norm"].tolist(), dtype=torch.float64)
    assert torch.allclose(found, wanted, rtol=1e-9)


def test_attention_and_mlp_are_counted_apart() -> None:
    net = ensembles.decompose(model_of("gpt"), IDS[:2])
    first, ((stream, right),) = at_token(net, IDS, None)
    every: dict[tuple[int, int], Tensor] = {}
    double, stream = prepared(first, torch.device("cpu"), "fp64"), stream.double()
    probe = double(stream).detach().requires_grad_()
    with torch.enable_grad():
        loss = nn.functional.cross_entropy(probe, right, reduction="sum")
        (cotangent,) = torch.autograd.grad(loss, probe)
    for choice, part in path_gradients(double, stream, cotangent).items():
        key = sum(choice[::2]), sum(choice[1::2])  # attention stands first in each layer
        every[key] = every.get(key, torch.zeros_like(part)) + part
    for place, counted in enumerate(("attention", "mlp")):
        frame = ensembles.paths(net, IDS, images=3, signs=0, counted=counted)
        assert frame["paths"].tolist() == [1, 3, 3, 1]
        for length in range(4):
            total = sum(part for key, part in every.items() if key[place] == length)
            norm = float(total.flatten(1).norm(dim=1).mean())  # type: ignore[union-attr]
            assert frame["gradient_coherent"][length] == pytest.approx(norm, rel=1e-9)


def test_what_cannot_be_asked() -> None:
    net = ensembles.decompose(model_of("gpt"), IDS[:2])
    for token in (1, 8):
        with pytest.raises(UsageError, match=f"token {token} of windows of 7; expected 2 to 7"):
            ensembles.paths(net, IDS, token=token)
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    other = ensembles.decompose(ensembles.create_model("resnet20"), images)
    with pytest.raises(UsageError, match="ResNet is no language model: leave out the token"):
        ensembles.paths(other, [(images, torch.tensor([0, 1]))], token=2)
    with pytest.raises(PathError, match="has no block of attention with a shortcut to count"):
        counting(other, "attention")


def test_cancellation_stands_in_the_figure() -> None:
    torch.manual_seed(0)
    model = ensembles.create_model("gpt6", width=16, heads=2)
    data = ensembles.dataset("prose", window=12, limit=2)
    net = ensembles.decompose(model, data.windows)  # type: ignore[union-attr]
    frame = ensembles.paths(net, data, signs=0)
    ratio = frame.attrs["cancellation"]["input"]
    far = frame.copy()
    far.attrs = {**frame.attrs, "cancellation": {"input": 68_000.0}}
    for one, told in ((frame, f"cancellation {ratio:,.3g} (1: none)"),
                      (far, "cancellation 6.8e+04 (1: none): lengths cancel")):  # fmt: skip
        axes = shares_by_length(one)
        legend = axes.get_legend() or axes.figure.legends[0]
        assert told in [text.get_text() for text in legend.get_texts()]
        pale = [line.get_alpha() for line in axes.lines if line.get_linewidth() == 2.5]
        assert pale
        assert all((alpha is not None) == (one is far) for alpha in pale)


def test_encoders_have_no_paths_to_a_next_token() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        vocab_size=50,
    )  # fmt: skip
    ids = torch.randint(0, 50, (2, 8))
    net = ensembles.decompose(transformers.BertForMaskedLM(config).eval(), ids)
    with pytest.raises(UsageError, match="is an encoder, and paths are those to the logits of a n"):
        ensembles.paths(net, ids)


def test_tangents_are_pushed_by_several_threads_at_once() -> None:
    def curve(x: Tensor) -> Tensor:
        for _ in range(20):
            x = (x * 1.1).sin()
        return x

    torch.manual_seed(0)
    x, rows = torch.randn(2, 5).double(), torch.randn(8, 5).double()
    wanted = FunctionMap(curve, x, "curve").push(rows)

    def push(_: int) -> Tensor:
        return FunctionMap(curve, x, "curve").push(rows)

    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(found, wanted) for found in pool.map(push, range(24)))


def test_every_token_is_the_sum_of_single_tokens() -> None:
    net = ensembles.decompose(model_of("gpt"), IDS[:2])
    whole, ((stream, targets),) = at_every_token(net, IDS)
    assert targets.tolist() == IDS[:, 1:].tolist()
    double, stream = prepared(whole, torch.device("cpu"), "fp64"), stream.double()
    logits = double(stream).detach().requires_grad_()
    with torch.enable_grad():
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        (cotangent,) = torch.autograd.grad(loss, logits)
    each = path_gradients(double, stream, cotangent)
    norms = torch.zeros(len(net) + 1, len(IDS), dtype=torch.float64)
    for length in range(len(net) + 1):
        total = sum(part for choice, part in each.items() if sum(choice) == length)
        norms[length] = total.flatten(1).norm(dim=1)  # type: ignore[union-attr]
    frame = ensembles.paths(net, IDS, images=3, signs=0, every_token=True)
    assert frame.attrs["sum_error"] < 1e-12
    found = torch.tensor(frame["gradient_coherent"].tolist(), dtype=torch.float64)
    assert torch.allclose(found, norms.mean(1), rtol=1e-9)
    single = [
        at_token(net, IDS, token)[0] for token in (2, 7)
    ]  # their gradients are terms of the sum
    assert [one.output_shape[0] for one in single] == [40, 40]


def test_every_token_is_kept_and_refused(tmp_path: Path) -> None:
    net = ensembles.decompose(model_of("gpt"), IDS[:2])
    store = tmp_path / "results.db"
    how: dict[str, Any] = {"images": 3, "signs": 2, "method": "all", "samples": 9}
    frames = [ensembles.paths(net, IDS, store=store, every_token=True, **how) for _ in range(2)]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(ensembles.paths(net, IDS, store=store, **how))
    for other in ({"token": 3}, {"direction": "logits"}):
        with pytest.raises(UsageError, match="the loss of every token is one of gradients"):
            ensembles.paths(net, IDS, every_token=True, **other)  # type: ignore[arg-type]
