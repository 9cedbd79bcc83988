"""What decomposes of the causal language models of transformers, built small from their configs.

    python benchmarks/language_consistency.py --write

Each architecture of the installed transformers gets a configuration of two to four layers, random
weights and windows of 8 tokens. One that cannot be built or run so by itself is a row without a
verdict. The others are taken apart; the parts must give the model's logits, and deleting the first,
middle and last block must give the same by both engines. `--write` puts the table into
docs/language.md; with `--only`, the rows of these alone.
Needs `pip install 'residual-ensembles[hf]'`.
"""

from __future__ import annotations

import argparse
import signal
import warnings
from pathlib import Path
from typing import Any

import torch
from examination import deletions

from ensembles.decomposition import decompose
from ensembles.errors import EnsemblesError

DOCS = Path(__file__).parent.parent / "docs" / "language.md"
BEGIN, END = "<!-- architectures: begin -->\n", "<!-- architectures: end -->"
TOKENS, WORDS = 8, 64
LAYERS = (
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers",
    "num_decoder_layers",
)  # fmt: skip
SMALL: dict[str, Any] = {
    **dict.fromkeys(LAYERS, 2),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "emb_dim", "embedding_dim"), 32),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim"), 48),
    **dict.fromkeys(("n_inner", "ffn_hidden_size", "dff", "d_ff"), 48),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_sequence_length"), 64),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_top_k", "top_k_experts"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "head_dim"), 8),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts"), 1),
    "vocab_size": WORDS,
    "sliding_window": 4,
    "rotary_dim": 8,
    "first_k_dense_replace": 1,
}
SMALL |= {
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 4),
    **dict.fromkeys(("mamba_d_state", "ssm_state_size", "mamba_d_ssm", "state_size"), 8),
    **dict.fromkeys(("mamba_n_groups", "n_groups", "mamba_ngroups", "num_kv_shared_layers"), 1),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 8),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    **dict.fromkeys(("hidden_size_per_layer_input", "laurel_rank", "altup_num_inputs"), 4),
    **dict.fromkeys(("vocab_size_per_layer_input", "attention_hidden_size"), WORDS),
    "mamba_d_head": 16,
    "mamba_head_dim": 16,
    "num_kv_shared_layers": 0,
}
"""Of layers that keep a state, and of embeddings that each layer has."""

EXTRA: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"head_dim": 8, "partial_rotary_factor": 1.0},
    "cohere_compass_text": {
        "layer_types": None,
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}},
    },
    "deepseek_v2": {"topk_method": "greedy", "topk_group": 1, "num_experts_per_tok": 2},
    "dots3_note": {"adapter_in_dim": 32},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
    "kimi_linear": {"n_group": 1, "num_expert_group": 1, "topk_group": 1},
    "mamba2": {"num_heads": 4, "head_dim": 16, "expand": 2, "chunk_size": 8},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "falcon_h1": {"mamba_d_ssm": 64},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
        "hc_lowrank": 4,
    },
    "reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [2, 4],
        "attn_layers": ["local", "lsh"],
        "feed_forward_size": 48,
        "attention_head_size": 8,
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "hash_seed": 0,
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "layers_block_type": ["linear_attention", "hybrid"],
        "attention_head_dim": 16,
        "attention_hidden_size": 64,
        "n_mamba_heads": 2,
    },
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "falcon": {"new_decoder_architecture": False},
    "ctrl": {"dff": 48},
    "mamba": {"state_size": 4},
    "xlnet": {"n_head": 4},
}


