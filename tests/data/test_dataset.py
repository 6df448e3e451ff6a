import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anychan.channels import ChannelSet
from anychan.contract import ChannelStatistics, Contract, ResizeRule
from anychan.data.dataset import ImageData, check_against_contract, load_data, normalization
from anychan.errors import ChannelError, ContractError, DataError
from anychan.presets import LANDSAT8, RGB, SENTINEL2
from anychan.recipe import DataConfig
from tests.runs import ODD, RGB_SPLIT, S2_TILES, constant_channels, copy_of, png, tiff, write_tree

TILES = SENTINEL2.select("B02,B03,B04,B08")
STATISTICS = ChannelStatistics(np.array([10.0, 20, 30]), np.diag([4.0, 9, 16]), np.full((3, 3), 5))


def load(path: Path, *, seed: int = 0, splits: tuple[str, ...] | None = None, **options: Any) -> ImageData:
    config = DataConfig(path=str(path), **{"size": 16, **options})
    return load_data(config, seed=seed) if splits is None else load_data(config, seed=seed, splits=splits)


def tree(folder: Path, content: bytes, suffix: str = "png", count: int = 8) -> Path:
    """Two classes of equal images."""
    return write_tree(folder, {f"{name}/{n}.{suffix}": content for name in "ab" for n in range(count)})


def test_photographs_are_rgb_in_file_order() -> None:
    data = load(RGB_SPLIT)
    assert data.channels == RGB
    assert data.classes == ("circle", "square", "stripe")
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 12, "val": 6, "test": 6}
    for split, part in data.splits.items():
        lines = (RGB_SPLIT / f"{split}.txt").read_text().splitlines()
        assert [f"{name} {label}" for name, label in zip(part.names, part.labels.tolist(), strict=True)] == lines
        for position, name in enumerate(part.names):
            with Image.open(RGB_SPLIT / name) as image:
                np.testing.assert_array_equal(part.images[position], np.asarray(image))
    assert data.splits["val"].labels.dtype == torch.int64


def test_tensor_is_the_memory_map() -> None:
    part = load(RGB_SPLIT).splits["test"]
    assert part.tensor.shape == (6, 16, 16, 3)
    assert part.tensor.data_ptr() == part.images.ctypes.data


def test_tiles_take_their_channels_from_the_file_beside_them() -> None:
    data = load(S2_TILES, size=12)
    assert data.channels == TILES
    assert data.splits["train"].images.dtype == np.uint16
    for label, part in ((label, part) for part in data.splits.values() for label in (0, 1)):
        mean = part.images[part.labels.numpy() == label].mean((0, 1, 2))
        assert ((mean - [1000, 2000, 3000, 4000]) * (1 - 2 * label) > 50).all()  # forest above, water below


def test_recipe_chooses_from_the_file() -> None:
    whole, some = load(S2_TILES), load(S2_TILES, channels=["nir", "B02"])
    assert some.channels == TILES.select("B08,B02")
    np.testing.assert_array_equal(some.splits["train"].images, whole.splits["train"].images[..., [3, 0]])
    with pytest.raises(
        ChannelError, match=rf"^{re.escape(str(S2_TILES))}: channel 'sentinel2:B01' is not one of B02, B03"
    ):
        load(S2_TILES, channels="sentinel2")


def test_recipe_names_the_channels_of_bare_tiffs(tmp_path: Path) -> None:
    folder = copy_of(S2_TILES, tmp_path)
    (folder / "channels.yaml").unlink()
    assert load(folder, channels=["landsat8:B2", "landsat8:B3", "landsat8:B4", "DNA"]).channels[0] == LANDSAT8[1]
    with pytest.raises(DataError, match=r"the image has 4 channels, but 13 are expected: \('B01', 'B02'"):
        load(folder, channels="sentinel2")


