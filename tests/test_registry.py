from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ensembles.errors import ModelError
from ensembles.models import architecture, create_model, list_models, registry

PARAMETERS = {
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
}


def refusal(name: str, **arguments: object) -> str:
    with pytest.raises(ModelError) as caught:
        create_model(name, **arguments)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def no_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_timm_installed", lambda: False)


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameters(name: str, count: int) -> None:
    assert sum(p.numel() for p in create_model(name).parameters()) == count


def test_other_names_lead_to_the_same_network() -> None:
    assert architecture("inception_v1").name == "googlenet"
    assert architecture("inception_v2").name == "bn_inception"


def test_public_weights_are_those_that_the_library_states() -> None:
    weights = architecture("resnet50").public_weights
    assert [one.name for one in weights] == ["IMAGENET1K_V1", "IMAGENET1K_V2"]
    assert [one.error for one in weights] == [23.87, 19.142]
    assert architecture("resnet110").public_weights == ()


def test_public_weights_of_timm_have_the_error_of_its_results() -> None:
    pytest.importorskip("timm")
    (weights,) = architecture("inception_v4").public_weights
    assert weights == ("inception_v4.tf_in1k", 19.844)
    assert architecture("resnet200").public_weights == ()
    assert {one.error for one in architecture("timm:test_resnet").public_weights} == {None}


def test_published_errors_stand_beside_weights_whose_error_is_stated() -> None:
    pytest.importorskip("timm")
    for name in registry.LIBRARY_ROWS:
        entry = architecture(name)
        for weights in entry.public_weights:
            assert weights.name
            assert weights.error is not None, (name, weights)


def test_errors_of_timm_are_those_of_weights_that_there_are() -> None:
    timm = pytest.importorskip("timm")
    for tagged in registry.TIMM_ERRORS:
        assert timm.get_pretrained_cfg(tagged).has_weights


def test_families() -> None:
    assert architecture("resnet50").family == architecture("resnet110").family == "resnet"
    assert architecture("vit_b_16").family == "vision_transformer"
    assert architecture("resnet20-bn-after-add").family == "identity-mappings"
    assert architecture("highway19").family == "highway"


def test_own_names_win_over_torchvision() -> None:
    assert architecture("resnet110").library == "ensembles"
    assert architecture("resnet50").library == "torchvision"
    assert architecture("resnet26").library == "timm"


@pytest.mark.parametrize(
    ("name", "library", "canonical"),
    [
        ("timm:resnet50", "timm", "timm:resnet50"),
        ("timm:resnet26", "timm", "resnet26"),
        ("torchvision:resnet50", "torchvision", "resnet50"),
        ("ensembles:vgg15", "ensembles", "vgg15"),
    ],
)
def test_prefixes_force_a_library(name: str, library: str, canonical: str) -> None:
    entry = architecture(name)
    assert (entry.library, entry.name) == (library, canonical)
    assert architecture(entry.name) == entry or architecture(entry.name).library == library


def test_every_listed_own_and_torchvision_name_leads_to_itself() -> None:
    names = [*list_models("ensembles"), *list_models("torchvision")]
    assert len(list_models("torchvision")) == 80
    assert len(set(list_models())) == len(list_models())
    for name in names:
        assert architecture(name).name == name


def test_default_number_of_classes() -> None:
    assert architecture("vgg15").num_classes == 10
    assert architecture("alexnet").num_classes == 1000
    assert create_model("resnet20").get_submodule("linear").out_features == 10
    assert create_model("squeezenet1_1").get_submodule("classifier.1").out_channels == 1000


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 1000), st.sampled_from(["resnet20", "preresnet20", "vgg15", "resnet20_b"]))
def test_any_number_of_classes(classes: int, name: str) -> None:
    model = create_model(name, classes).eval()
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, classes)


@pytest.mark.parametrize(
    ("name", "size"), [("inception_v3", 299), ("vit_h_14", 224), ("resnet50", 224)]
)
def test_input_size_is_what_the_untrained_model_takes(name: str, size: int) -> None:
    assert architecture(name).input_size == (3, size, size)


def test_a_misspelt_name_gets_the_nearest() -> None:
    assert "unknown model 'rsnet110'; did you mean resnet110" in refusal("rsnet110")
    assert refusal("vgg51").startswith("unknown model 'vgg51'")
    assert "did you mean fractalnet20" in refusal("fractal")
    assert "did you mean resnet110?" in refusal("ensembles:RESNET110")


def test_another_depth_says_which_there_are() -> None:
    assert "; preresnet has 20, 32, 44, 56, 110, 164, 200 or 1001 layers" in refusal("preresnet111")
    assert "; resnet has 18, 20, " in refusal("resnet999")
    own = "; resnet has 20, 32, 44, 56, 110, 164 or 1202 layers; did"
    assert own in refusal("ensembles:resnet999")
    assert "; there are resnet18, resnet34, resnet50, resnet101 and resnet152; did" in refusal(
        "torchvision:resnet51"
    )
    message = refusal("resnet111-conv-shortcut")
    assert "; resnetN-conv-shortcut has 20, 32, 44, 56, 110 or 164 layers" in message
    assert "did you mean resnet110-conv-shortcut" in message
    for name in ("wrn-28-11", "wrn29-10", "WRN_29_10"):
        assert "; there are wrn-16-8, wrn-28-10 and wrn-40-4" in refusal(name)
    assert "layers" not in refusal("lenet6")


def test_a_name_like_no_other_is_told_where_the_names_are() -> None:
    assert refusal("xx") == "unknown model 'xx'; `ensembles models` lists those of the literature"


def test_unknown_library() -> None:
    assert "unknown library 'tv'; there are ensembles, torchvision and timm" in refusal(
        "tv:alexnet"
    )
    with pytest.raises(ModelError, match="unknown library 'tv'"):
        list_models("tv")


def test_timm_missing_says_how_to_install_it(no_timm: None) -> None:
    assert "pip install 'residual-ensembles[timm]'" in refusal("timm:resnet26")
    assert "if it is one of timm's, timm is not installed" in refusal("resnet26x")
    assert list_models("timm") == []


def test_unknown_timm_tag() -> None:
    assert refusal("resnet26.nonsense").startswith("unknown model 'resnet26.nonsense'")


@pytest.mark.parametrize("classes", [0, -3, True, 1.5, "10"])
def test_classes_must_be_a_positive_number(classes: object) -> None:
    assert refusal("resnet20", num_classes=classes).endswith(f"got num_classes={classes!r}")


def test_unknown_argument_is_named() -> None:
    message = refusal("resnet20", shortcuts="B")
    assert message.startswith("model 'resnet20' cannot be built with (shortcuts='B')")


@pytest.mark.parametrize("argument", ["weights", "pretrained"])
def test_weights_are_loaded_elsewhere(argument: str) -> None:
    assert "use load('resnet50', checkpoint='imagenet')" in refusal(
        "resnet50", **{argument: "DEFAULT"}
    )


def test_projection_shortcuts_differ_at_the_transitions_alone() -> None:
    plain, projected = create_model("resnet20"), create_model("resnet20_b")
    more = set(projected.state_dict()) - set(plain.state_dict())
    assert {key.rpartition(".")[0] for key in more} == {
        f"layer{stage}.0.shortcut.{part}" for stage in (2, 3) for part in (0, 1)
    }
    assert set(plain.state_dict()) < set(projected.state_dict())


def test_import_is_light() -> None:
    code = (
        "import sys, ensembles.models as m; m.create_model('resnet20')\n"
        "print(*sorted({'torchvision', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == ""
