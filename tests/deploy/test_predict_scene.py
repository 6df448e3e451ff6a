import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from anychan.data.readers import resize
from anychan.deploy.classifier import Prediction
from anychan.deploy.predict_scene import map_files, predict_scene
from anychan.encoding import Encoding
from anychan.errors import ConfigError, ContractError, DataError, RunError
from anychan.models.base import AnyChannelModel
from tests.deploy.test_scene import FORMS
from tests.runs import write_tree
from tests.scenes import BANDS, Array, ground, noise, scene_model, write_scene

ASKED = Prediction(window=20, stride=8, channels="B02,B03,B04,B08", batch_size=7)


def read_map(out: Path) -> tuple[Array, Array]:
    found = []
    for file in map_files(out)[:2]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            opened = rasterio.open(file)
        with opened:
            found.append(opened.read(1))
    return found[0], found[1]


def by_hand(model: AnyChannelModel, values: Array, window: int, stride: int) -> tuple[Array, Array]:
    """One window after another, one cell after another; windows of more than half zeros take no part."""
    height, width, _ = values.shape
    rule = model.contract.resize
    assert rule is not None
    missing = (values == 0).all(-1)
    filled = np.where(values == 0, np.uint16(2000), values)  # the offset
    windows = {}
    for top in {*range(0, height - window + 1, stride), height - window}:
        for left in {*range(0, width - window + 1, stride), width - window}:
            part = np.s_[top : top + window, left : left + window]
            if missing[part].mean() <= 0.5:
                x = torch.from_numpy(resize(filled[part], rule).astype(np.float32)).permute(2, 0, 1)[None]
                with torch.no_grad():
                    windows[top, left] = model(x).softmax(1)[0].numpy()
    labels = np.full((-(-height // stride), -(-width // stride)), 255)
    confidence = np.full(labels.shape, np.nan)
    for row, column in np.ndindex(labels.shape):
        top, left = row * stride, column * stride
        bottom, right = min(height, top + stride), min(width, left + stride)
        over = [
            found
            for (t, l), found in windows.items()  # noqa: E741
            if t <= top and bottom <= t + window and l <= left and right <= l + window
        ]
        if over:
            mean = np.mean(over, 0)
            labels[row, column], confidence[row, column] = mean.argmax(), mean.max()
    return labels, confidence


@pytest.fixture(scope="module")
def scene() -> Array:
    """With a corner of no data, and single pixels of it in single channels."""
    array = noise(75, 61)
    array[:30, :25] = 0
    array[40, 50, 2] = 0
    return array


def test_map_is_what_its_windows_say_where_they_lie(tmp_path: Path, scene: Array) -> None:
    model, out = scene_model(), tmp_path / "map.tif"
    write_scene(tmp_path / "scene.tif", scene, nodata=0)
    predict_scene(model, tmp_path / "scene.tif", out, ASKED)
    labels, confidence = read_map(out)
    expected_labels, expected_confidence = by_hand(model, scene, 20, 8)
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_allclose(confidence, expected_confidence, atol=1e-5)
    assert set(np.unique(labels)) > {255}
    assert len(np.unique(labels)) > 2
    with rasterio.open(out) as found:
        assert found.crs.to_epsg() == 32633
        # 10 x 8 cells of 8 pixels of 10 m: the scene's 75 x 61 pixels, and up to whole cells
        assert tuple(found.bounds) == (500_000, 5_000_000 - 800, 500_000 + 640, 5_000_000)
        assert found.tags()["CLASS_2"] == "2"
    with Image.open(out.with_suffix(".png")) as image:
        assert image.format == "PNG"
        assert image.width > 800
    assert {path.name for path in tmp_path.iterdir()} == {"scene.tif", "map.tif", "map-confidence.tif", "map.png"}


@pytest.mark.parametrize("form", [*FORMS, "float32", "npy"])
def test_every_form_of_a_scene_gives_the_same_map(form: str, tmp_path: Path, scene: Array) -> None:
    model, full = scene_model(dtype="uint16"), scene + 1
    predict_scene(model, write_scene(tmp_path / "plain.tif", full), tmp_path / "plain-map.tif", ASKED)
    if form == "npy":
        path = tmp_path / "scene.npy"
        np.save(path, full)
    elif form == "float32":
        path = write_scene(tmp_path / "scene.tif", full.astype(np.float32))
    else:
        path = write_scene(tmp_path / "scene.tif", full, **FORMS[form])
    predict_scene(model, path, tmp_path / "map.tif", ASKED)
    (labels, confidence), (expected, expected_confidence) = (
        read_map(tmp_path / f"{name}.tif") for name in ("map", "plain-map")
    )
    if form == "float32":  # resized without rounding to whole numbers
        assert (labels == expected).mean() > 0.98
        np.testing.assert_allclose(confidence, expected_confidence, atol=0.02)
    else:
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(confidence, expected_confidence)


def test_values_in_the_models_unit_give_the_same_map(tmp_path: Path) -> None:
    """Reflectance as float32 for a model that was trained on digital numbers, each with its channels file."""
    encodings = (Encoding("reflectance", 0.0001, -0.1),) * 4
    model, array = scene_model(dtype="uint16", encodings=encodings), noise(60, 60)
    predict_scene(model, write_scene(tmp_path / "raw.tif", array), tmp_path / "expected.tif", ASKED)
    path = write_scene(tmp_path / "scene.tif", array.astype(np.float32) * 0.0001 - 0.1)
    write_tree(tmp_path, {"scene.channels.yaml": f"channels: {list(BANDS.identities)}\nunit: reflectance"})
    predict_scene(model, path, tmp_path / "map.tif", Prediction(window=20, stride=8))
    (labels, confidence), (expected, expected_confidence) = (
        read_map(tmp_path / f"{name}.tif") for name in ("map", "expected")
    )
    assert (labels == expected).mean() > 0.98  # resized without rounding to whole numbers
    np.testing.assert_allclose(confidence, expected_confidence, atol=0.02)


def test_what_is_missing_or_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = scene_model()
    path = write_scene(tmp_path / "scene.tif", noise(40, 40, 3))
    asked = Prediction(window=20, stride=20, channels="B08,height,B03", allow_unknown_channels=True)
    predict_scene(model, path, tmp_path / "map.tif", asked)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == (
        "2 of the model's 4 channels are missing (B02, B04); the stem that does without them: " + model.contract.stem
    )
    assert out[1] == "left out, because the model does not know them: custom:height"
    assert out[2].startswith("2x2 cells of 20x20 pixels: ")
    labels, confidence = read_map(tmp_path / "map.tif")
    x = torch.from_numpy(noise(40, 40, 3)[:, :, [0, 2]].astype(np.float32)).permute(2, 0, 1)[None]
    rule = model.contract.resize
    assert rule is not None
    small = resize(noise(40, 40, 3)[:20, :20, [0, 2]], rule).astype(np.float32)
    x = torch.from_numpy(small).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = model.select(["B08", "B03"])(x).softmax(1)[0]
    assert labels[0, 0] == expected.argmax()
    assert confidence[0, 0] == pytest.approx(float(expected.max()), abs=1e-5)


def test_band_descriptions_name_the_channels(tmp_path: Path) -> None:
    array = noise(40, 40)
    path = write_scene(tmp_path / "scene.tif", array[..., ::-1], names=("nir", "red", "B3", "sentinel2:B02"))
    predict_scene(scene_model(), path, tmp_path / "map.tif", Prediction(window=20, stride=10))
    plain = write_scene(tmp_path / "plain.tif", array)
    predict_scene(scene_model(), plain, tmp_path / "plain-map.tif", Prediction(20, 10, "B02,B03,B04,B08"))
    for found, expected in zip(read_map(tmp_path / "map.tif"), read_map(tmp_path / "plain-map.tif"), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture
def band_folder(tmp_path: Path) -> Path:
    """One file a channel, at 10, 20 and 60 m."""
    folder = tmp_path / "T33"
    folder.mkdir()
    for name, metres, size in (("B02", 60, 20), ("B03", 20, 60), ("B04", 10, 120), ("B8", 10, 120)):
        write_scene(folder / f"T33_{name}.tif", noise(size, size, 1, seed=size), transform=ground(metres))
    text = 'channels: [sentinel2:B02, sentinel2:B03, sentinel2:B04, sentinel2:B08]\nfiles: "*_{channel}.tif"\n'
    return write_tree(folder, {"channels.yaml": text})


def test_band_files_of_three_resolutions_are_one_scene(band_folder: Path, tmp_path: Path) -> None:
    planes = []
    for name in ("B02", "B03", "B04", "B8"):
        with rasterio.open(band_folder / f"T33_{name}.tif") as file:
            method = rasterio.enums.Resampling.bilinear
            planes.append(file.read(1, out_shape=(120, 120), resampling=method))
    stacked = write_scene(tmp_path / "stacked.tif", np.stack(planes, -1))
    predict_scene(scene_model(), band_folder, tmp_path / "map.tif", Prediction(window=20, stride=10))
    predict_scene(scene_model(), stacked, tmp_path / "expected.tif", Prediction(20, 10, "B02,B03,B04,B08"))
    for found, expected in zip(read_map(tmp_path / "map.tif"), read_map(tmp_path / "expected.tif"), strict=True):
        np.testing.assert_array_equal(found, expected)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.res == (100, 100)


def test_a_band_file_that_is_missing_is_named(band_folder: Path, tmp_path: Path) -> None:
    (band_folder / "T33_B03.tif").unlink()
    with pytest.raises(DataError, match=r"has no file for band B03"):
        predict_scene(scene_model(), band_folder, tmp_path / "map.tif", Prediction(20, 10))


def test_a_folders_channels_are_named_by_its_file_alone(band_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--channels: the channels.yaml in .*T33 names its channels; leave"):
        predict_scene(scene_model(), band_folder, tmp_path / "map.tif", ASKED)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize("reason", ["damage", "interrupt"])
def test_nothing_half_written_stays(reason: str, tmp_path: Path) -> None:
    model = scene_model()
    path = write_scene(tmp_path / "scene.tif", noise(400, 100), compress="deflate")
    write_tree(tmp_path, {"map.tif": b"older", "map.png": b"older"})
    calls = []

    def interrupt(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt

    if reason == "damage":
        truncated(path)
        with pytest.raises(DataError, match=r"scene.tif: rows \d+ to \d+ cannot be read"):
            predict_scene(model, path, tmp_path / "map.tif", ASKED)
    else:
        model.head.register_forward_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            predict_scene(model, path, tmp_path / "map.tif", ASKED)
        assert len(calls) == 20
    assert {file.name for file in tmp_path.iterdir()} == {"scene.tif", "map.tif", "map.png"}
    assert (tmp_path / "map.tif").read_bytes() == (tmp_path / "map.png").read_bytes() == b"older"


def test_an_older_map_is_replaced(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", noise(40, 40))
    predict_scene(scene_model(), path, tmp_path / "map.tif", ASKED)
    first = read_map(tmp_path / "map.tif")
    (tmp_path / "map.tif").write_bytes(b"older")
    predict_scene(scene_model(), path, tmp_path / "map.tif", ASKED)
    np.testing.assert_array_equal(read_map(tmp_path / "map.tif")[0], first[0])


def test_a_map_never_replaces_its_scene(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a-confidence.tif", noise(40, 40))
    before = path.read_bytes()
    for out in ("a.tif", "a-confidence.tif"):
        with pytest.raises(ConfigError, match=r"a-confidence.tif is part of the scene, so the map cannot be written"):
            predict_scene(scene_model(), path, tmp_path / out, ASKED)
    assert path.read_bytes() == before


def test_a_model_without_a_size_takes_windows_as_they_are(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", noise(40, 40))
    model = scene_model(size=None)
    predict_scene(model, path, tmp_path / "map.tif", ASKED)
    x = torch.from_numpy(noise(40, 40)[:20, :20].astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        assert read_map(tmp_path / "map.tif")[0][0, 0] == int(model(x).argmax())


def test_other_number_types_are_refused(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", noise(40, 40).astype(np.uint8))
    with pytest.raises(ContractError, match="its pixels are uint8, but the model was trained on uint16"):
        predict_scene(scene_model(dtype="uint16"), path, tmp_path / "map.tif", ASKED)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", noise(40, 40))
    with pytest.raises(RunError, match=r"absent/map.tif: the map cannot be written"):
        predict_scene(scene_model(), path, tmp_path / "absent" / "map.tif", ASKED)


def test_memory_does_not_grow_with_the_scene(tmp_path: Path) -> None:
    """What NumPy holds at its peak, beyond that for a scene of 1/16 of the height; all rows would take 12 MB."""
    peaks = {}
    model = scene_model(BANDS.select(["B02", "B03", "B04"]))
    for height in (1024, 1024, 16384):  # the first also imports what drawing needs
        path = write_scene(tmp_path / "scene.tif", noise(height, 128, 3), tiled=True, blockxsize=64, blockysize=64)
        tracemalloc.start()
        predict_scene(model, path, tmp_path / "map.tif", Prediction(64, 64, "B02,B03,B04"))
        peaks[height] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[16384] - peaks[1024] < 4e6, peaks
