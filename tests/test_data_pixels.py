"""What is done to images: our pixels are those of the libraries, and nothing is silent about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ensembles.cards import Card, card_text, parse_card
from ensembles.checkpoints import ImageChoice
from ensembles.checkpoints.pixel_records import (
    of_card,
    of_hugging_face,
    of_timm,
    of_torchvision,
    with_record,
    written,
)  # fmt: skip
from ensembles.data import Normalization, Preprocessing, dataset
from ensembles.data.decode import prepared
from ensembles.errors import CheckpointError, DataError, UsageError

SIZES = ((301, 260), (97, 333), (40, 30))


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


PICTURES = [noise(*size, seed=place) for place, size in enumerate(SIZES)]


def ours(how: Preprocessing, picture: Image.Image) -> Tensor:
    pixels = torch.from_numpy(prepared(picture, how).copy()).permute(2, 0, 1)
    assert how.normalization is not None
    return how.normalization(pixels)


def same(how: Preprocessing, theirs: Any, pictures: list[Image.Image] = PICTURES) -> bool:
    return all(torch.equal(ours(how, picture), theirs(picture)) for picture in pictures)


class TestLibraries:
    """Bit by bit what the library's own transform gives; records alone, no weights are fetched."""

    def test_all_weights_of_torchvision(self) -> None:
        from torchvision.models import get_model_weights, list_models

        known = {
            repr(transforms): transforms
            for name in list_models()
            for member in get_model_weights(name)
            if hasattr(transforms := member.transforms(), "crop_size")
            and type(transforms).__name__ == "ImageClassification"
        }
        assert len(known) > 20
        assert any("BICUBIC" in text for text in known)
        for text, transforms in known.items():
            how = of_torchvision(transforms)
            large = max(how.crop or ()) > 300
            assert same(how, transforms, PICTURES[2:] if large else PICTURES), text

    def test_a_sample_of_timm_with_every_mode(self) -> None:
        timm = pytest.importorskip("timm")
        names = timm.list_pretrained()
        chosen: dict[str, tuple[Preprocessing, dict[str, Any]]] = {}
        for name in names[:: max(1, len(names) // 100)]:
            config = timm.get_pretrained_cfg(name).to_dict()
            for test in (False, True):
                data = timm.data.resolve_data_config(pretrained_cfg=config, use_test_size=test)
                chosen[repr(data)] = of_timm(config, test=test), data
        assert len(chosen) > 30
        assert {how.crop_mode for how, _ in chosen.values()} == {"center", "squash"}
        for text, (how, data) in chosen.items():
            transform = timm.data.create_transform(**data, is_training=False)
            large = max(how.crop or ()) > 256
            assert same(how, transform, PICTURES[2:] if large else PICTURES[1:]), text

    @pytest.mark.parametrize("interpolation", ["nearest", "box", "hamming", "lanczos", "bicubic"])
    @pytest.mark.parametrize(
        ("mode", "size", "share"),
        [
            ("border", (3, 96, 96), 0.9), ("border", (3, 64, 96), 1.0),
            ("squash", (3, 64, 96), 0.8), ("center", (3, 64, 96), 0.875),
            ("center", (3, 96, 96), 1.15),
        ],
    )  # fmt: skip
    def test_what_no_record_of_today_says(
        self, mode: str, size: tuple[int, int, int], share: float, interpolation: str
    ) -> None:
        timm = pytest.importorskip("timm")
        data = {
            "input_size": size, "crop_pct": share, "crop_mode": mode, "mean": (0.9, 0.1, 0.5),
            "std": (0.2, 0.3, 0.4), "interpolation": interpolation,
        }  # fmt: skip
        transform = timm.data.create_transform(**data)
        if interpolation != "bilinear" and "interpolation=bilinear" in str(transform):
            pytest.skip("this version of timm leaves the interpolation out")
        assert same(of_timm(data), transform)

    @pytest.mark.parametrize(
        ("values", "sizes", "told"),
        [
            ({"image_processor_type": "ViTImageProcessor", "size": {"height": 64, "width": 48},
              "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
             (64, 48), "squashed to 64x48 (bilinear), normalised by 0.5,0.5,0.5/0.5,0.5,0.5"),
            ({"feature_extractor_type": "ViTFeatureExtractor", "size": 64, "resample": 2,
              "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
             (64, 64), "squashed to 64x64 (bilinear), normalised by 0.5,0.5,0.5/0.5,0.5,0.5"),
            ({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64},
              "crop_size": {"height": 56, "width": 56}, "do_center_crop": True, "resample": 3,
              "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
             (56, 56), "shorter side to 64 (bicubic), middle 56x56, normalised by imagenet"),
            ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224},
              "resample": 3, "do_normalize": False},
             (224, 224), "shorter side to 256 (bicubic), middle 224x224, normalised by none"),
            ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384},
              "crop_pct": 0.875, "resample": 3, "do_normalize": False},
             (384, 384), "squashed to 384x384 (bicubic), normalised by none"),
            ({"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 72},
              "resample": 2, "crop_size": 64, "do_flip_channel_order": True},
             (64, 64), "shorter side to 72 (bilinear), middle 64x64, blue first (BGR), normalised "
             "by none"),
            ({"image_processor_type": "EfficientNetImageProcessor", "do_resize": False,
              "rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False},
             (301, 260), "as they are, normalised by 0.5/0.5"),
        ],
    )  # fmt: skip
    def test_image_processors_of_hugging_face(
        self, values: dict[str, Any], sizes: tuple[int, int], told: str
    ) -> None:
        how = of_hugging_face(values)
        assert ours(how, PICTURES[0]).shape == (3, *sizes)
        assert str(how) == told

    def test_rescaling_by_a_factor_is_division_by_255(self) -> None:
        """Hugging Face multiplies float64 by 1 / 255; rounded, that is what others divide."""
        pixels = np.arange(256)
        theirs = (pixels.astype(np.float64) * 0.00392156862745098).astype(np.float32)
        assert np.array_equal(theirs, (torch.arange(256).float() / 255).numpy())

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (
                {"size": {"longest_edge": 20}, "resample": 2},
                "size is .*expected height and width, or shortest_edge",
            ),
            ({"size": 20, "resample": "cubic"}, "resample is 'cubic'; expected one of Pillow's"),
            ({"size": 20}, "resample is None; expected one of Pillow's"),
            ({"do_pad": True}, "asks for do_pad, which is not known here"),
            ({"image_processor_type": "PerceiverImageProcessor"}, "asks for perceiver"),
        ],
    )
    def test_unknown_processors_are_refused(self, values: dict[str, Any], message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            of_hugging_face(values)

    def test_blue_first_and_grey(self) -> None:
        plain, whole = Preprocessing(), Normalization.parse("none")
        rgb = ours(replace(plain, normalization=whole), PICTURES[2])
        bgr = ours(replace(plain, colours="bgr", normalization=whole), PICTURES[2])
        assert torch.equal(bgr, rgb.flip(0)) and not torch.equal(bgr, rgb)
        grey = prepared(PICTURES[2], replace(plain, colours="grey"))
        assert np.array_equal(grey[..., 0], np.asarray(PICTURES[2].convert("L")))


def folder(path: Path, count: int = 2) -> Path:
    for name in ("a", "b"):
        (path / name).mkdir(parents=True)
        for place in range(count):
            noise(60, 70 + place, seed=place).save(path / name / f"{place}.png")
    return path


class TestIdentity:
    def test_results_of_version_1_are_found_again(self) -> None:
        assert Preprocessing().identity == "None"
        assert Preprocessing.of_size((256, 224)).identity == "(256, 224)"
        assert Preprocessing.of_size(64).identity == "(64, 64)"

    def test_other_pixels_have_another_hash(self, tmp_path: Path) -> None:
        images, start = folder(tmp_path / "x"), Preprocessing.of_size((56, 48))
        variants = [
            start,
            start.changed(interpolation="bicubic"),
            start.changed(crop_mode="squash"),
            start.changed(crop_mode="border"),
            replace(start, crop_mode="border", fill=(1, 2, 3)),
            start.changed(colours="bgr"),
            start.changed(colours="grey"),
            start.changed(crop=40),
            start.changed(resize="57x56"),
        ]
        hashes = {dataset(images, preprocessing=how).content_hash for how in variants}
        assert len(hashes) == len(variants)
        small = [dataset("digits", limit=3, preprocessing=how).content_hash for how in variants]
        assert len(set(small)) == len(variants)

    def test_a_cache_is_of_one_preprocessing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ENSEMBLES_CACHE", str(tmp_path / "cache"))
        images, start = folder(tmp_path / "x"), Preprocessing.of_size((30, 28))
        first = dataset(images, preprocessing=start).raw()[0]
        second = dataset(images, preprocessing=start.changed(interpolation="bicubic")).raw()[0]
        assert not torch.equal(first, second)
        assert torch.equal(dataset(images, preprocessing=start).raw()[0], first)

    def test_other_splits_are_made_alike(self, tmp_path: Path) -> None:
        folder(tmp_path / "x" / "train")
        folder(tmp_path / "x" / "test")
        how = Preprocessing.of_size((56, 48)).changed(interpolation="bicubic", colours="bgr")
        data = dataset(tmp_path / "x", preprocessing=how)
        other = data.of_split("train")
        assert data.limited(1).taken([0]).preprocessing == other.preprocessing == data.preprocessing
        assert torch.equal(other[0][0], data[0][0])


class TestRecords:
    def test_a_card_holds_all_of_it(self) -> None:
        how = Preprocessing(
            (300, 280), (224, 192), "lanczos", "border", "bgr", (9, 8, 7),
            Normalization.parse("cifar10"),
        )  # fmt: skip
        test = replace(how, resize=(400, 380))
        card = Card("a", "resnet20", 10, normalization="cifar10", preprocessing=written(how, test))
        again = parse_card(card_text(card))
        assert of_card(again) == how and of_card(again, test=True) == test
        assert of_card(Card("a", "resnet20", 10)) == Preprocessing()

    @pytest.mark.parametrize(
        "values",
        [
            {"interpolation": "cubic"}, {"crop": "large"}, {"resize": [1, 2, 3.5]}, {"crop": 0},
            {"crop_mode": "middle"}, {"resize": []}, {"fill": [1]}, {"fill": [1, 2, 256]},
            {"colours": 3}, {"resize": 10**9},
        ],
    )  # fmt: skip
    def test_a_card_that_cannot_be_meant_is_refused(self, values: dict[str, Any]) -> None:
        with pytest.raises(CheckpointError, match="card of 'a': preprocessing: "):
            of_card(Card("a", "resnet20", 10, preprocessing=values))

    def test_records_beside_the_weights(self, tmp_path: Path) -> None:
        card, weights = Card("a", "resnet20", 10), tmp_path / "model.safetensors"
        assert with_record(card, weights) == card
        config = tmp_path / "config.json"
        config.write_text(
            '{"pretrained_cfg": {"input_size": [3, 176, 176], "test_input_size": [3, 224, 224],'
            '"test_crop_pct": 0.95, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5]}}'
        )
        found = with_record(card, weights)
        assert of_card(found).crop == (176, 176) and of_card(found).resize == (201, 201)
        assert of_card(found, test=True).resize == (235, 235)
        assert found.normalization == "0.5,0.5,0.5/0.229,0.224,0.225"
        shared = tmp_path / "processor_config.json"
        shared.write_text(
            '{"image_processor": {"size": 48, "resample": 2}, "processor_class": "X"}'
        )
        assert of_card(with_record(card, weights)).resize == (48, 48)
        beside = tmp_path / "preprocessor_config.json"
        beside.write_text(
            '{"size": 64, "crop_size": 56, "resample": 2, "image_mean": [0.5], "image_std": [0.5]}'
        )
        assert of_card(with_record(card, weights)).resize == (64, 64)
        assert with_record(replace(card, normalization="none"), weights).preprocessing == {}

    @pytest.mark.parametrize(
        "text",
        [
            "[]", "{", "", "null", '{"size": "a"}', '{"size": 2.5}', '{"size": true}',
            '{"size": []}',
            '{"size": {"height": "a", "width": []}}', '{"size": {"shortest_edge": null}}',
            '{"size": 64, "crop_size": [1], "do_center_crop": true}', '{"size": 1000000}',
            '{"image_mean": "abc", "image_std": [1]}', '{"image_mean": [0.5]}',
            '{"image_mean": [0.5], "image_std": [0]}', '{"image_mean": [0.5], "image_std": [null]}',
            '{"rescale_factor": 0}', '{"rescale_factor": "x"}', '{"resample": 6}',
            '{"resample": "cubic"}', '{"size": ' + "[" * 3000 + "]" * 3000 + "}",
        ],
    )  # fmt: skip
    def test_a_record_that_cannot_be_meant_is_refused_in_a_line(
        self, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "preprocessor_config.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"preprocessor_config\.json") as caught:
            with_record(Card("a", "resnet20", 10), tmp_path / "model.safetensors")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "config",
        [
            '{"input_size": 3}', '{"crop_pct": "a"}', '{"crop_pct": -1}', '{"mean": 3}',
            '{"interpolation": "random"}', '{"interpolation": ["bicubic"]}', '{"crop_mode": "x"}',
            '{"input_size": [3, 1e9, 5]}', '{"std": [0, 0, 0]}',
        ],
    )  # fmt: skip
    def test_so_is_one_of_timm(self, tmp_path: Path, config: str) -> None:
        (tmp_path / "config.json").write_text(f'{{"pretrained_cfg": {config}}}')
        with pytest.raises(CheckpointError, match=r"config\.json: what it says of images cannot"):
            with_record(Card("a", "resnet20", 10), tmp_path / "model.safetensors")


class TestChoice:
    CARD = Card(
        "a", "resnet20", 10, normalization="imagenet",
        preprocessing={"resize": 201, "crop": 176, "interpolation": "bicubic",
                       "test_resize": 235, "test_crop": 224},
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("asked", "pixels"),
        [
            ({}, "shorter side to 201 (bicubic), middle 176x176"),
            ({"test_size": True}, "shorter side to 235 (bicubic), middle 224x224"),
            ({"image_size": "256,224"}, "shorter side to 256 (bicubic), middle 224x224"),
            ({"image_size": 64}, "shorter side to 64 (bicubic), middle 64x64"),
            ({"resize": "256"}, "shorter side to 256 (bicubic), middle 176x176"),
            ({"resize": 256, "crop": "none"}, "shorter side to 256 (bicubic)"),
            ({"resize": "none", "crop": "none"}, "as they are"),
            ({"interpolation": "Bilinear"}, "shorter side to 201 (bilinear), middle 176x176"),
            ({"crop_mode": "squash"}, "squashed to 201x201 (bicubic), middle 176x176"),
            ({"crop_mode": "border"}, "fitted with borders into 201x201 (bicubic), middle 176x176"),
            (
                {"resize": "300x200", "crop": "200x180"},
                "to cover 300x200 (bicubic), middle 200x180",
            ),
            ({"colours": "bgr"}, "shorter side to 201 (bicubic), middle 176x176, blue first (BGR)"),
        ],
    )
    def test_overrides(self, asked: dict[str, Any], pixels: str) -> None:
        assert ImageChoice(**asked).preprocessing(self.CARD).pixels == pixels

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"crop": 224}, r"crop 224x224 is larger than images resized to 201x201; give both"),
            ({"resize": "big"}, r"resize 'big'; expected a side in pixels as 256"),
            ({"resize": "1x2x3"}, r"resize '1x2x3'; expected"),
            ({"resize": "-3"}, r"resize '-3'; expected"),
            ({"crop": 0}, r"crop 0x0: expected sides of 1 to"),
            ({"resize": 10**6}, r"resize 1000000x1000000: expected sides of 1 to 32,768"),
            ({"image_size": "a"}, r"image size 'a'; expected a side in pixels as 224"),
            ({"image_size": "224,256"}, r"resize not below crop"),
            ({"image_size": 64, "crop": 32}, r"image size gives both sizes; expected it alone"),
            ({"interpolation": "bicubc"}, r"interpolation 'bicubc'; .*did you mean bicubic"),
            ({"crop_mode": "centre"}, r"crop mode 'centre'; expected center, .*mean center"),
            ({"colours": "cmyk"}, r"colours 'cmyk'; expected rgb, bgr, grey"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_meant(self, asked: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            ImageChoice(**asked).preprocessing(self.CARD)

    def test_a_network_of_one_channel_gets_grey_images(self) -> None:
        card = Card("a", "resnet20", 10, arguments={"in_channels": 1}, normalization="mnist")
        data = dataset("digits", limit=3, preprocessing=ImageChoice().preprocessing(card))
        assert data.shape == (1, 32, 32) and data.preprocessing.pixels == "grey"
        own = dataset("digits", limit=3, normalize="mnist")
        assert torch.equal(data[1][0], own[1][0][:1])
        assert ImageChoice(colours="rgb").preprocessing(card).channels == 3

    def test_what_would_have_no_effect_is_refused(self) -> None:
        bare = Card("a", "resnet20", 10)
        with pytest.raises(UsageError, match="record of a names no other size for testing"):
            ImageChoice(test_size=True).preprocessing(bare)

        def digits(how: Preprocessing) -> Any:
            return dataset("digits", limit=3, preprocessing=how)

        for choice in (ImageChoice(interpolation="bicubic"), ImageChoice(crop_mode="squash")):
            with pytest.raises(UsageError, match="are for images that are resized, and these"):
                choice.opened(bare, "digits", digits)
        choice = ImageChoice(resize=40, crop=32, interpolation="bicubic")
        assert choice.opened(bare, "digits", digits).preprocessing.interpolation == "bicubic"

    def test_borders_have_the_mean_colour(self) -> None:
        how = ImageChoice(crop_mode="border", normalize="0.1,0.5,1/1,1,1").preprocessing(self.CARD)
        assert how.fill == (26, 128, 255)

    def test_one_line_says_what_is_done_and_who_says_so(self) -> None:
        data = dataset("digits", limit=3)
        bare = Card("a", "resnet20", 10)
        line = ImageChoice().told(bare, data)
        assert line == (
            "images: as they are, normalised by digits (the data set's own, as the weights say "
            "nothing; --normalize names another)"
        )
        assert ImageChoice(normalize="digits").told(bare, data).endswith("by digits (as asked)")
        line = ImageChoice().told(self.CARD, data)
        assert "as the weights' record says; --test-size takes the record's other size" in line

    def test_rows_with_the_values_of_pixels_are_told_of(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=np.array([[0.0, 0.25], [1.0, 0.5]]), y=[0, 1])
        line = ImageChoice().told(self.CARD, dataset(tmp_path / "a.npz"))
        assert line.endswith(
            "a.npz: 2 each, values 0 to 1, taken as they are; nothing is normalised, though the "
            "weights' record says imagenet"
        )

    def test_a_folder_without_a_normalisation_is_refused(self, tmp_path: Path) -> None:
        images, bare = folder(tmp_path / "x"), Card("a", "resnet20", 10)

        def opened(choice: ImageChoice) -> Any:
            return choice.opened(
                bare,
                str(images),
                lambda how: dataset(images, image_size=32, normalize=how.normalization),
            )

        with pytest.raises(
            UsageError, match=r"no normalisation is known: the weights a .*none \(p"
        ):
            opened(ImageChoice())
        assert str(opened(ImageChoice(normalize="none")).normalization) == "none"
        with pytest.raises(DataError, match="there is no folder"):
            ImageChoice().opened(bare, "no/where", lambda how: dataset("no/where"))