def test_tiffs_need_names(tmp_path: Path) -> None:
    folder = copy_of(S2_TILES, tmp_path)
    (folder / "channels.yaml").unlink()
    message = f"{folder}: nobody says which channels its .tif files hold; write a channels.yaml beside them "
    with pytest.raises(ChannelError, match=re.escape(message)):
        load(folder)
    assert load(folder, channels="sentinel2:B02,sentinel2:B03,sentinel2:B04,sentinel2:B08").channels == TILES


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("channels: [a\n", DataError, "the file is not YAML (expected ',' or ']'"),
        ("- a\n", DataError, "the file must have the key 'channels', with a sensor or a list of channels"),
        ("channels: rgb\nbands: 3\n", DataError, "no key is called 'bands'; there are channels, files, unit"),
        ("channels: sentinel3\n", ChannelError, "no sensor is called 'sentinel3'"),
        ("channels: [sentinel2:B2, sentinel2:B99]\n", ChannelError, "channel 'B99' is not one of B01"),
        ("channels: [1, 2]\n", ChannelError, "channel 1 is neither a name nor a mapping"),
        ("channels: 5\n", DataError, "the file must have the key 'channels'"),
        ("channels:\n", DataError, "the file must have the key 'channels'"),
    ],
)
def test_bad_channel_files_are_named(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    folder = copy_of(S2_TILES, tmp_path)
    (folder / "channels.yaml").write_text(text)
    with pytest.raises(error, match=re.escape(f"{folder}/channels.yaml: {message}")):
        load(folder)


def test_zip_gives_the_same_as_its_folder(tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "data"), "zip", S2_TILES))
    one, two = load(S2_TILES, seed=4), load(archive, seed=4)
    assert one.channels == two.channels
    for split, part in one.splits.items():
        assert part.names == two.splits[split].names
        np.testing.assert_array_equal(part.images, two.splits[split].images)


