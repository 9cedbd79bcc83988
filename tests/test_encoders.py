"""Masked language models and classifiers of sequences: masks, padding, labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import ensembles
from ensembles.checkpoints import open_subject
from ensembles.cli import command_line
from ensembles.data.texts import LabelledText, MaskedText, Masks
from ensembles.errors import CheckpointError, DataError, EnsemblesError, EvaluationError, UsageError
from ensembles.lesions import Delete

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

SMALL = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "vocab_size": 320, "pad_token_id": 0, "max_position_embeddings": 40,
}  # fmt: skip
TEXTS = [
    ("the digits of the wine", "red"),
    ("a set of data", "white"),
    ("the wine and the set of the digits and the wine", "red"),
    ("data", "white"),
    ("wine and wine", "red"),
]
IDS = torch.randint(5, 50, (4, 12), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(12) < torch.tensor([[12], [7], [12], [3]])).long()


def saved(model: Any, place: Path, *, mask: str | None = "[MASK]") -> str:
    """A model and a tokenizer of its own as a folder of the hub; its name."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator([text for text, _ in TEXTS] * 4, trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    made.enable_truncation(6)  # as files of tokenizers often say
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", mask_token=mask
    )
    fast.save_pretrained(place)
    model.save_pretrained(place)
    return f"hf:{place}"


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(transformers.BertConfig(**SMALL))
    return saved(model, tmp_path_factory.mktemp("masked"))


def classifier(kind: str, place: Path) -> str:
    torch.manual_seed(0)
    names = {"id2label": {0: "white", 1: "red"}, "label2id": {"white": 0, "red": 1}}
    sizes: dict[str, Any] = {**SMALL, "num_key_value_heads": 2} if kind == "Llama" else SMALL
    config = getattr(transformers, f"{kind}Config")(**sizes, **names)
    return saved(getattr(transformers, f"{kind}ForSequenceClassification")(config), place)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "wine.jsonl"
    path.write_text("\n".join(json.dumps({"text": t, "label": c}) for t, c in TEXTS))
    return path


def test_masked_tokens_are_counted_as_a_plain_loop_counts_them(masked: str) -> None:
    subject = open_subject(masked, window=20, limit=4, masked=0.25, mask_seed=3)
    data, net = subject.data, subject.net
    assert isinstance(data, MaskedText)
    assert data.chosen.sum(1).tolist() == [5] * 4
    assert "25 % of each masked at once (seed 3)" in subject.images
    frame = ensembles.lesion(net, data, metrics=("top1", "loss", "perplexity", "bits"))
    assert frame.attrs["provenance"]["task"] == "masked"
    assert (frame.attrs["provenance"]["masked"], frame["total"][0]) == (0.25, 20)
    model: Any = ensembles.load(masked)[0]
    layers = model.bert.encoder.layer
    parts = [part for one in layers for part in (one.attention.output, one.output)]
    inputs = data.windows.masked_fill(data.chosen, 3)
    right = data.windows[data.chosen]
    for row, part in enumerate([None, *parts]):
        handle = part and part.register_forward_hook(lambda m, i, out: m.LayerNorm(i[1]))
        with torch.no_grad():
            logits = model(inputs).logits[data.chosen]
        if handle:
            handle.remove()
        assert frame["correct"][row] == int((logits.argmax(-1) == right).sum())
        loss = nn.functional.cross_entropy(logits, right).item()
        assert frame["loss"][row] == pytest.approx(loss, abs=1e-5)


def test_masks_are_those_of_the_seed_whatever_part_is_taken(masked: str) -> None:
    data = open_subject(masked, window=20, front="[CLS]", masked=0.3).data
    assert isinstance(data, MaskedText)
    assert not data.chosen[:, 0].any()
    again = data.limited(3)
    rows = [i * len(data) // 3 for i in range(3)]
    assert torch.equal(again.chosen, data.chosen[rows])
    other = MaskedText(data, Masks(3, 0.3, seed=1))
    assert other.content_hash != data.content_hash
    assert not torch.equal(other.chosen, data.chosen)
    item = data[1]
    assert torch.equal(item["input_ids"] == 3, data.chosen[1])
    assert torch.equal(item["labels"] >= 0, data.chosen[1])
    assert data.bytes_per_token == data.sizes[data.chosen].double().mean()
    assert data.of_split("train").masks == data.masks


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "Llama"])
def test_texts_with_classes_are_counted_as_the_model_counts_them_one_by_one(
    kind: str, table: Path, tmp_path: Path
) -> None:
    name = classifier(kind, tmp_path)
    subject = open_subject(name, dataset=str(table))
    data, net = subject.data, subject.net
    assert isinstance(data, LabelledText)
    assert data.labels.tolist() == [1, 0, 1, 0, 1]  # as the model numbers the names
    assert data.cut == 0
    assert data.mask.sum(1).min() < data.ids.shape[1]
    assert net.input_names == ("input_ids", "attention_mask")
    frame = ensembles.lesion(net, data, batch_size=2)
    model: Any = ensembles.load(name)[0]
    loss, right = 0.0, 0
    for (inputs, label), size in zip(data, data.mask.sum(1), strict=True):
        with torch.no_grad():  # without any padding
            logits = model(inputs["input_ids"][None, :size]).logits
        right += int(logits.argmax()) == label
        loss += nn.functional.cross_entropy(logits, torch.tensor([label])).item() / 5
    assert (frame["correct"][0], frame["total"][0]) == (right, 5)
    assert frame["loss"][0] == pytest.approx(loss, abs=1e-5)
    direct = ensembles.lesion(net, data, engine="direct")
    assert frame["correct"].tolist() == direct["correct"].tolist()


