import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from anychan.errors import ChannelError, ConfigError, ContractError, RunError
from anychan.models.catalog import create_model
from anychan.models.pretrained import load, model_digest, save
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig
from anychan.training.build import build_model, load_images, start_warnings, with_network
from anychan.training.fit import fit
from tests.sensors import write_sensor

BANDS = {"b1": 480, "b2": 560, "b3": 660, "b4": 830}
FREEZE: dict[str, Any] = {"freeze": ["stem", "body"]}


def recipe(data: Path, **model: Any) -> Recipe:
    """A run of two steps on a sensor's images; a model that is not named is resnet8 or the one to begin from."""
    train = TrainConfig(epochs=2, batch_size=8, lr=0.05, precision="float32")
    splits: dict[str, Any] = {"val_fraction": 0.25, "test_fraction": 0.25}
    return Recipe(DataConfig(path=str(data), size=8, **splits), ModelConfig(**model), train)


def with_train(found: Recipe, **train: Any) -> Recipe:
    return dataclasses.replace(found, train=dataclasses.replace(found.train, **train))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on four bands, whose folders are the classes dark and light."""
    folder = tmp_path_factory.mktemp("base")
    write_sensor(folder / "data", list(BANDS), wavelengths=BANDS)
    fit(recipe(folder / "data", name="baseline_cnn", stem="mean"), folder / "run")
    return folder


@pytest.fixture
def other(base: Path, tmp_path: Path) -> Path:
    """Images of a band less and a band more, and of other classes."""
    known = {"b4": BANDS["b4"], "b9": 2200, "b1": BANDS["b1"], "b2": BANDS["b2"]}
    folder = write_sensor(tmp_path / "other", list(known), wavelengths=known, offset=70)
    (folder / "light").rename(folder / "bright")
    return folder


def test_default_network(base: Path) -> None:
    assert with_network(recipe(base)).model == ModelConfig("resnet8")
    assert with_network(recipe(base, name="resnet18")).model.name == "resnet18"
    with pytest.raises(ConfigError, match="no model is called 'resnet7'"):
        with_network(recipe(base, name="resnet7"))


def test_network_comes_from_the_saved_model(base: Path, tmp_path: Path) -> None:
    save(create_model("resnet18", num_classes=4, stem="expansion", options={"entry": "3x3"}), tmp_path)
    given = recipe(base / "data", init_from=str(tmp_path))
    found = with_network(given).model
    assert (found.name, found.stem, found.options) == ("resnet18", "expansion", {"entry": "3x3"})
    more = with_network(recipe(base / "data", init_from=str(tmp_path), stem="mean", options={"dropout": 0.2})).model
    assert (more.stem, more.options) == ("mean", {"entry": "3x3", "dropout": 0.2})
    again = with_network(with_network(given))
    assert again == with_network(given)


def test_same_channels_and_classes_begin_as_the_saved_model(base: Path) -> None:
    given = recipe(base / "data", init_from=str(base / "run"))
    data = load_images(given)
    model, saved = build_model(given, data).eval(), load(base / "run")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in saved.state_dict().items())
    assert (model.contract.offset, model.contract.scale) == (saved.contract.offset, saved.contract.scale)
    x = torch.rand(2, 4, 8, 8) * 1000
    torch.testing.assert_close(model(x), saved(x))
    assert model.warm_start is not None
    assert model.warm_start.same_classes
    assert start_warnings(given, data) == []


def test_a_band_less_and_a_band_more(base: Path, other: Path) -> None:
    given = recipe(other, init_from=str(base / "run"))
    data = load_images(given)
    with pytest.raises(ChannelError, match="no weights for b9: they are none of b1, b2, b3, b4 and not between two"):
        build_model(given, data)
    for how in ("zero", "nearest", "random"):
        given = recipe(other, init_from=str(base / "run"), new_channels=how)
        data = load_images(given)
        model, saved = build_model(given, data), load(base / "run")
        kernel, old = model.state_dict()["stem.conv.weight"], saved.state_dict()["stem.conv.weight"]
        assert torch.equal(kernel[:, [0, 2, 3]], old[:, [3, 0, 1]])
        new = kernel[:, 1]
        assert {"zero": not new.any(), "nearest": torch.equal(new, old[:, 3]), "random": 0 < new.std() < 1}[how]
        places, means = [3, 0, 1], data.statistics.mean
        for constant in ("offset", "scale"):
            found, before = getattr(model.contract, constant), getattr(saved.contract, constant)
            assert [found[0], *found[2:]] == [before[place] for place in places]
        assert model.contract.offset[1] == means[1]
        assert model.contract.offset[0] != means[0]
        assert model.contract.classes == ("bright", "dark")
        for name, value in saved.state_dict().items():
            if name.startswith("body."):
                assert torch.equal(model.state_dict()[name], value), name


def test_head_is_as_the_seed_draws_it(base: Path, other: Path) -> None:
    given = recipe(other, init_from=str(base / "run"), new_channels="zero")
    data = load_images(given)
    head = "head.2.weight"
    first, again = (build_model(given, data).state_dict()[head] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, build_model(dataclasses.replace(given, seed=1), data).state_dict()[head])
    plain = build_model(recipe(other, name="baseline_cnn", stem="mean"), data).state_dict()[head]
    assert torch.equal(first, plain)


def test_another_number_type_has_constants_of_its_own(base: Path, tmp_path: Path) -> None:
    saved = load(base / "run")
    saved.contract = dataclasses.replace(saved.contract, dtype="uint8")
    save(saved, tmp_path)
    given = recipe(base / "data", init_from=str(tmp_path))
    data = load_images(given)
    model = build_model(given, data)
    assert model.contract.offset == tuple(data.statistics.mean)
    assert model.warm_start is not None
    assert model.warm_start.kept == ()
    assert start_warnings(given, data) == []


def test_values_are_given_as_the_saved_model_takes_them(base: Path, tmp_path: Path) -> None:
    """The same scene, stored by another scale and offset: the images that the model gets are the same numbers."""
    data = Path(shutil.copytree(base / "data", tmp_path / "data"))
    text = (data / "channels.yaml").read_text()
    (data / "channels.yaml").write_text(f"{text}unit: counts\n")
    fit(recipe(data, name="baseline_cnn"), tmp_path / "run")
    (data / "channels.yaml").write_text(f"{text}unit: counts\nscale: 2\noffset: -500\n")
    given = recipe(data, init_from=str(tmp_path / "run"))
    found, plain = load_images(given), load_images(recipe(data))
    numbers = plain.splits["train"].images.astype(float)
    np.testing.assert_array_equal(found.splits["train"].images, 2 * numbers - 500)
    assert build_model(given, found).contract.encodings == load(tmp_path / "run").contract.encodings


def test_images_unlike_those_before_are_told(base: Path, tmp_path: Path) -> None:
    far = write_sensor(tmp_path / "far", list(BANDS), wavelengths=BANDS, offset=9000)
    given = recipe(far, init_from=str(base / "run"))
    found = start_warnings(given, load_images(given))
    assert len(found) == 4
    assert found[0].startswith("channel b1: the inputs' mean, ")


def test_training_goes_on_from_there(
    base: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With stem and body frozen, what was carried is in the saved model to the bit, and the head has learned."""
    given = with_train(recipe(other, init_from=str(base / "run"), new_channels="zero"), **FREEZE)
    begun = build_model(given, load_images(given)).state_dict()
    fit(given, tmp_path / "run")
    now, old = load_file(tmp_path / "run" / "model.safetensors"), load_file(base / "run" / "model.safetensors")
    assert torch.equal(now["stem.conv.weight"][:, [0, 2, 3]], old["stem.conv.weight"][:, [3, 0, 1]])
    assert not now["stem.conv.weight"][:, 1].any()
    assert not torch.equal(now["head.2.weight"], begun["head.2.weight"])
    err = capsys.readouterr().err
    assert f"weights of {base}/run (baseline_cnn, stem mean):\n  drone:b4 ← drone:b4  (identity)\n" in err
    assert "  left out, as the images do not have them: drone:b3\n" in err
    told = json.loads((tmp_path / "run" / "run.json").read_text())["init_from"]
    assert told == json.loads((tmp_path / "run" / "start.json").read_text())
    assert told["digest"] == model_digest(base / "run")
    assert [row["how"] for row in told["channels"]] == ["identity", "zero", "identity", "identity"]
    assert told["left_out"] == ["drone:b3"]