def small(config: Any, extra: dict[str, Any]) -> Any:
    """A configuration of the same kind with small numbers, inner ones too."""
    wanted = {**SMALL, **extra}
    values = {}
    for name, value in config.to_dict().items():
        try:
            inner = getattr(config, name, None)
        except Exception:  # some hold a value for each layer
            inner = None
        if hasattr(inner, "to_dict") and name != "quantization_config":
            values[name] = small(inner, extra).to_dict()
        elif name in extra or (name in wanted and (value is not None or name == "head_dim")):
            values[name] = wanted[name]
        elif name in ("layer_types", "mlp_layer_types") and isinstance(value, list):
            values[name] = list(dict.fromkeys(value))[:2] * (2 // min(2, len(set(value))))
    if "kv_lora_rank" in values and "num_key_value_heads" in values:
        values["num_key_value_heads"] = 4  # latent attention has as many of both
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
        if isinstance(getattr(config, name, None), int):
            values[name] = 0 if name != "eos_token_id" else 1
    values["use_cache"] = False
    return type(config)(**values)


def built(name: str) -> torch.nn.Module:
    """A small model of an architecture, with random weights."""
    import transformers

    config = small(transformers.CONFIG_MAPPING[name](), EXTRA.get(name, {}))
    for key, value in (("is_decoder", True), ("add_cross_attention", False)):
        if hasattr(config, key):
            setattr(config, key, value)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: torch.nn.Module = transformers.AutoModelForCausalLM.from_config(config)
    return model.float().eval()


def examine(name: str, ids: torch.Tensor) -> tuple[str, str]:
    """The verdict ("yes", "no" or "", where it cannot be built small), and what was found."""
    try:
        model = built(name)
        with torch.no_grad():
            logits = model(ids).logits
        assert logits.isfinite().all(), "its logits are not finite"
        assert logits.shape[:2] == ids.shape, f"its logits have the shape {tuple(logits.shape)}"
    except Exception as error:  # the library's code runs here
        return "", f"{type(error).__name__}: {_line(error)}"
    try:
        net = decompose(model, ids)
        with torch.no_grad():
            gap = float((net(ids) - logits).abs().max() / logits.abs().max())
        names = ", ".join(one.rpartition("layers.")[2] for one in net.names[:3])
        kinds = [block.kind for block in net]
        counted = " + ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        return "yes", f"{counted} ({names}, ...), difference {gap:.0e}, {deletions(net, ids)} agree"
    except EnsemblesError as error:
        return "no", _line(error)
    except Exception as error:
        return "no", f"{type(error).__name__}: {_line(error)}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:220].replace("|", "/") or "no reason given"


def written(table: str) -> dict[str, str]:
    """The rows of a table that was written before, by their architectures."""
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    return {row.split("`")[1]: row for row in rows}


def main() -> None:
    """Run, print, and write."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of an architecture")
    parser.add_argument("--write", action="store_true", help="into docs/language.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {arguments.limit:g} s of computing")

    signal.signal(signal.SIGPROF, stop)
    ids = torch.randint(2, WORDS, (2, TOKENS), generator=torch.Generator().manual_seed(0))
    known = list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    names = known if arguments.only is None else arguments.only.split(",")
    rows = {}
    for name in names:
        signal.setitimer(signal.ITIMER_PROF, arguments.limit)
        verdict, found = examine(name, ids)
        signal.setitimer(signal.ITIMER_PROF, 0)
        rows[name] = f"| `{name}` | {verdict or 'not built'} | {found} |"
        print(rows[name], flush=True)
    before, _, rest = DOCS.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    if arguments.only is not None:
        rows = written(table) | rows
    verdicts = [row.split("|")[2].strip().replace("not built", "") for row in rows.values()]
    apart, tried = verdicts.count("yes"), len(verdicts) - verdicts.count("")
    told = (
        f"transformers {transformers.__version__}: {apart} of {tried} that can be built small by "
        f"their configuration alone ({100 * apart / max(tried, 1):.0f} %); {verdicts.count('')} "
        "cannot."
    )
    print(told)
    if arguments.write:
        heads = "| architecture | taken apart | what was found |\n| --- | --- | --- |"
        lines = "\n".join(row for _, row in sorted(rows.items()))
        DOCS.write_text(f"{before}{BEGIN}{told}\n\n{heads}\n{lines}\n{END}{after}")


if __name__ == "__main__":
    main()
