import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anychan.data.describe import Description, describe
from anychan.errors import ChannelError, DataError
from anychan.presets import RGB, SENTINEL2
from tests.runs import RGB_SPLIT, S2_TILES, constant_channels, png, tiff, write_tree

EUROSAT = ",".join(f"sentinel2:{name}" for name in [*(f"B{n:02}" for n in range(1, 13)), "B8A"])


def noise(channels: int, *, seed: int = 0, height: int = 12, width: int = 9, dtype: Any = np.uint16) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 200, (height, width, channels)).astype(dtype)
    return tiff(pixels if channels > 1 else pixels[..., 0], planarconfig="contig" if channels > 1 else None)


def test_photographs() -> None:
    found = describe(RGB_SPLIT)
    assert (found.storage, found.files, found.samples, found.looked_at) == ("one file a sample", None, 24, 24)
    assert found.naming.channels == RGB
    assert (found.dtype, found.sizes) == ("uint8", {(16, 16): 24})
    assert found.labels == ("R", "G", "B")
    assert found.flags == ((), (), ())
    name, planes = found.shown
    assert (RGB_SPLIT / name).is_file()
    assert [plane.shape for plane in planes] == [(16, 16)] * 3


def test_tiffs_without_names_are_numbered() -> None:
    found = describe(S2_TILES)
    assert found.naming.channels is None
    assert found.labels == ("1", "2", "3", "4")
    means = [facts.mean for facts in found.facts]
    np.testing.assert_allclose(means, [1000, 2000, 3000, 4000], atol=50)
    asked = describe(S2_TILES, channels="sentinel2:B02,sentinel2:B03,sentinel2:B04,sentinel2:B08")
    assert asked.naming.channels == SENTINEL2.select("B02,B03,B04,B08")
    assert [facts.mean for facts in asked.facts] == means


