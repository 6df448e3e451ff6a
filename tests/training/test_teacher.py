import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from anychan.contract import Contract, ResizeRule
from anychan.data.dataset import ImageData, load_data
from anychan.encoding import Encoding
from anychan.errors import AnychanError, ChannelError, ConfigError, ContractError, InputShapeError
from anychan.models.base import AnyChannelModel
from anychan.models.measure import measure_subsets
from anychan.models.pretrained import CONTRACT_FILE, WEIGHTS_FILE, save
from anychan.recipe import DataConfig, Recipe
from anychan.training.fit import build_model
from anychan.training.teacher import Teacher
from tests.runs import S2_TILES, small_recipe
from tests.sensors import write_sensor


@pytest.fixture(scope="module")
def data(cache: object) -> ImageData:
    return load_data(small_recipe(S2_TILES).data, seed=0)


def untrained(folder: Path, data: ImageData, recipe: Recipe | None = None, **contract: Any) -> AnyChannelModel:
    """A saved model of the data's channels and classes, with weights of its own in every layer."""
    model = build_model(recipe or small_recipe(stem="mean", seed=5), data).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1, generator=torch.Generator().manual_seed(4))
    model.contract = dataclasses.replace(model.contract, **contract)
    save(model, folder)
    return model


def some_images(data: ImageData) -> torch.Tensor:
    return data.splits["train"].tensor[2:8].permute(0, 3, 1, 2)


def test_it_says_what_its_model_says(data: ImageData, tmp_path: Path) -> None:
    model, images = untrained(tmp_path, data), some_images(data)
    teacher = Teacher(tmp_path, data)
    with torch.no_grad():
        expected = model(images).log_softmax(1)
    found = teacher(images)
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert (teacher.name, teacher.num_classes) == ("baseline_cnn", len(data.classes))
    torch.testing.assert_close(teacher(images.flip(0)), expected.flip(0))


def test_it_computes_in_the_runs_precision(data: ImageData, tmp_path: Path) -> None:
    model, images = untrained(tmp_path, data), some_images(data)
    teacher = Teacher(tmp_path, data)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found, expected = teacher(images), model(images).float().log_softmax(1)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert not torch.equal(found, teacher(images))


def test_channels_are_found_by_name(data: ImageData, tmp_path: Path) -> None:
    """A teacher of the same channels in another order, and of one more."""
    config = dataclasses.replace(small_recipe(S2_TILES).data, channels=["B08", "B04", "B02", "B03"])
    model = untrained(tmp_path, load_data(config, seed=0))
    images = some_images(data)
    with torch.no_grad():
        expected = model(images[:, [3, 2, 0, 1]]).log_softmax(1)
        fewer = model.select(["B03", "B08"])(images[:, [1, 3]]).log_softmax(1)
    torch.testing.assert_close(Teacher(tmp_path, data)(images), expected)
    some = load_data(dataclasses.replace(config, channels=["B03", "B08"]), seed=0)
    teacher = Teacher(tmp_path, some)
    torch.testing.assert_close(teacher(images[:, [1, 3]]), fewer)
    alone = model.select(["B08"])(images[:, [3]]).log_softmax(1)
    torch.testing.assert_close(teacher(images[:, [3]], (1,)), alone.detach())  # of a source with B08 alone


def test_a_subset_has_its_saved_statistics(data: ImageData, tmp_path: Path) -> None:
    model, images = untrained(tmp_path, data), some_images(data)
    plain = Teacher(tmp_path, data)(images[:, :2], (0, 1))
    measure_subsets(model, [(images, tuple(range(4)))], seed=0)
    save(model, tmp_path)
    found = Teacher(tmp_path, data)(images[:, :2], (0, 1))
    with torch.no_grad():
        torch.testing.assert_close(found, model.select(["B02", "B03"])(images[:, :2]).log_softmax(1))
    assert not torch.allclose(found, plain, atol=1e-3)


def test_logits_beyond_the_classes_mean_nothing(data: ImageData, tmp_path: Path) -> None:
    recipe = small_recipe()
    recipe.model.num_outputs = 7
    model = untrained(tmp_path, data, recipe)
    found = Teacher(tmp_path, data)(some_images(data))
    classes = len(data.classes)
    assert model.contract.outputs == 7 > classes
    with torch.no_grad():
        torch.testing.assert_close(found, model(some_images(data))[:, :classes].log_softmax(1))


