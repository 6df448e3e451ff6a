import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anychan.data.readers import register_reader
from anychan.deploy import page_view
from anychan.deploy.page_view import check_upload, view
from anychan.deploy.predictor import Predictor
from anychan.errors import ChannelError, DataError
from tests.runs import png
from tests.scenes import Array, noise, scene_model, write_scene

NAMES = ("B02", "B03", "B04", "B08")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(scene_model(dtype="uint16"))


@pytest.fixture
def tile(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "tile.tif", noise(16, 16), NAMES)


def test_all_channels_then_fewer(predictor: Predictor, tile: Path) -> None:
    seen = view(predictor, tile, named=None, on=None)
    assert seen.found.channels == seen.every.channels == NAMES
    np.testing.assert_array_equal(seen.found.probabilities, predictor(tile).probabilities)
    assert sum(row.share for row in seen.rows) == pytest.approx(1)
    assert [row.share for row in seen.rows] == sorted((row.share for row in seen.rows), reverse=True)
    for row in seen.rows:
        less = predictor(tile, without=[row.channel])
        assert row.without == pytest.approx(dict(less.top(3))[seen.found.label or ""])
    fewer = view(predictor, tile, named=None, on=["B08", "B03"])
    assert (fewer.found.channels, fewer.every.channels) == (("B03", "B08"), NAMES)
    assert {row.channel for row in fewer.rows} == {"B03", "B08"}


def test_the_only_channel_cannot_be_switched_off_too(predictor: Predictor, tile: Path) -> None:
    (row,) = view(predictor, tile, named=None, on=["B08"]).rows
    assert (row.channel, row.share) == ("B08", 1)
    assert math.isnan(row.without)
    with pytest.raises(ChannelError, match="all channels are switched off"):
        view(predictor, tile, named=None, on=[])


def test_pictures_show_where_and_which_way(predictor: Predictor, tile: Path) -> None:
    seen = view(predictor, tile, named=None, on=None)
    (image, title), *channels = seen.pictures
    assert (image.shape, title) == ((192, 192, 3), "B04 B03 B02")
    assert [title.split(":")[0] for _, title in channels] == [row.channel for row in seen.rows]
    explained = predictor.explain(tile)
    for picture, text in channels:
        values = explained.values[..., NAMES.index(text.split(":")[0])]
        strongest = np.unravel_index(np.abs(values).argmax(), values.shape)
        red, _, blue = picture[::12, ::12][strongest].astype(int)  # each pixel is 12 wide
        assert (blue > red) == (values[strongest] > 0)


def test_files_may_leave_their_channels_unsaid(predictor: Predictor, tmp_path: Path) -> None:
    path = write_scene(tmp_path / "tile.tif", noise(16, 16))
    with pytest.raises(ChannelError, match="nobody says which channels"):
        view(predictor, path, named=None, on=None)
    assert view(predictor, path, named="B02,B03,B04,B08", on=None).found.channels == NAMES


def large(folder: Path, suffix: str, values: Array) -> Path:
    path = folder / f"large{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".tif":
        write_scene(path, values)
    else:
        Image.fromarray(values.astype(np.uint8)[..., 0]).save(path)
    return path


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".png", ".jpg"])
def test_size_is_limited_before_decoding(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = large(tmp_path, suffix, noise(64, 64))
    check_upload(path)
    monkeypatch.setattr(page_view, "MOST_VALUES", 64 * 64 - 1)
    with pytest.raises(DataError, match=rf"^large\{suffix}: it has [\d,]+ values \(pixels times channels\), and this"):
        check_upload(path)


@pytest.mark.usefixtures("own_parts")
def test_files_of_a_registered_suffix_are_taken(predictor: Predictor, tmp_path: Path) -> None:
    values, path = noise(16, 16), tmp_path / "a.raw"
    path.write_bytes(values.tobytes())
    with pytest.raises(DataError, match=r"^a.raw: it is no image"):
        check_upload(path)
    register_reader(".raw", lambda data, _: np.frombuffer(data, values.dtype).reshape(values.shape))
    check_upload(path)
    np.save(tmp_path / "a.npy", values)
    found, same = (
        view(predictor, tmp_path / name, named=",".join(NAMES), on=None).found for name in ("a.raw", "a.npy")
    )
    assert (found.label, found.confidence) == (same.label, same.confidence)


def test_an_image_without_data_has_its_channels(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.full((16, 16, 4), np.nan, np.float32))
    seen = view(predictor, path, named=",".join(NAMES), on=None)
    assert (seen.every.channels, seen.found.label, seen.rows, seen.pictures) == (NAMES, None, (), ())


def test_what_is_empty_or_narrow_is_no_image(tmp_path: Path) -> None:
    for number, shape in enumerate([(0, 0, 3), (1, 40, 3), (40, 1, 3)]):
        np.save(tmp_path / f"{number}.npy", np.zeros(shape, np.uint8))
        with pytest.raises(DataError, match=rf"it is {shape[1]}x{shape[0]} pixels, which is no image or too narrow"):
            check_upload(tmp_path / f"{number}.npy")


@pytest.mark.parametrize(("name", "message"), [("a.txt", "it is no image"), ("a.png", "cannot be read")])
def test_what_is_no_image_is_told(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(png(np.zeros((4, 4, 3), np.uint8))[:20])
    with pytest.raises(DataError, match=f"^{name}: .*{message}"):
        check_upload(tmp_path / name)