def test_a_single_file(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a.tif": noise(2), "b.tif": noise(3)})
    found = describe(tmp_path / "b.tif")
    assert (found.samples, found.labels) == (1, ("1", "2", "3"))
    assert found.shown[0] == "b.tif"


def test_samples_are_drawn_by_the_seed(tmp_path: Path) -> None:
    write_tree(tmp_path, {f"{n}.tif": tiff(np.arange(12, dtype=np.uint16).reshape(3, 4) + n) for n in range(20)})
    drawn = [describe(tmp_path, samples=3, seed=seed) for seed in (0, 0, 1)]
    assert [(one.looked_at, one.samples) for one in drawn] == [(3, 20)] * 3
    means = [one.facts[0].mean for one in drawn]
    assert means[0] == means[1] != means[2]


def test_sizes_may_differ(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a.tif": noise(2), "b.tif": noise(2, height=5, width=7), "c.tif": noise(2)})
    assert describe(tmp_path).sizes == {(12, 9): 2, (5, 7): 1}


def test_one_file_a_channel_of_mixed_resolution(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {}
    for number, sample in enumerate(("x", "y")):
        for band, side in (("B02", 12), ("B05", 6), ("B8A", 6)):
            files[f"t/{sample}_{band}.tif"] = noise(1, seed=number + side, height=side, width=side)
    found = describe(write_tree(tmp_path, files))
    assert (found.storage, found.files, found.samples) == ("one file a channel", "{sample}_{channel}.tif", 2)
    assert found.naming.channels == SENTINEL2.select("B02,B05,B8A")
    assert found.file_texts == ("B02", "B05", "B8A")
    assert [facts.sizes for facts in found.facts] == [((12, 12),), ((6, 6),), ((6, 6),)]
    some = describe(tmp_path, channels="sentinel2:B8A,sentinel2:B02")
    assert some.labels == some.file_texts == ("B8A", "B02")
    assert [facts.sizes for facts in some.facts] == [((6, 6),), ((12, 12),)]
    assert [plane.shape for plane in some.shown[1]] == [(6, 6), (12, 12)]


def test_the_sample_with_most_to_see_is_shown(tmp_path: Path) -> None:
    flat = tiff(constant_channels(5, 6, dtype=np.uint16), planarconfig="contig")
    found = describe(write_tree(tmp_path, {"a.tif": flat, "b.tif": noise(2, height=5, width=7), "c.tif": flat}))
    assert found.shown[0] == "b.tif"


def test_the_dark_band_out_of_place_is_noticed(real_data: Callable[[str], Path]) -> None:
    path = real_data("eurosat-ms-mini.zip")
    (note,) = describe(path, sensor="sentinel2", samples=6).notes
    assert re.match(r"B10 lies where water vapour absorbs, .* its mean is \d{4}; B09's is 1\d\.\d+: check the", note)
    right = describe(path, channels=EUROSAT, samples=6)
    assert right.notes == ()
    assert right.naming.channels is not None
    assert right.naming.channels.names[-1] == "B8A"


def test_microscopy(real_data: Callable[[str], Path]) -> None:
    found = describe(real_data("cell-painting-field.zip"))
    assert (found.samples, found.labels) == (1, ("ch1", "ch2", "ch3", "ch4", "ch5", "ch6"))
    assert found.files == "{sample}-{channel}sk1fk1fl1.tiff"
    assert not found.naming.named_sensor


def test_plain_values(tmp_path: Path) -> None:
    found: Description = describe(write_tree(tmp_path, {"a.tif": noise(2)}), channels="DNA,RNA", sensor="scope")
    values = found.to_dict()
    assert values["sizes"] == [[12, 9, 1]]
    assert (values["named"], values["named_sensor"], values["dtype"]) == (True, True, "uint16")
    first = values["channels"][0]
    assert {key: first[key] for key in ("label", "name", "sensor", "flags", "no_data", "sizes")} == {
        "label": "DNA",
        "name": "DNA",
        "sensor": "scope",
        "flags": ["8-bit values in 16-bit"],
        "no_data": 0.0,
        "sizes": [[12, 9]],
    }


BANDS = {f"{sample}_{band}.tif": noise(1) for sample in "xy" for band in ("B02", "B03")}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": b"text"}, r"there is no image \(\.jpeg, "),
        ({"a.tif": noise(2), "b.tif": noise(3)}, "b.tif holds 3 channels, but a.tif holds 2; describe each kind on"),
        ({"a.tif": noise(2), "b.tif": noise(2, dtype=np.uint8)}, "b.tif is uint8, but a.tif is uint16; write both"),
        ({"a.tif": noise(2), "b.tif": b"II*\0"}, r"[^ ]*b.tif: the image is damaged or truncated"),
        ({**BANDS, "z_B02.tif": noise(1)}, "sample z has no file for channel 'B03', which others have; add it"),
        (
            {**BANDS, "z_VV.tif": noise(1), "z_VH.tif": noise(1)},
            "the files are samples of two kinds, 2 of B02, B03 and 1 of VH, VV; say which by --sensor or --channels",
        ),
    ],
)
def test_data_that_cannot_be_described(tmp_path: Path, files: dict[str, bytes | str], message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        describe(write_tree(tmp_path, files))
    assert str(tmp_path) in str(raised.value)


def test_of_two_kinds_one_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path, {**BANDS, "z_VV.tif": noise(1), "z_VH.tif": noise(1)})
    assert describe(tmp_path, sensor="sentinel2").labels == ("B02", "B03")
    assert describe(tmp_path, channels="VV,VH").samples == 1
    with pytest.raises(DataError, match=r"the files are samples of two kinds"):
        describe(tmp_path, channels="a,b,c")


@pytest.mark.parametrize("axis", [0, 2])
def test_a_folder_of_arrays(tmp_path: Path, axis: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 9000, (8, 8, 13), dtype=np.uint16)
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.moveaxis(pixels, -1, axis))
    found = describe(tmp_path, sensor="sentinel2")
    assert (found.naming.channels, found.storage, found.samples) == (SENTINEL2, "one file a sample", 2)
    assert [facts.mean for facts in found.facts] == pytest.approx(pixels.mean((0, 1)))
    assert describe(tmp_path).labels == tuple(map(str, range(1, 14)))


def test_images_in_one_file(real_data: Callable[[str], Path]) -> None:
    found = describe(real_data("cell-cycle.npz"), samples=4)
    assert (found.samples, found.looked_at, found.labels) == (3417, 4, ("Ch3", "Ch4", "Ch6"))
    assert found.storage == "images in x of (3417, 3, 40, 40)"
    assert (found.dtype, found.sizes) == ("uint16", {(40, 40): 4})
    assert found.naming.channels is not None
    assert not found.naming.named_sensor


@pytest.mark.parametrize("suffix", ["npz", "npy", "mat"])
def test_damaged_arrays_are_told(tmp_path: Path, suffix: str) -> None:
    write_tree(tmp_path, {f"a.{suffix}": b"anything"})
    with pytest.raises(DataError, match=rf"a.{suffix}: the file cannot be read as "):
        describe(tmp_path / f"a.{suffix}")


def test_absent_paths_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no such folder or zip"):
        describe(tmp_path / "absent")
    write_tree(tmp_path, {"a.png": png(constant_channels(1, 2, 3))})
    with pytest.raises(ChannelError, match=r"the files call a channel 'R', which is none of sentinel2's"):
        describe(tmp_path, sensor="sentinel2")