def test_it_may_have_been_trained_at_another_size(data: ImageData, tmp_path: Path) -> None:
    model = untrained(tmp_path, data, resize=ResizeRule(40))
    teacher = Teacher(tmp_path, data)
    teacher.load()
    with torch.no_grad():
        assert torch.equal(teacher(some_images(data)), model(some_images(data)).log_softmax(1))


CLASSES = "a teacher needs the data's classes in their order"
REFUSED: list[tuple[Callable[[Contract], dict[str, Any]], type[AnychanError], str]] = [
    (
        lambda contract: {"classes": contract.classes[::-1]},
        ConfigError,
        "of its 2 classes number 0 is 'water', of the data's 2 it is 'forest'; " + CLASSES,
    ),
    (
        lambda contract: {"classes": (*contract.classes, "ice")},
        ConfigError,
        "of its 3 classes number 2 is 'ice', of the data's 2 it is none; " + CLASSES,
    ),
    (
        lambda contract: {"classes": contract.classes[:1], "num_outputs": 2},
        ConfigError,
        "of its 1 classes number 1 is none, of the data's 2 it is 'water'; " + CLASSES,
    ),
    (
        lambda contract: {"untrained": ("sentinel2:B03",)},
        ChannelError,
        "it was never trained on the data's channel 'sentinel2:B03', only on sentinel2:B02, sentinel2:B04, "
        "sentinel2:B08; choose among these by data.channels, or take another teacher",
    ),
    (lambda contract: {"dtype": "uint8"}, ContractError, "its number type is uint8, the data's is uint16"),
    (
        lambda contract: {"encodings": (*contract.encodings[:3], Encoding(scale=0.5, no_data=0))},
        ContractError,
        "channel 'sentinel2:B08' is stored as {'scale': 0.5, 'no_data': 0} in its training images, and as {} in "
        "the data; train it on values stored alike",
    ),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_who_cannot_teach_is_told(
    data: ImageData,
    tmp_path: Path,
    change: Callable[[Contract], dict[str, Any]],
    error: type[AnychanError],
    message: str,
) -> None:
    model = untrained(tmp_path, data)
    dataclasses.replace(model.contract, **change(model.contract)).save(tmp_path / CONTRACT_FILE)
    with pytest.raises(error, match=f"^{re.escape(f'train.teacher {tmp_path}: {message}')}$"):
        Teacher(tmp_path, data)


def test_a_channel_of_another_wavelength_is_another_one(tmp_path: Path) -> None:
    paths = [write_sensor(tmp_path / str(nm), ["c1", "c2"], wavelengths={"c1": nm}) for nm in (500, 600)]
    one, other = (load_data(DataConfig(path=str(path), size=8), seed=0) for path in paths)
    untrained(tmp_path / "teacher", one)
    message = f"train.teacher {tmp_path / 'teacher'}: channel 'drone:c1' is centred at 600"
    with pytest.raises(ChannelError, match=re.escape(message)):
        Teacher(tmp_path / "teacher", other)


def test_channel_that_it_lacks_is_named(data: ImageData, tmp_path: Path) -> None:
    config = dataclasses.replace(small_recipe(S2_TILES).data, channels=["B02", "B03", "B08"])
    untrained(tmp_path, load_data(config, seed=0))
    with pytest.raises(ChannelError, match="it was never trained on the data's channel 'sentinel2:B04', only on"):
        Teacher(tmp_path, data)


def test_files_are_told_early(data: ImageData, tmp_path: Path) -> None:
    with pytest.raises(
        ContractError, match=f"^{re.escape(str(tmp_path / 'no' / CONTRACT_FILE))}: there is no contract"
    ):
        Teacher(tmp_path / "no", data)
    untrained(tmp_path, data)
    weights = tmp_path / WEIGHTS_FILE
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-9])
    teacher = Teacher(tmp_path, data)
    with pytest.raises(ContractError, match=f"^{re.escape(str(weights))}: the weights cannot be read"):
        teacher.load()
    weights.unlink()
    with pytest.raises(ContractError, match=f"^{re.escape(str(weights))}: there are no weights here; train the model"):
        Teacher(tmp_path, data)


def test_images_that_it_cannot_take_are_told(tmp_path: Path, data: ImageData) -> None:
    large = dataclasses.replace(data, resize=ResizeRule(40))
    recipe = small_recipe()
    recipe.model.name = "simple_2layer_cnn"
    untrained(tmp_path, large, recipe)
    message = f"train.teacher {tmp_path}: simple_2layer_cnn takes images of at least 37x37 pixels, not 16x16"
    with pytest.raises(InputShapeError, match=re.escape(message)):
        Teacher(tmp_path, data).load()
