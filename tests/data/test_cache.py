import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from anychan.channels import ChannelSet
from anychan.contract import ResizeRule
from anychan.data import cache, file_claims, readers
from anychan.data.cache import cache_folder, cached_images
from anychan.data.collection import FileCollection
from anychan.data.index import DataIndex
from anychan.data.source import open_source
from anychan.errors import DataError
from anychan.presets import RGB, SENTINEL2
from tests.runs import RGB_SPLIT, ROOT, S2_TILES, Array, anonymous, copy_of, png, tiff, write_tree

RULE = ResizeRule(16)
NAMES = [f"images/square/square_{number}.{'png' if number % 2 else 'jpg'}" for number in range(8)]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded, in the order of their decoding."""
    names: list[str] = []

    def spy(data: bytes, name: str, channels: ChannelSet, **options: Any) -> Array:
        names.append(name)
        return readers.read_image(data, name, channels, **options)

    monkeypatch.setattr(file_claims, "read_image", spy)
    return names


def images(folder: Path = RGB_SPLIT, names: Sequence[str] = NAMES, **options: Any) -> Array:
    channels, rule = options.pop("channels", RGB), options.pop("rule", RULE)
    samples = DataIndex({"train": (), "val": (), "test": ()}, ("one",))
    return cached_images(FileCollection(open_source(folder), samples, channels, **options), names, rule)


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def test_images_are_the_decoded_files_in_order(empty_cache: Path) -> None:
    found = images()
    expected = [readers.read_image((RGB_SPLIT / name).read_bytes(), name, RGB) for name in NAMES]
    np.testing.assert_array_equal(found, np.stack(expected))
    assert found.dtype == np.uint8
    assert isinstance(found, np.memmap)


def test_number_type_and_size_are_kept(empty_cache: Path) -> None:
    names = sorted(f"{path.parent.name}/{path.name}" for path in S2_TILES.glob("*/*.tif"))
    channels = SENTINEL2.select("B02,B03,B04,B08")
    found = images(S2_TILES, names, channels=channels, rule=ResizeRule(5, "crop", "lanczos"))
    assert found.dtype == np.uint16
    assert found.shape == (12, 5, 5, 4)
    np.testing.assert_allclose(found.mean((0, 1, 2)), [1000, 2000, 3000, 4000], atol=50)


def test_second_call_decodes_nothing(empty_cache: Path, decoded: list[str]) -> None:
    first = np.array(images())
    assert sorted(set(decoded)) == sorted(NAMES)
    assert len(decoded) == len(NAMES) + 1  # the first file tells the size
    decoded.clear()
    np.testing.assert_array_equal(images(), first)
    assert decoded == []


def test_everything_that_decides_the_pixels_has_its_own_cache(
    empty_cache: Path, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(RGB_SPLIT, tmp_path)

    def use(**options: Any) -> int:
        decoded.clear()
        images(folder, **options)
        return len(decoded)

    swapped = ChannelSet(reversed(list(RGB)))
    variants: list[dict[str, Any]] = [
        {},
        {"rule": dataclasses.replace(RULE, size=8)},
        {"rule": dataclasses.replace(RULE, fit="crop")},
        {"rule": dataclasses.replace(RULE, filter="nearest")},
        {"channels": swapped},
        {"channels": anonymous(3)},
        {"grey": "repeat"},
        {"names": NAMES[::-1]},
    ]
    assert [use(**variant) for variant in variants] == [9] * 8
    assert use(names=NAMES[:4]) == 5
    assert [use(**variant) for variant in variants] == [0] * 8
    (folder / NAMES[3]).write_bytes((folder / NAMES[1]).read_bytes())
    assert use() == 9
    np.testing.assert_array_equal(images(folder)[3], images(folder)[1])
    monkeypatch.setattr(cache, "READER_VERSION", readers.READER_VERSION + 1)
    assert use() == 9


def test_cache_lies_where_the_variable_says(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(RGB_SPLIT.rglob("*"))
    images()
    assert cache_folder() == empty_cache
    assert [path.suffix for path in sorted(empty_cache.iterdir())] == [".lock", ".npy"]
    assert sorted(RGB_SPLIT.rglob("*")) == before  # never beside the sources
    monkeypatch.delenv("ANYCHAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty_cache / "user"))
    if sys.platform == "linux":
        assert cache_folder() == empty_cache / "user" / "anychan"


def test_writing_to_the_images_changes_memory_only(empty_cache: Path) -> None:
    found = images()
    before = np.array(found)
    found[:] = 0
    np.testing.assert_array_equal(images(), before)


@pytest.mark.parametrize("position", [0, 5])
def test_error_names_the_file_and_leaves_nothing_half(empty_cache: Path, tmp_path: Path, position: int) -> None:
    folder = copy_of(RGB_SPLIT, tmp_path)
    (folder / NAMES[position]).write_bytes(b"no image")
    message = f"{folder}/{NAMES[position]}: the file is no image that Pillow knows"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        images(folder)
    (folder / NAMES[position]).unlink()
    message = f"{folder}/{NAMES[position]}: the file cannot be read (No such file or directory)"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        images(folder)
    assert [path.suffix for path in empty_cache.iterdir() if path.suffix != ".lock"] == []


def test_two_number_types_are_refused(empty_cache: Path, tmp_path: Path, decoded: list[str]) -> None:
    deep, flat = tiff(np.full((4, 4), 300, np.uint16)), tiff(np.full((4, 4), 30, np.uint8))
    files: dict[str, bytes | str] = {f"{number:03}.tif": deep for number in range(400)}
    folder = write_tree(tmp_path / "data", {**files, "001.tif": flat})
    message = f"{folder}: images of two number types, uint16 in 000.tif and uint8 in 001.tif; use one"
    with pytest.raises(DataError, match=re.escape(message)):
        images(folder, sorted(files), channels=anonymous(1), rule=ResizeRule(4))
    assert [path.suffix for path in empty_cache.iterdir()] == [".lock"]
    assert len(decoded) < 400  # an error ends the work, Ctrl-C too


def test_files_of_many_sizes_reach_one(empty_cache: Path, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"{n}.png": png(np.full((n, 2 * n, 3), n, np.uint8)) for n in (3, 9, 40)}
    found = images(write_tree(tmp_path / "data", files), list(files), rule=ResizeRule(6))
    assert found[:, 2, 3, 1].tolist() == [3, 9, 40]
    assert found.shape == (3, 6, 6, 3)


def test_full_disk_is_told_before_it_is_filled(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(5000))
    with pytest.raises(DataError, match=r"the cache needs 0 MiB, but 0 MiB are free"):
        images()
    assert [path.suffix for path in empty_cache.iterdir()] == [".lock"]


def test_large_cache_is_announced(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cache, "_ANNOUNCE_BYTES", 8 * 16 * 16 * 3 - 1)
    images()
    assert capsys.readouterr().err.replace("\n", "") == f"writing a cache of 0 MiB to {empty_cache}"
    images()
    assert capsys.readouterr().err == ""


def test_unusable_cache_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ANYCHAN_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/file: the cache cannot be written (File exists); move")):
        images()


def test_left_over_partial_is_no_cache(empty_cache: Path) -> None:
    expected = np.array(images())
    (path,) = empty_cache.glob("*.npy")
    path.unlink()
    Path(f"{path}.partial").write_bytes(b"of a process that was killed")
    np.testing.assert_array_equal(images(), expected)
    assert not list(empty_cache.glob("*.partial"))


@pytest.mark.parametrize(
    "damage",
    [
        *(pytest.param(lambda data, keep=keep: data[:keep], id=f"cut at {keep}") for keep in (0, 3, 100, -1)),
        *(pytest.param(partial(flipped, at=at), id=f"changed at {at}") for at in (0, 8, 30, 128, 3000, -5, -1)),
        pytest.param(lambda data: data + b"x", id="longer"),
        pytest.param(lambda data: bytes(4), id="the checksum of nothing"),
    ],
)
def test_damaged_cache_is_told_and_built_anew(
    empty_cache: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[bytes], bytes]
) -> None:
    expected = np.array(images())
    (path,) = empty_cache.glob("*.npy")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    capsys.readouterr()
    np.testing.assert_array_equal(images(), expected)
    warning = f"warning: {path}: the cache is damaged, so the images are decoded anew\n"
    assert capsys.readouterr().err == warning
    assert path.read_bytes() == whole


def test_every_number_type_has_its_cache(empty_cache: Path, tmp_path: Path) -> None:
    for dtype in ("uint8", "uint16", "float32"):
        pixels = np.arange(16).reshape(4, 4).astype(dtype)
        folder = write_tree(tmp_path / dtype, {"a.tif": tiff(pixels)})
        for _ in range(2):  # built, then opened
            found = images(folder, ["a.tif"], channels=anonymous(1), rule=ResizeRule(4))
            np.testing.assert_array_equal(found[0, :, :, 0], pixels)
            assert found.dtype == dtype


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_without_a_value_are_refused(empty_cache: Path, tmp_path: Path, value: float) -> None:
    pixels = np.ones((4, 4), np.float32)
    files: dict[str, bytes | str] = {"a.tif": tiff(pixels)}
    pixels[1, 2] = value
    folder = write_tree(tmp_path / "data", {**files, "b.tif": tiff(pixels)})
    message = f"{folder}/b.tif: the image holds NaN or infinity; if NaN stands for no data"
    with pytest.raises(DataError, match=re.escape(message)):
        images(folder, ["a.tif", "b.tif"], channels=anonymous(1), rule=ResizeRule(4))


_RACER = """
import sys, time
from pathlib import Path
from anychan.contract import ResizeRule
from anychan.data import cache, file_claims, readers
from anychan.data.collection import FileCollection
from anychan.data.index import DataIndex
from anychan.data.source import open_source
from anychan.presets import RGB
count = 0
def spy(*args, **options):
    global count
    count += 1
    time.sleep(0.02)
    return readers.read_image(*args, **options)
file_claims.read_image = spy
meeting, me = Path(sys.argv[1]), sys.argv[2]
(meeting / me).touch()
while len(list(meeting.iterdir())) < 2:
    time.sleep(0.005)
names = sys.argv[4:]
index = DataIndex({"train": (), "val": (), "test": ()}, ("one",))
images = cache.cached_images(FileCollection(open_source(sys.argv[3]), index, RGB), names, ResizeRule(16))
print(count, images.shape, hash(images.tobytes()))
"""


def test_two_processes_build_one_cache_once(empty_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "meeting").mkdir()
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, str(tmp_path / "meeting"), name, str(RGB_SPLIT), *NAMES],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        for name in "ab"
    ]
    told = [racer.communicate(timeout=120)[0].split(" ", 1) for racer in racers]
    assert sorted(int(count) for count, _ in told) == [0, len(NAMES) + 1]
    assert told[0][1] == told[1][1]
    assert "(8, 16, 16, 3)" in told[0][1]
    assert sorted(path.suffix for path in empty_cache.iterdir()) == [".lock", ".npy"]
