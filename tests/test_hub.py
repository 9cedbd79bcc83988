"""Models of Hugging Face: from a folder with their tokenizer; and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ensembles
from ensembles.checkpoints import edited_model, hub, open_subject, write_network
from ensembles.checkpoints.files import file_sha256
from ensembles.decomposition.outputs import answer_of
from ensembles.errors import (
    CheckpointError,
    DataError,
    EnsemblesError,
    LesionError,
    ModelError,
    OutputError,
    UsageError,
)
from ensembles.lesions import Delete, Scale

IDS = torch.randint(0, 60, (2, 12), generator=torch.Generator().manual_seed(0))


class Wrapped(nn.Module):
    """A small language model whose logits come in whatever a test asks for."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.inner = ensembles.create_model("gpt6", num_classes=60, width=16, heads=2)
        self.wrap = wrap

    def forward(self, ids: Tensor) -> Any:
        return self.wrap(self.inner(ids))


class Record:
    """An object with logits and nothing else."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (lambda x: x, ""),
        (lambda x: {"loss": None, "logits": x}, "logits"),
        (lambda x: {"hidden": x * 2, "logits": x}, "logits"),
        (lambda x: (x.argmax(-1), x), "2"),
        (lambda x: {"ids": x.argmax(-1), "scores": x}, "scores"),
        (Record, "logits"),
    ],
)
def test_logits_are_found_in_what_a_model_gives(wrap: Any, name: str) -> None:
    torch.manual_seed(0)
    model = Wrapped(wrap)
    net = ensembles.decompose(model, IDS)
    assert net.answer == name
    assert len(net) == 6
    assert torch.allclose(net(IDS), model.inner(IDS), atol=1e-5)


def test_what_holds_no_logits_is_refused() -> None:
    assert answer_of({"a": 3}, 2) == ("", {"a": 3})
    with pytest.raises(EnsemblesError, match="returns a dict; expected logits of shape"):
        ensembles.decompose(Wrapped(lambda x: {"ids": x.argmax(-1)}), IDS)


def test_missing_packages_are_named_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    for name, message in (
        (
            "hf:x",
            r"needs transformers and tokenizers, .* pip install 'residual-ensembles\[hf\]",
        ),
        (
            "smollm2-135m",
            r"transformers and gguf .* accelerate, not installed .* 'residual-ensembles\[lm\]",
        ),
    ):
        with pytest.raises(ModelError, match=message):
            ensembles.load(name)


# With transformers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with the tokenizer of a few words, as a folder of the hub."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    place = tmp_path_factory.mktemp("hub") / "tiny"
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["the data set of the digits and the wine"] * 4, trainer)
    transformers.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(place)
    config = transformers.LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(place)
    return place


def test_a_folder_is_a_model_with_its_text(folder: Path) -> None:
    subject = open_subject(f"hf:{folder}", window=24, limit=3)
    assert subject.net.names == tuple(
        f"model.layers.{layer}.{part}" for layer in range(2) for part in ("self_attn", "mlp")
    )
    assert subject.card.num_classes == 320
    assert len(subject.card.sha256) == 64
    frame = ensembles.lesion(
        subject.net, subject.data, metrics=("top1", "loss", "bits", "places", "kl")
    )
    model, _ = ensembles.load(f"hf:{folder}")
    ids = subject.data.windows  # type: ignore[union-attr]
    for row, layer in enumerate((None, *model.model.layers)):  # type: ignore[union-attr, operator]
        handle = None
        if layer is not None:
            handle = layer.mlp.register_forward_hook(lambda m, i, out: out * 0)
        with torch.no_grad():
            logits = model(ids).logits[:, :-1].flatten(0, 1)
        if handle is not None:
            handle.remove()
        wanted = frame.iloc[2 * row]
        right = int((logits.argmax(-1) == ids[:, 1:].flatten()).sum())
        assert wanted["correct"] == right
        loss = nn.functional.cross_entropy(logits, ids[:, 1:].flatten()).item()
        assert wanted["loss"] == pytest.approx(loss, abs=1e-5)
        assert sum(wanted["place_correct"]) == right
        assert wanted["place_total"] == [3] * 23
        assert sum(wanted["place_loss"]) / 23 == pytest.approx(loss, abs=1e-5)
        size = subject.data.bytes_per_token  # type: ignore[union-attr]
        assert wanted["bits"] == pytest.approx(loss / 0.6931471805599453 / size, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"window": 65}, UsageError, "windows of 65 tokens, and hf:.* has 64 positions"),
        ({"window": 16, "normalize": "none"}, UsageError, "takes text: leave out --norm"),
        ({"window": 16, "front": "notatoken"}, UsageError, "'notatoken' is no token of hf:"),
        ({"window": 16, "dataset": "digitz"}, DataError, "no text or file 'digitz'"),
        (
            {"window": 16, "dataset": "digits"},
            DataError,
            "digits holds images, and hf:.* is a lang",
        ),
    ],
)
def test_what_cannot_be_asked_of_a_language_model(
    folder: Path, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        open_subject(f"hf:{folder}", **options)


def test_a_tokenizer_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="a vocabulary of 40: they do not belong together"):
        open_subject(f"hf:{tmp_path}", window=16)


def test_a_model_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if not file.name.startswith(("tokenizer", "special")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match="has no tokenizer beside its weights; expected tok"):
        open_subject(f"hf:{tmp_path}", window=16)


def test_a_text_for_random_weights_of_a_network_of_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("some words")
    with pytest.raises(DataError, match=r"words.txt is a text, and resnet20 takes images"):
        open_subject("resnet20", "random", dataset=str(tmp_path / "words.txt"))


def test_code_that_comes_with_a_model_is_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('this must never run')")
    with pytest.raises(CheckpointError, match="code that comes with a model is never run"):
        ensembles.load(f"hf:{tmp_path}")
    with pytest.raises(ModelError, match=r"there is no folder '\./nowhere'; expected hf:FOLDER"):
        ensembles.load("hf:./nowhere")
    with pytest.raises(UsageError, match="comes with its weights; leave out --checkpoint"):
        ensembles.load(f"hf:{folder}", "x")


def test_an_image_classifier_with_its_record(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=8, num_labels=10,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    record = {"do_resize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(record))
    subject = open_subject(f"hf:{tmp_path}", dataset="digits", limit=4)
    assert len(subject.net) == 4
    assert "normalised by 0.5" in subject.images
    frame = ensembles.lesion(subject.net, subject.data, [Delete((1,))])
    assert frame["total"].tolist() == [4, 4]
    with pytest.raises(DataError, match=r"prose is a text, and hf:.* takes images"):
        open_subject(f"hf:{tmp_path}", dataset="prose")


@pytest.mark.parametrize(
    ("blocks", "layers"), [((1, 2), 1), ((3,), 2), ((1, 2, 4), 1), ((2, 3), 2)]
)
def test_deleted_blocks_are_written_for_other_tools(
    folder: Path, tmp_path: Path, blocks: tuple[int, ...], layers: int
) -> None:
    transformers = pytest.importorskip("transformers")
    subject = open_subject(f"hf:{folder}", window=16, limit=3)
    out = write_network(subject, Delete(blocks), tmp_path / "edited")
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert model.config.num_hidden_layers == layers
    ids = subject.data.windows  # type: ignore[union-attr]
    with torch.no_grad():
        wanted = subject.net.lesioned(Delete(blocks))(ids)
        assert torch.allclose(model(ids).logits, wanted, atol=1e-5)
        assert model(ids[:, :5]).logits.shape == (3, 5, 320)  # windows of any length
    assert transformers.AutoTokenizer.from_pretrained(out).vocab_size <= 320
    again = open_subject(f"hf:{out}", window=16, limit=3)
    assert len(again.net) == 2 * layers
    with pytest.raises(OutputError, match="is there already; expected a new or an empty folder"):
        write_network(subject, Delete((1,)), out)
    with pytest.raises(LesionError, match="can be written with blocks deleted; expected a delet"):
        write_network(subject, Scale((1,), 0.5), tmp_path / "scaled")


@pytest.mark.parametrize("handed", ["edited", "lesioned"])
def test_lm_eval_takes_a_lesioned_model(
    folder: Path, handed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = pytest.importorskip("lm_eval.models.huggingface")
    transformers = pytest.importorskip("transformers")
    subject = open_subject(f"hf:{folder}", window=16, limit=2)
    model, _ = ensembles.load(f"hf:{folder}")
    ids = subject.data.windows  # type: ignore[union-attr]
    tokens = transformers.AutoTokenizer.from_pretrained(folder, pad_token="!", eos_token="!")
    made: Any = (
        edited_model(model, subject.net, Delete((1,)), ids)
        if handed == "edited"
        else subject.net.lesioned(Delete((1,)))
    )
    judge = models.HFLM(pretrained=made, tokenizer=tokens, backend="causal", batch_size=2)
    asked = [(("", ""), window[:1].tolist(), window[1:].tolist()) for window in ids]
    found = judge._loglikelihood_tokens(asked, disable_tqdm=True)
    texts = [("the data", " set of"), ("the digits of", " the wine and the data")]
    lines = [json.dumps({"front": front, "rest": rest}) for front, rest in texts]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    own = pytest.importorskip("lm_eval.api.task").ConfigurableTask(config={
        "task": "own", "dataset_path": "json", "test_split": "test",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "own.jsonl")}},
        "output_type": "loglikelihood", "doc_to_text": "{{front}}", "doc_to_target": "{{rest}}",
        "target_delimiter": "", "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    })  # fmt: skip
    results = pytest.importorskip("lm_eval").simple_evaluate(
        model=judge, tasks=[own], log_samples=False, bootstrap_iters=0, random_seed=None,
        numpy_random_seed=None, torch_random_seed=None, fewshot_random_seed=None,
    )["results"]["own"]  # fmt: skip
    told = 0.0
    for front, rest in texts:
        begun, both = (
            tokens(text, return_tensors="pt")["input_ids"] for text in (front, front + rest)
        )
        with torch.no_grad():
            logits = made(both).logits[0, :-1].log_softmax(-1)
        each = logits.gather(-1, both[0, 1:, None])[:, 0]
        told -= float(each[begun.shape[1] - 1 :].sum()) / 2
    assert math.log(results["perplexity,none"]) == pytest.approx(told, abs=1e-4)
    frame = ensembles.lesion(subject.net, subject.data, [Delete((1,))])
    mean = -sum(float(one[0]) for one in found) / (2 * 15)
    assert mean == pytest.approx(frame["loss"][1], abs=1e-5)


@pytest.fixture
def cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's own cache with one model in it, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    place = tmp_path / "models--own--tiny"
    shutil.copytree(folder, place / "snapshots" / ("ab" * 20))
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("ab" * 20)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return place / "snapshots" / ("ab" * 20)


def test_a_name_of_the_hub_is_its_folder_in_the_cache(folder: Path, cache: Path) -> None:
    subject, own = (open_subject(f"hf:{one}", window=16, limit=2) for one in ("own/tiny", folder))
    assert subject.card.name == "tiny"
    assert subject.card.source == f"own/tiny@{'ab' * 20}"
    assert subject.card.architecture == "hf:own/tiny"
    assert subject.card.sha256 == own.card.sha256 == file_sha256(folder / "model.safetensors")
    assert subject.data.content_hash == own.data.content_hash


@pytest.mark.parametrize(
    ("name", "lost", "message"),
    [
        ("hf:own/none", None, "is not in the hub's cache, and cannot be fetched: .* name a folder"),
        ("hf:own/tiny", "model.safetensors", "model 'hf:own/tiny' is not in the hub's cache"),
        ("hf:own/tiny", "config.json", "model 'hf:own/tiny' is not in the hub's cache"),
        ("hf:a/b/c", None, "there is no folder 'a/b/c'; expected hf:FOLDER with config.json"),
        ("hf:", None, "there is no folder ''; expected hf:FOLDER"),
    ],
)
def test_names_that_cannot_be_had(name: str, lost: str | None, message: str, cache: Path) -> None:
    if lost is not None:
        (cache / lost).unlink()
    with pytest.raises(EnsemblesError, match=message) as caught:
        ensembles.load(name)
    assert "\n" not in str(caught.value)
    assert "An error happened" not in str(caught.value) and "Got:" not in str(caught.value)


def test_a_first_look_takes_few_windows_and_says_so(folder: Path) -> None:
    whole = open_subject(f"hf:{folder}", dataset="prose", window=24)
    assert whole.labels == ""
    few = open_subject(f"hf:{folder}", window=24)
    assert len(few.data) == 4 < len(whole.data)
    assert few.labels == f"4 of {len(whole.data)} windows, evenly spread: --limit takes more"
    own = open_subject("gpt12", window=24)
    assert len(own.data) > 4
