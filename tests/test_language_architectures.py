"""What language models of transformers have and others have not: sliding attention, experts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ensembles
from ensembles.errors import DecompositionError, LesionError
from ensembles.lesions import Delete, Lesion, Parallel, Reorder, Replace, Reverse, Structure

transformers = pytest.importorskip("transformers")

SMALL = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": 50, "pad_token_id": 0, "use_cache": False,
}  # fmt: skip
IDS = torch.randint(1, 50, (3, 12), generator=torch.Generator().manual_seed(0))


def built(kind: str, **options: Any) -> Any:
    config = "Gemma3Text" if kind == "Gemma3" else kind
    torch.manual_seed(0)
    made = getattr(transformers, f"{config}Config")(**{**SMALL, **options})
    return getattr(transformers, f"{kind}ForCausalLM")(made).eval()


@pytest.fixture(scope="module")
def gemma() -> Any:
    """Layers 1 and 3 slide over 4 tokens, 2 and 4 see all."""
    return ensembles.decompose(built("Gemma2", head_dim=8, sliding_window=4), IDS)


@pytest.mark.parametrize(
    ("kind", "options", "sees"),
    [
        ("Mistral", {"sliding_window": 4}, [3, 0] * 4),
        ("Mistral", {"sliding_window": 20}, [11, 0] * 4),
        ("Llama", {}, [11, 0] * 4),
        ("Gemma3", {"head_dim": 8, "sliding_window": 4,
                    "layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
         [3, 0, 3, 0, 3, 0, 11, 0]),
    ],
)  # fmt: skip
def test_how_far_each_block_looks_back(kind: str, options: Any, sees: list[int]) -> None:
    net = ensembles.decompose(built(kind, **options), IDS)
    assert [net.sees(block) for block in range(1, 9)] == sees


@pytest.mark.parametrize(
    "lesion", [Reorder(((1, 3),)), Replace(1, by=3), Reverse((1, 3)), Reverse((1, 7))]
)
def test_sliding_and_full_attention_do_not_change_places(gemma: Any, lesion: Lesion) -> None:
    if lesion == Reverse((1, 7)):  # 1 with 7: sliding with full
        assert gemma.sees(1) != gemma.sees(7)
    with pytest.raises(LesionError, match=r"looks back over 3 tokens|looks back over 11 tokens"):
        ensembles.lesion(gemma, IDS, [lesion])


def test_what_sees_the_same_changes_places(gemma: Any) -> None:
    lesions = [Reorder(((1, 5), (3, 7))), Reorder(((2, 4),)), Reorder(((1, 2),)), Parallel((3, 4))]
    frame = ensembles.lesion(gemma, IDS, lesions)
    assert len(frame) == 5
    assert Structure.of(gemma).stages == ((1, 5), (2, 4, 6, 8), (3, 7))
    short = ensembles.decompose(built("Gemma2", head_dim=8, sliding_window=4), IDS[:, :4])
    assert Structure.of(short).stages == (tuple(range(1, 9)),)
    ensembles.lesion(short, IDS[:, :4], [Reorder(((1, 3),))])


def test_masks_that_are_inputs_tell_them_apart_too() -> None:
    example = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    example["attention_mask"][0, 8:] = 0
    net = ensembles.decompose(built("Gemma2", head_dim=8, sliding_window=4), example)
    with pytest.raises(LesionError, match=r"\(.*self_attn\) reads .* and block 1 .* reads"):
        ensembles.lesion(net, [example], [Reorder(((1, 3),))])
    assert len(ensembles.lesion(net, [example], [Reorder(((1, 5),)), Delete((3,))])) == 3


@pytest.mark.parametrize("kind", ["Llama", "Gemma2"])
def test_one_network_has_windows_of_several_lengths(kind: str) -> None:
    options = {"head_dim": 8, "sliding_window": 4} if kind == "Gemma2" else {}
    model = built(kind, **options)
    net = ensembles.decompose(model, IDS)
    assert net.at_length(12) is net
    with torch.no_grad():
        for weight in net.parameters():  # of the network's own, not the model's
            weight.mul_(0.9)
    twin = ensembles.decompose(model, IDS[:, :7])
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(0.9)
    short = net.at_length(7)
    assert torch.allclose(short(IDS[:, :7]), twin(IDS[:, :7]), atol=1e-6)
    assert net.at_length(7) is short
    assert next(short.parameters()).data_ptr() == next(net.parameters()).data_ptr()
    lesioned: Any = net.lesioned(Delete((2,)))
    for size in (12, 7, 5):
        given = lesioned(IDS[:, :size])
        assert torch.equal(given, net.at_length(size).lesioned(Delete((2,)))(IDS[:, :size]))
        assert torch.equal(given.logits, given)
        assert torch.equal(lesioned(input_ids=IDS[:, :size]).logits, given)
    assert type(given * 1) is torch.Tensor
    assert lesioned.config.vocab_size == 50
    with pytest.raises(
        LesionError, match="windows of 7 tokens, and the lesioned network is for wi"
    ):
        mean = ensembles.lesions.MeanBranch((2,), 3)
        materials = ensembles.engine.Materials(net, data=IDS, reference=IDS)
        net.lesioned(mean, materials)(IDS[:, :7])
    with pytest.raises(DecompositionError, match="windows of 1 tokens; expected at least 2"):
        net.at_length(1)


def test_a_network_of_images_has_no_lengths() -> None:
    images = torch.randn(2, 3, 32, 32)
    net = ensembles.decompose(ensembles.create_model("resnet20", num_classes=10), images)
    with pytest.raises(DecompositionError, match="was not taken apart with windows of tokens"):
        net.at_length(7)
    assert not hasattr(net.lesioned(Delete((1,)))(images), "logits")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(2, 30).long(), r"no longer than its positions \(30 tokens were given\)"),
        (torch.full((2, 9), 77), r"those below its vocabulary \(the highest is 77\)"),
    ],
)
def test_ids_that_a_model_has_no_place_for(ids: Any, message: str) -> None:
    config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50, n_positions=20)
    with pytest.raises(DecompositionError, match=message) as caught:
        ensembles.decompose(transformers.GPT2LMHeadModel(config).eval(), ids)
    assert "\n" not in str(caught.value)


def test_paths_through_a_mixture_of_experts_add_up_in_double_precision() -> None:
    model = built("Mixtral", num_local_experts=4, num_hidden_layers=2)  # torch has no such product
    net = ensembles.decompose(model, IDS)
    spectrum = ensembles.paths(net, IDS[:1], images=1, signs=0)
    assert spectrum.attrs["sum_error"] < 1e-12