def test_tables_of_every_kind_give_the_same_rows(table: Path, tmp_path: Path) -> None:
    name = classifier("Bert", tmp_path / "model")
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    wanted = ensembles.dataset(table, tokenizer=tokens, labels="label")
    lines = [f'"{text}",{label}' for text, label in TEXTS]
    (tmp_path / "wine.csv").write_text("\n".join(["body,kind", *lines]))
    found = open_subject(
        name, dataset=str(tmp_path / "wine.csv"), column="body", labels="kind", limit=3, window=8
    )
    assert isinstance(found.data, LabelledText)
    assert isinstance(wanted, LabelledText)
    assert "3 of up to 8 tokens" in found.images
    assert f"{found.data.cut} of them cut" in found.images
    assert wanted.ids[0].tolist() == tokens(TEXTS[0][0], padding="max_length", max_length=len(
        wanted.ids[0]))["input_ids"]  # fmt: skip
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"text": [t for t, _ in TEXTS], "label": [int(c == "red") for _, c in TEXTS]}
    pq.write_table(pa.table(columns), tmp_path / "wine.parquet")
    packed = ensembles.dataset(tmp_path / "wine.parquet", tokenizer=tokens, labels="label")
    assert isinstance(packed, LabelledText)
    assert packed.labels.tolist() == [1, 0, 1, 0, 1]
    assert torch.equal(packed.ids, wanted.ids)


def test_the_command_takes_both(masked: str, table: Path, tmp_path: Path) -> None:
    name = classifier("Bert", tmp_path)
    for options in (
        ["--model", masked, "--window", "16", "--limit", "2", "--masked", "0.2"],
        ["--model", name, "--dataset", str(table), "--metrics", "top1,loss,kl"],
    ):
        ran = CliRunner().invoke(command_line, ["lesion", *options, "--json"])
        assert ran.exit_code == 0, ran.output


def test_windows_with_padding_are_counted_without_it() -> None:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SMALL, num_key_value_heads=2)
    model = transformers.LlamaForCausalLM(config).eval()
    batch = {"input_ids": IDS * MASK, "attention_mask": MASK}
    net = ensembles.decompose(model, batch)
    frame = ensembles.lesion(net, [batch], [Delete((2,))], metrics=("top1", "loss", "places"))
    assert frame["total"].tolist() == [11 + 6 + 11 + 2] * 2
    assert frame["place_total"][0] == [4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 2]
    loss = 0.0
    for ids, size in zip(IDS, MASK.sum(1), strict=True):
        with torch.no_grad():
            logits = model(ids[None, :size]).logits[0, :-1]
        loss += nn.functional.cross_entropy(logits, ids[1:size], reduction="sum").item()
    assert frame["loss"][0] == pytest.approx(loss / 30, abs=1e-5)
    whole = ensembles.lesion(net, IDS, [], metrics=("loss",))["loss"][0]  # no mask: none is padding
    plain = ensembles.decompose(model, IDS)
    assert ensembles.lesion(plain, IDS, [])["loss"][0] == pytest.approx(whole, abs=1e-6)
    with_positions = {**batch, "position_ids": torch.arange(12).expand(4, 12)}
    net = ensembles.decompose(model, with_positions)
    assert ensembles.lesion(net, [with_positions], [])["loss"][0] == pytest.approx(loss / 30)
    with pytest.raises(
        DataError, match="taken apart for input_ids and attention_mask and position"
    ):
        ensembles.lesion(net, [batch], [])
    with pytest.raises(DataError, match="have zeros in attention_mask, and the network was"):
        ensembles.lesion(plain, [batch], [])


def test_padding_that_a_model_looks_for_among_the_ids_is_refused() -> None:
    config = transformers.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, vocab_size=50, pad_token_id=0, n_positions=20
    )
    net = ensembles.decompose(transformers.GPT2LMHeadModel(config).eval(), IDS)
    with pytest.raises(EvaluationError, match="pass attention_mask beside input_ids, by name, to"):
        net(IDS * MASK)


def ids_and_labels(**changes: Any) -> dict[str, Any]:
    masked = torch.arange(12) % 4 == 1
    labels = torch.where(masked, IDS, -100)
    return {"input_ids": torch.where(masked, 3, IDS), "labels": labels, **changes}


