"""Which tokens go to other experts, against the routers of transformers with a hook."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import ensembles
from ensembles.cli.lesion import expert_lines
from ensembles.decomposition.mixtures import mixtures
from ensembles.errors import UsageError
from ensembles.plots import plot_analysis

transformers = pytest.importorskip("transformers")

IDS = torch.randint(1, 50, (3, 12), generator=torch.Generator().manual_seed(0))
SMALL: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": 50, "pad_token_id": 0, "eos_token_id": 1,
    "use_cache": False, "num_experts_per_tok": 2,
}  # fmt: skip
EXPERTS: dict[str, dict[str, Any]] = {
    "Mixtral": {"num_local_experts": 4},
    "Olmoe": {"num_experts": 8},
    "Qwen3Moe": {"num_experts": 8, "moe_intermediate_size": 8, "head_dim": 8},
}


def built(kind: str, **options: Any) -> Any:
    """A small mixture with random weights that are large enough for choices to differ."""
    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **EXPERTS.get(kind, {}), **options})
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    return model


def chosen(model: Any, deleted: Any) -> list[Tensor]:
    """Experts of every token in each layer, sorted, with one part of the model silenced."""
    found, handles = [], []

    def keep(_module: Any, _given: Any, out: Any) -> None:
        found.append(out[-1].sort(-1).values)

    for layer in model.model.layers:
        handles.append(layer.mlp.gate.register_forward_hook(keep))
    if deleted is not None:

        def nothing(_module: Any, _given: Any, out: Any) -> Any:
            return (out[0] * 0, *out[1:]) if isinstance(out, tuple) else out * 0

        handles.append(deleted.register_forward_hook(nothing))
    with torch.no_grad():
        model(IDS)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("kind", list(EXPERTS))
def test_other_experts_are_those_of_the_routers(kind: str) -> None:
    model = built(kind)
    net = ensembles.decompose(model, IDS)
    assert mixtures(net) == (2, 4, 6)
    frame = ensembles.analyze(net, IDS, "experts")
    parts = [part for layer in model.model.layers for part in (layer.self_attn, layer.mlp)]
    intact, rows, anywhere = chosen(model, None), {}, []
    for number, part in enumerate(parts[:-1], 1):
        lesioned = chosen(model, part)
        later = [layer for layer in range(3) if 2 * layer + 2 > number]
        different = torch.stack([(intact[i] != lesioned[i]).any(-1) for i in later])
        anywhere.append(int(different.any(0).sum()))
        for layer, changed in zip(later, different, strict=True):
            same = [
                len(set(a) & set(b))
                for a, b in zip(intact[layer].tolist(), lesioned[layer].tolist(), strict=True)
            ]
            rows[number, 2 * layer + 2] = int(changed.sum()), 1 - sum(same) / (2 * len(same))
    assert len(frame) == len(rows) == 9
    for row in frame.to_dict("records"):
        changed, exchanged = rows[row["deleted"], row["block"]]
        assert row["tokens"] == IDS.numel()
        assert row["changed"] == changed
        assert row["share"] == pytest.approx(changed / IDS.numel())
        assert row["exchanged"] == pytest.approx(exchanged)
    assert [one["changed"] for one in frame.attrs["anywhere"]] == anywhere
    assert 0 < frame["changed"].sum() < len(frame) * IDS.numel()


def test_an_expert_that_all_tokens_go_to_never_changes(tmp_path: Path) -> None:
    model = built("Mixtral", num_experts_per_tok=4)
    net = ensembles.decompose(model, IDS)
    frame = ensembles.analyze(net, IDS, "experts", batch_size=2)
    assert (frame["changed"] == 0).all()
    assert (frame["exchanged"] == 0).all()
    ensembles.write_frame(frame, tmp_path / "experts.csv")
    again = ensembles.read_frame(tmp_path / "experts.csv")
    plot_analysis(again, tmp_path / "experts.png")
    assert (tmp_path / "experts.png").stat().st_size > 1000


def test_groups_of_experts_are_no_experts() -> None:
    model = built(
        "DeepseekV3", num_hidden_layers=2, n_routed_experts=8, n_group=2, topk_group=1,
        q_lora_rank=8, kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8,
        first_k_dense_replace=1, moe_intermediate_size=8,
    )  # fmt: skip
    net = ensembles.decompose(model, IDS[:2, :6])
    assert mixtures(net) == (4,)
    frame = ensembles.analyze(net, IDS[:, :6], "experts")
    assert frame["deleted"].tolist() == [1, 2, 3]
    assert (frame["exchanged"] <= frame["share"]).all()


def test_lesions_say_that_experts_are_chosen_anew() -> None:
    net = ensembles.decompose(built("Mixtral", num_hidden_layers=2), IDS)
    plain = ensembles.decompose(ensembles.create_model("gpt6", width=16, heads=2), IDS)
    subjects: Any = [SimpleNamespace(name="moe", net=net), SimpleNamespace(name="gpt", net=plain)]
    (line,) = expert_lines(subjects)
    assert line.startswith("moe: 2 blocks choose among experts, anew under each lesion; `ens")


def test_networks_without_experts_are_refused() -> None:
    net = ensembles.decompose(ensembles.create_model("gpt6", width=16, heads=2), IDS)
    message = "experts: no block of GPT chooses among experts; expected a mixture of experts"
    with pytest.raises(UsageError, match=message):
        ensembles.analyze(net, IDS, "experts")
