import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anychan.data.opening import open_collection
from anychan.deploy.sample_readers import SampleReader, open_samples
from anychan.encoding import Encoding
from anychan.errors import AnychanError, ChannelError, ConfigError, DataError
from anychan.presets import RGB
from anychan.recipe import DataConfig
from tests.geotiff import geotiff
from tests.runs import png, tiff, write_tree
from tests.scenes import BANDS, noise, write_scene

PATTERN = "channels: [sentinel2:B02, sentinel2:B05]\nfiles: '{sample}_{channel}.tif'\n"
X = np.random.default_rng(0).integers(0, 60_000, (5, 2, 6, 7), dtype=np.uint16)


def opened(path: Path, spec: str | None = None) -> SampleReader:
    return open_samples(path, BANDS, spec=spec, grey="refuse")


def band_files(folder: Path, samples: list[str]) -> Path:
    """B02 of 8×8 pixels, in which 7 stands for no data, and B05 of 4×4."""
    for number, sample in enumerate(samples):
        for band, size in (("B02", 8), ("B05", 4)):
            path = folder / f"{sample}_{band}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            plane = noise(size, size, 1, seed=10 * number + size)
            plane[0, 0] = 7
            geotiff(path, np.moveaxis(plane, -1, 0), nodata=7 if band == "B02" else None)
    return write_tree(folder, {"channels.yaml": PATTERN})


def test_band_files_are_read_as_in_training(tmp_path: Path) -> None:
    names = [f"k{label}/t{number}" for label in (0, 1) for number in range(7)]
    folder = band_files(tmp_path / "data", names)
    trained, found = open_collection(folder, DataConfig(), seed=0), opened(folder)
    assert found.names == tuple(names)
    assert found.held.names == ("B02", "B05")
    assert found.said is not None
    assert found.said.encodings == (Encoding(no_data=7), Encoding())
    for name in names:
        image, tag = found.read(name)
        np.testing.assert_array_equal(image, trained.read(name))
        assert tag == Encoding()


def test_band_files_need_no_classes(tmp_path: Path) -> None:
    assert opened(band_files(tmp_path, ["a", "b"])).names == ("a", "b")


@pytest.mark.parametrize("values", [{"x": X}, {"images": X, "y": np.arange(5)}, {"x_train": X, "x_test": X[:2]}])
def test_arrays_need_no_labels(tmp_path: Path, values: dict[str, Any]) -> None:
    np.savez(tmp_path / "a.npz", **values, channels=np.array(["DNA", "ER"]))
    found = opened(tmp_path / "a.npz")
    assert found.names[:5] == tuple(f"{next(iter(values))}/{row}" for row in range(5))
    assert len(found.names) == sum(len(array) for key, array in values.items() if key != "y")
    assert found.held.identities == ("custom:DNA", "custom:ER")
    np.testing.assert_array_equal(found.read(found.names[3])[0], np.moveaxis(X[3], 0, -1))
    assert opened(tmp_path / "a.npz", "B08,B03").held.names == ("B08", "B03")


def test_numpy_files_are_read_first_or_last(tmp_path: Path) -> None:
    for name, array in (("a", X[0]), ("b", np.moveaxis(X[1], 0, -1))):
        np.save(tmp_path / f"{name}.npy", array)
    found = opened(tmp_path, "B02,B03")
    assert found.names == ("a.npy", "b.npy")
    for number, name in enumerate(found.names):
        np.testing.assert_array_equal(found.read(name)[0], np.moveaxis(X[number], 0, -1))


def test_files_may_say_their_own_channels(tmp_path: Path) -> None:
    write_scene(tmp_path / "a.tif", noise(8, 9), names=("B02", "B03", "B04", "B08"), nodata=5)
    found = opened(tmp_path)
    assert (found.held, found.said) == (BANDS, None)
    image, tag = found.read("a.tif")
    assert (image.shape, tag.no_data) == ((8, 9, 4), 5)
    write_tree(tmp_path / "photos", {"a.png": png(noise(8, 9, 3).astype(np.uint8))})
    assert opened(tmp_path / "photos").held == RGB


@pytest.mark.parametrize("kind", ["files", "zip", "band files", "arrays"])
def test_a_part_is_read_elsewhere_by_itself(kind: str, tmp_path: Path) -> None:
    """It carries the names of its own images, and no pixels."""
    path, names, shape = tmp_path / "data", [f"t{number}" for number in range(40)], (8, 8, 2)
    if kind == "arrays":
        path, shape = tmp_path / "a.npz", (6, 7, 2)
        np.savez(path, x=np.tile(X, (8, 1, 1, 1)), channels=np.array(["B02", "B05"]))
    elif kind == "band files":
        band_files(path, names)
    else:
        image = tiff(noise(8, 8, 2), planarconfig="contig")
        write_tree(path, {f"{name}.tif": image for name in names} | {"channels.yaml": "channels: [B02, B05]"})
        if kind == "zip":
            with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
                for member in path.iterdir():
                    file.write(member, member.name)
            path = tmp_path / "data.zip"
    whole = opened(path)
    sent = pickle.dumps(whole.part(7, 9))
    assert len(sent) < 4000
    found = pickle.loads(sent)
    assert found.names == whole.names[7:9]
    assert (found.held, found.said) == (whole.held, whole.said)
    for name in found.names:
        (image, tag), (expected, expected_tag) = found.read(name), whole.read(name)
        np.testing.assert_array_equal(image, expected)
        assert (image.shape, tag) == (shape, expected_tag)
    assert whole.part(38, 50).names == whole.names[38:]


def unusable(folder: Path, case: str) -> Path:
    if case in ("lacks", "both"):
        band_files(folder, ["a", "b"])
        (folder / "b_B05.tif").unlink()
    elif case == "no fit":
        write_tree(folder, {"channels.yaml": PATTERN, "a.tif": b""})
    elif case == "plain":
        write_tree(folder, {"a.tif": tiff(noise(8, 9), planarconfig="contig")})
    elif case == "empty":
        write_tree(folder, {"notes.txt": ""})
    else:
        values: dict[str, Any] = {"no arrays": {"y": X}, "axes": {"x": X[0], "channels": ["a"]}, "no names": {"x": X}}
        np.savez(folder / "a.npz", **values[case])
        return folder / "a.npz"
    return folder


@pytest.mark.parametrize(
    ("case", "spec", "error", "message"),
    [
        ("lacks", None, DataError, ": sample 'b' has no file for band B05 ({sample}_{channel}.tif)"),
        ("both", "B02,B03", ConfigError, "--channels: the channels.yaml of "),
        ("no fit", None, DataError, ": no file fits the pattern '{sample}_{channel}.tif' with a channel of"),
        ("plain", None, ChannelError, ": nobody says which channels its .tif files hold; give --channels, a sensor"),
        ("empty", None, DataError, ": there is no image (.jpeg, "),
        ("no arrays", "B02,B03", DataError, "/a.npz: there are neither x nor x_train, x_val or x_test; there are y"),
        ("axes", None, DataError, "/a.npz: x of (2, 6, 7) are no images (N, C, H, W) or (N, H, W, C)"),
        ("no names", None, ChannelError, "/a.npz: nobody says which channels it holds; give --channels, a sensor"),
    ],
)
def test_what_cannot_be_is_named(
    tmp_path: Path, case: str, spec: str | None, error: type[AnychanError], message: str
) -> None:
    path = unusable(tmp_path, case)
    wanted = message if message.startswith("--") else f"{tmp_path}{message}"
    with pytest.raises(error, match=f"^{re.escape(wanted)}"):
        opened(path, spec)