def test_own_split_follows_the_seed() -> None:
    names = [load(S2_TILES, seed=seed).splits["test"].names for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert len(load(S2_TILES, val_fraction=0.5).splits["val"]) == 6


def test_only_the_splits_that_are_asked_for() -> None:
    assert list(load(RGB_SPLIT, splits=("test",)).splits) == ["test"]


def test_first_classes_only() -> None:
    data = load(RGB_SPLIT, num_classes=2)
    assert data.classes == ("circle", "square")
    assert data.splits["train"].labels.tolist() == [0] * 4 + [1] * 4


def test_statistics_are_of_the_training_images() -> None:
    data = load(RGB_SPLIT)
    flat = data.splits["train"].images.reshape(-1, 3).astype(float)
    np.testing.assert_allclose(data.statistics.mean, flat.mean(0))
    np.testing.assert_allclose(data.statistics.covariance, np.cov(flat.T, bias=True))
    assert data.statistics.pixels[0, 0] == 12 * 16 * 16


def test_constant_channel_is_named(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image[..., 1] = 77
    message = "channel 'G' has the same value, 77, in every pixel of the training images; leave it out"
    with pytest.raises(DataError, match=message):
        _ = load(tree(tmp_path / "data", png(image))).statistics


def test_constant_fraction_is_noticed_too(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((16, 16, 2)).astype(np.float32)
    image[..., 1] = 0.1
    folder = tree(tmp_path / "data", tiff(image, planarconfig="contig"), "tif")
    with pytest.raises(DataError, match=r"channel 'b' has the same value, 0.1, in every pixel"):
        _ = load(folder, channels=["a", "b"]).statistics


def test_grey_rule_reaches_the_reader(tmp_path: Path) -> None:
    folder = tree(tmp_path / "data", (ODD / "grey.png").read_bytes())
    with pytest.raises(DataError, match=r"the image is grey; to read it as R = G = B, say --data.grey repeat"):
        load(folder)
    images = load(folder, grey="repeat").splits["train"].images
    np.testing.assert_array_equal(images[..., 0], images[..., 2])


def test_resize_rule_reaches_the_reader(tmp_path: Path) -> None:
    image = constant_channels(9, 9, 9, height=8, width=4)
    image[:2] = 200
    folder = tree(tmp_path / "data", png(image))
    cropped = load(folder, size=4, fit="crop")
    assert cropped.resize == ResizeRule(4, "crop", "bilinear")
    assert cropped.splits["train"].images.max() == 9  # the bright rows lie outside
    assert load(folder, size=4).splits["train"].images.max() > 150


def test_normalization_by_the_data_set() -> None:
    found = normalization("dataset", RGB, STATISTICS, np.dtype(np.float32))
    assert found == ((10.0, 20.0, 30.0), (2.0, 3.0, 4.0))


def test_normalization_to_unit_range() -> None:
    for dtype, largest in ((np.uint8, 255.0), (np.uint16, 65535.0)):
        assert normalization("unit", RGB, STATISTICS, np.dtype(dtype)) == ((0.0,) * 3, (largest,) * 3)


def test_normalization_by_imagenet_follows_the_channels() -> None:
    offset, scale = normalization("imagenet", RGB, STATISTICS, np.dtype(np.uint8))
    np.testing.assert_allclose(offset, [123.675, 116.28, 103.53])
    np.testing.assert_allclose(scale, [58.395, 57.12, 57.375])
    offset, scale = normalization("imagenet", RGB.select("B,R"), STATISTICS, np.dtype(np.uint16))
    np.testing.assert_allclose(offset, [65535 * 0.406, 65535 * 0.485])
    np.testing.assert_allclose(scale, [65535 * 0.225, 65535 * 0.229])


def test_normalization_that_means_nothing_is_refused() -> None:
    for kind in ("unit", "imagenet"):
        message = f"data.normalize '{kind}' needs integer images, not float32; use 'dataset'"
        with pytest.raises(DataError, match=message):
            normalization(kind, RGB, STATISTICS, np.dtype(np.float32))
    message = "data.normalize 'imagenet' is for R, G, B, not for B02+B03+B04+B08; use 'dataset'"
    with pytest.raises(ChannelError, match=re.escape(message)):
        normalization("imagenet", TILES, STATISTICS, np.dtype(np.uint16))


def test_normalization_by_percentiles_cuts_nothing() -> None:
    data = load(S2_TILES)
    limits = data.percentiles([2, 90])
    flat = data.splits["train"].images.reshape(-1, 4)
    np.testing.assert_array_equal(limits, np.percentile(flat, (2, 90), axis=0, method="inverted_cdf"))
    offset, scale = normalization("percentile", TILES, data.statistics, np.dtype(data.dtype), limits=limits)
    scaled = (flat - np.array(offset)) / scale
    np.testing.assert_allclose(np.percentile(scaled, (2, 90), axis=0, method="inverted_cdf"), [[0] * 4, [1] * 4])
    assert (scaled.min(0) < 0).all()
    assert (scaled.max(0) > 1).all()


def test_percentiles_leave_pixels_without_data_out(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(100, 200, (16, 16, 2), dtype=np.uint16)
    image[:8, :, 0] = 0
    folder = tree(tmp_path / "data", tiff(image, planarconfig="contig"), "tif")
    (folder / "channels.yaml").write_text("channels: [{name: a, no_data: 0}, b]\n")
    expected = [np.percentile(part, 1, method="inverted_cdf") for part in (image[8:, :, 0], image[..., 1])]
    np.testing.assert_array_equal(load(folder).percentiles([1, 99])[0], expected)


def test_percentiles_that_are_equal_name_the_channel(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image[:15, :, 1] = 7
    message = r"channel 'G' is 7 at both data.percentiles \[5, 90\] of the training images; put them further apart"
    with pytest.raises(DataError, match=message):
        load(tree(tmp_path / "data", png(image))).percentiles([5, 90])


def test_data_must_fit_the_contract() -> None:
    data = load(RGB_SPLIT)
    assert data.dtype == "uint8"
    contract = Contract("resnet8", {}, "mean", RGB, (0.0,) * 3, (1.0,) * 3, data.classes, ResizeRule(16), dtype="uint8")
    check_against_contract(data, contract)
    check_against_contract(dataclasses.replace(data, channels=RGB.select("B,G")), contract)  # the match is another's
    with pytest.raises(ContractError, match=r"the data's classes \('a', 'b'\) are not the model's \('circle'"):
        check_against_contract(dataclasses.replace(data, classes=("a", "b")), contract)
    with pytest.raises(ContractError, match=r"the data's resize rule ResizeRule\(size=32"):
        check_against_contract(dataclasses.replace(data, resize=ResizeRule(32)), contract)
    with pytest.raises(ContractError, match="the data's number type uint8 are not the model's uint16"):
        check_against_contract(data, dataclasses.replace(contract, dtype="uint16"))
    shifted = ChannelSet([dataclasses.replace(RGB[0], wavelength_nm=700.0), *list(RGB)[1:]])
    with pytest.raises(ChannelError, match=r"channel 'rgb:R' is centred at 700.0 nm .* in the other; rename one"):
        check_against_contract(dataclasses.replace(data, channels=shifted), contract)