def test_data_of_a_collator_are_taken(masked: str) -> None:
    model: Any = ensembles.load(masked)[0]
    net = ensembles.decompose(model, IDS)
    batch = ids_and_labels()
    frame = ensembles.lesion(net, [batch], [], task="masked", metrics=("loss", "kl"))
    with torch.no_grad():
        wanted = model(**batch).loss.item()
    assert (frame["total"][0], frame["loss"][0]) == (12, pytest.approx(wanted, abs=1e-5))


@pytest.mark.parametrize(
    ("data", "task", "message"),
    [
        (IDS, None, "is an encoder: its answers at a place change with the tokens behind it"),
        ([ids_and_labels()], None, "labels that are not its input_ids.*say task='masked'"),
        (IDS, "masked", "has no labels; expected a mapping with input_ids, some of them masked"),
        ([ids_and_labels(labels=IDS * 0 - 100)], "masked", "has no label but -100"),
        ([ids_and_labels(labels=IDS[:, 1:])], "masked", r"has labels of whole .*\(4, 11\)"),
        ([{"ids": IDS}], "masked", "is a mapping with ids; expected one with input_ids"),
    ],
)
def test_data_that_do_not_suit_an_encoder(
    masked: str, data: Any, task: str | None, message: str
) -> None:
    net = ensembles.decompose(ensembles.load(masked)[0], IDS)
    with pytest.raises(DataError, match=message):
        ensembles.lesion(net, data, task=task)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"window": 41}, UsageError, "windows of 41 tokens, and hf:.* has 40 positions"),
        ({"masked": 1.5}, UsageError, "a share of 1.5 masked tokens; expected above 0, up to 1"),
        ({"labels": "x"}, UsageError, "is a language model: leave out --classes and --labels"),
    ],
)
def test_what_cannot_be_asked_of_a_masked_model(
    masked: str, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        open_subject(masked, **{"window": 16, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": None}, "is a classifier of texts, and no data are named; give a table of"),
        ({"dataset": "prose"}, "is a classifier of texts, and prose is a text without labels"),
        ({"stride": 3}, "is a classifier of whole texts: leave out --stride"),
        ({"labels": "kind"}, "has no column 'kind', only text, label; name .* by --labels"),
        ({"column": "body"}, "has no column 'body', only text, label; name .* by --column"),
        ({"masked": 0.5}, "is a classifier of whole texts: leave out --stride"),
    ],
)
def test_what_cannot_be_asked_of_a_classifier(
    options: dict[str, Any], message: str, table: Path, tmp_path: Path
) -> None:
    name = classifier("Bert", tmp_path)
    with pytest.raises(EnsemblesError, match=message) as caught:
        open_subject(name, **{"dataset": str(table), **options})
    assert "\n" not in str(caught.value)


def test_a_masked_model_without_a_mask_token(tmp_path: Path, folder_text: str = "prose") -> None:
    model = transformers.BertForMaskedLM(transformers.BertConfig(**SMALL))
    name = saved(model, tmp_path, mask=None)
    with pytest.raises(
        CheckpointError, match="its tokenizer names no mask token; expected mask_tok"
    ):
        open_subject(name, window=16, dataset=folder_text)
    decoder = ensembles.create_model("gpt6", num_classes=60, width=16, heads=2)
    assert isinstance(decoder(IDS), Tensor)
    with pytest.raises(UsageError, match="predicts the next token, not those behind masks"):
        open_subject("gpt12", window=16, limit=2, masked=0.2)


def test_objects_of_datasets_are_texts_and_labelled_texts(table: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    classifier("Bert", tmp_path)
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path)
    rows = {"text": [text for text, _ in TEXTS], "label": [kind for _, kind in TEXTS]}
    one = datasets.Dataset.from_dict(rows)
    both = datasets.DatasetDict({"train": one.select([0, 1]), "test": one})
    found = ensembles.dataset(both, tokenizer=tokens, labels="label")
    wanted = ensembles.dataset(table, tokenizer=tokens, labels="label")
    assert isinstance(found, LabelledText)
    assert isinstance(wanted, LabelledText)
    assert (found.split, found.content_hash) == ("test", wanted.content_hash)
    assert len(found.of_split("train")) == 2
    text = ensembles.dataset(one, window=8)
    assert bytes(text.windows[0].tolist()) == b"the digi"  # type: ignore[union-attr]
    masked = ensembles.dataset(both, "train", tokenizer=tokens, window=4, masked=0.5)
    assert isinstance(masked, MaskedText)
    with pytest.raises(DataError, match="has no column 'txt', only text, label; did you mean text"):
        ensembles.dataset(one, window=8, column="txt")
    with pytest.raises(DataError, match="the DatasetDict has no split 'other'; it has train, test"):
        ensembles.dataset(both, "other", window=8)