def test_with_sampling_and_rates_by_layer(base: Path, other: Path, tmp_path: Path) -> None:
    given = recipe(other, init_from=str(base / "run"), new_channels="random")
    fit(with_train(given, channel_sampling="uniform", layer_lr_decay=0.5), tmp_path / "run")
    found = load(tmp_path / "run")
    assert found.contract.batch_norm == "subset"
    assert found.select(["b9"])(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


def test_goes_on_only_with_the_same_model(base: Path, tmp_path: Path) -> None:
    begin = Path(shutil.copytree(base / "run", tmp_path / "begin"))
    given = recipe(base / "data", init_from=str(begin))
    fit(given, tmp_path / "run")
    whole = load_file(tmp_path / "run" / "model.safetensors")
    for name in ("run.json", "model.safetensors"):
        (tmp_path / "run" / name).unlink()
    fit(given, tmp_path / "run")
    again = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    (tmp_path / "run" / "run.json").unlink()
    model = load(begin)
    model.contract = dataclasses.replace(model.contract, offset=(1.0, 2.0, 3.0, 4.0))
    save(model, begin)
    message = f"{begin}: the model is not the one that the run in {tmp_path}/run began with; put that one back"
    with pytest.raises(RunError, match=re.escape(message)):
        fit(given, tmp_path / "run")


def test_channels_that_no_step_sees(base: Path, tmp_path: Path) -> None:
    """They were trained before, so they are not as they were drawn."""
    for stem in ("mean", "wavelength"):
        run = tmp_path / stem
        fit(recipe(base / "data", name="resnet8", stem=stem), run)
        given = with_train(recipe(base / "data", init_from=str(run)), channels=["b1", "b2"])
        contract = build_model(given, load_images(given)).contract
        assert (contract.untrained, contract.interpolated) == ((), ())


def test_head_of_more_outputs_than_classes_is_carried(base: Path, tmp_path: Path) -> None:
    fit(recipe(base / "data", name="baseline_cnn", num_outputs=7), tmp_path / "run")
    given = recipe(base / "data", init_from=str(tmp_path / "run"))
    model = build_model(given, load_images(given))
    assert (model.contract.outputs, model.contract.num_outputs) == (7, 7)
    assert torch.equal(model.state_dict()["head.2.weight"], load(tmp_path / "run").state_dict()["head.2.weight"])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "resnet8"}, r"model\.name is resnet8, but .*/run holds baseline_cnn; leave the name out"),
        ({"stem": "dynamic"}, "stem 'dynamic' cannot begin with the weights of stem 'mean'"),
        ({"options": {"entry": "3x3"}}, "baseline_cnn has no option 'entry'"),
        ({"pretrained": "x.safetensors"}, r"model\.pretrained and model\.init_from were both given"),
        ({"num_outputs": 1}, r"model\.num_outputs is 1, but the data has 2 classes"),
    ],
)
def test_what_does_not_fit_is_refused(base: Path, tmp_path: Path, model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(recipe(base / "data", init_from=str(base / "run"), **model), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_that_need_other_weights_are_refused(base: Path, tmp_path: Path) -> None:
    save(create_model("resnet8", num_classes=2), tmp_path / "a")
    save(create_model("resnet18", num_classes=2, options={"entry": "3x3"}), tmp_path / "b")
    given = recipe(base / "data", init_from=str(tmp_path / "b"), options={"entry": "7x7"}, new_channels="random")
    with pytest.raises(ConfigError, match="has weights of other shapes; change nothing that shapes them"):
        build_model(given, load_images(given))
    absent = recipe(base / "data", init_from=str(tmp_path / "no"))
    with pytest.raises(ContractError, match=re.escape(f"{tmp_path}/no/contract.json: there is no contract here")):
        fit(absent, tmp_path / "run")
    (tmp_path / "a" / "model.safetensors").unlink()
    with pytest.raises(ContractError, match="there are no weights here"):
        fit(recipe(base / "data", init_from=str(tmp_path / "a"), new_channels="random"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
