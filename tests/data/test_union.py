import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from anychan.channels import Channel
from anychan.data.dataset import ImageData, load_data
from anychan.data.union import open_collections, unite, united_classes
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.presets import SENTINEL2
from anychan.recipe import DataConfig
from tests.runs import tiff, write_tree

A, B = "sentinel2:B02, sentinel2:B04, sentinel2:B08", "sentinel2:B08, sentinel2:B03"
RNG = np.random.default_rng(0)


def tiles(folder: Path, channels: str, classes: str = "pq", dtype: Any = np.uint16, *, more: str = "") -> Path:
    """Eight tiles a class; a channel's values lie around 100 times its sentinel2 number, or its place."""
    names = channels.strip("[]").split(",")
    centres = [100 * int(name[-2:]) if name[-2:].isdecimal() else 100 * place + 50 for place, name in enumerate(names)]
    files: dict[str, bytes | str] = {"channels.yaml": f"channels: [{channels}]\n{more}"}
    for name in classes:
        for tile in range(8):
            image = (RNG.integers(-9, 10, (len(names), 6, 6)) + np.array(centres)[:, None, None]).astype(dtype)
            files[f"{name}/{tile}.tif"] = tiff(image, planarconfig="separate")
    return write_tree(folder, files)


def load(*paths: Path, **options: Any) -> ImageData:
    values = {"size": 6, "val_fraction": 0.25, "test_fraction": 0.25, **options}
    encodings = values.pop("encodings", None)
    return load_data(DataConfig(path=[str(path) for path in paths], **values), seed=0, encodings=encodings)


def test_two_sources_with_different_bands(tmp_path: Path) -> None:
    data = load(tiles(tmp_path / "a", A), tiles(tmp_path / "b", B))
    assert data.channels == SENTINEL2.select("B02,B03,B04,B08")  # in the sensor's order
    assert list(data.sources) == ["a", "b"]
    assert [data.sources[name]["train"].index for name in "ab"] == [(0, 2, 3), (3, 1)]
    assert data.count("train") == 16
    for part in data.parts("train"):
        assert part.index is not None
        centres = [100 * int(data.channels[i].name[1:]) for i in part.index]
        assert np.abs(part.images.astype(int) - centres).max() <= 9
    statistics = data.statistics
    np.testing.assert_allclose(statistics.mean, [200, 300, 400, 800], atol=2)
    seen = statistics.pixels > 0
    assert seen.tolist() == [
        [True, False, True, True],
        [False, True, False, True],
        [True, False, True, True],
        [True, True, True, True],
    ]
    assert np.isnan(statistics.covariance[0, 1])
    assert statistics.pixels[3, 3] == 16 * 36  # of both sources
    guessed = load(tmp_path / "a", tmp_path / "b", unseen_pairs="wavelength").statistics
    assert np.isfinite(guessed.covariance).all()


def test_one_source_by_itself(tmp_path: Path) -> None:
    data = load(tiles(tmp_path / "a", A), tiles(tmp_path / "b", B))
    alone = data.source("b")
    assert alone.channels == SENTINEL2.select("B08,B03")
    assert alone.splits["test"].index is None
    np.testing.assert_array_equal(alone.splits["test"].images, data.sources["b"]["test"].images)
    with pytest.raises(DataError, match=r"the data has 2 sources, a, b; take one by source\(\)"):
        _ = data.splits
    with pytest.raises(DataError, match="no source is called 'c'; there are a, b"):
        data.source("c")


def test_classes_are_united_by_name(tmp_path: Path) -> None:
    data = load(tiles(tmp_path / "a", A, "pq"), tiles(tmp_path / "b", B, "oq"))
    assert data.classes == ("o", "p", "q")
    for source, labels in (("a", {1, 2}), ("b", {0, 2})):
        for part in data.sources[source].values():
            assert set(part.labels.tolist()) == labels
            assert [data.classes[label] for label in part.labels] == [name[0] for name in part.names]
    same = open_collections(DataConfig(path=[str(tmp_path / "a")]), seed=0)
    assert united_classes(same.values()) == ("p", "q")


@pytest.mark.parametrize("bare", ["B08, DNA", "{name: B08}, {name: DNA, sensor: scope}"])
def test_bare_names_are_never_united(tmp_path: Path, bare: str) -> None:
    folders = tiles(tmp_path / "a", A), write_tree(tmp_path / "b", {"p/0.tif": b"", "q/0.tif": b""})
    tiles(folders[1], B)
    (folders[1] / "channels.yaml").write_text(f"channels: [{bare}]\n")
    message = (
        f"{folders[1]}: its channels B08+DNA name no sensor, so nobody knows whether another source's are the same"
    )
    with pytest.raises(ChannelError, match=f"^{re.escape(message)}"):
        load(*folders)
    assert load(folders[1]).channels.names == ("B08", "DNA")  # alone they do no harm


def test_names_of_the_recipe_are_united_only_with_their_sensor(tmp_path: Path) -> None:
    paths = tiles(tmp_path / "a", A), tiles(tmp_path / "b", A)
    for path in paths:
        (path / "channels.yaml").unlink()
    with pytest.raises(ChannelError, match=r"/a: its channels DNA\+ER\+AGP name no sensor, so nobody knows whether"):
        load(*paths, channels=["DNA", "ER", "AGP"])
    assert load(*paths, channels=A.split(", ")).channels.identities == tuple(A.split(", "))
    assert load(paths[0], channels=["DNA", "ER", "AGP"]).channels.names == ("DNA", "ER", "AGP")


def test_one_bare_name_of_two_sensors_is_two_channels(tmp_path: Path) -> None:
    data = load(tiles(tmp_path / "a", "landsat5:B2, landsat5:B3"), tiles(tmp_path / "b", "landsat8:B2, landsat8:B3"))
    assert data.channels.identities == ("landsat5:B2", "landsat5:B3", "landsat8:B2", "landsat8:B3")
    assert data.channels.labels == data.channels.identities


def test_units_must_agree(tmp_path: Path) -> None:
    paths = tiles(tmp_path / "a", A, more="unit: reflectance\n"), tiles(tmp_path / "b", B)
    message = (
        f"{paths[1]}: channel 'sentinel2:B08' is in no stated unit, but in reflectance elsewhere; state one unit, with "
        "scale and offset"
    )
    with pytest.raises(ChannelError, match=f"^{re.escape(message)}$"):
        load(*paths)


def test_wavelengths_must_agree(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "ab"]
    for path, centre in zip(paths, (500, 510), strict=True):
        tiles(path, f"{{name: x, sensor: lab, wavelength_nm: {centre}}}", more="")
    for path, centre in zip(paths, (500, 510), strict=True):
        for file in path.glob("*/*.tif"):
            file.write_bytes(tiff(np.ones((6, 6), np.uint16)))
        (path / "channels.yaml").write_text(f"channels: [{{name: x, sensor: lab, wavelength_nm: {centre}}}]\n")
    with pytest.raises(ChannelError, match=rf"^{re.escape(str(paths[1]))}: channel 'lab:x' is centred at 500 nm"):
        load(*paths)


def test_equal_reflectances_become_equal_numbers(tmp_path: Path) -> None:
    """Sentinel-2 from baseline 04.00 on has 1000 added to its numbers."""
    stated = "unit: reflectance\nscale: 0.0001\n"
    old = tiles(tmp_path / "old", "sentinel2:B02, sentinel2:B08", more=f"{stated}no_data: 0\n")
    new = write_tree(
        tmp_path / "new", {"channels.yaml": f"channels: [sentinel2:B08, sentinel2:B02]\n{stated}offset: -0.1\n"}
    )
    for file in old.glob("*/*.tif"):
        shifted = tifffile.imread(file)[::-1] + np.uint16(1000)
        write_tree(new, {str(file.relative_to(old)): tiff(shifted, planarconfig="separate")})
    data = load(old, new)
    assert data.encodings == (Encoding("reflectance", 0.0001, 0, 0),) * 2
    for split in ("train", "val", "test"):
        one, two = (data.sources[name][split] for name in ("old", "new"))
        assert one.names == two.names
        assert two.index == (1, 0)
        np.testing.assert_array_equal(one.images, two.images[..., [1, 0]])
    other_way = load(new, old)
    assert other_way.encodings[0] == Encoding("reflectance", 0.0001, -0.1, 0)
    assert other_way.sources["old"]["train"].images.min() > 1000


def test_a_models_encoding_wins(tmp_path: Path) -> None:
    path = tiles(tmp_path / "a", "sentinel2:B02, sentinel2:B08", more="unit: reflectance\nscale: 0.0001\n")
    wanted = Encoding("reflectance", 0.0001, -0.1)
    data = load(path, encodings={"sentinel2:B08": wanted, "sentinel2:B01": wanted})
    assert data.encodings == (Encoding("reflectance", 0.0001), wanted)
    np.testing.assert_allclose(data.splits["train"].images.mean((0, 1, 2)), [200, 1800], atol=3)


def test_no_data_of_any_source_is_known_to_all(tmp_path: Path) -> None:
    paths = tiles(tmp_path / "a", A), tiles(tmp_path / "b", B, more="no_data: 9\n")
    collections = open_collections(DataConfig(path=[str(path) for path in paths]), seed=0)
    channels, encodings = unite(collections.values(), {})
    assert dict(zip(channels.names, (encoding.no_data for encoding in encodings), strict=True)) == {
        **{"B02": None, "B03": 9, "B04": None, "B08": 9}
    }
    assert [encoding.no_data for encoding in collections["a"].encodings] == [None, None, 9]


def test_no_data_of_another_source_needs_a_word(tmp_path: Path) -> None:
    paths = tiles(tmp_path / "a", A, more="no_data: 0\n"), tiles(tmp_path / "b", B)
    written = write_tree(
        tmp_path / "b", {"p/0.tif": tiff(np.stack([np.arange(36).reshape(6, 6)] * 2).astype(np.uint16))}
    )
    message = r"p/0.tif: channel B08: it holds 0, which means no data elsewhere; state its no_data \(0, or another"
    for order in (paths, paths[::-1]):
        with pytest.raises(DataError, match=message):
            load(*order)
    with (written / "channels.yaml").open("a") as file:
        file.write("no_data: 65535\n")
    parts = load(*paths).sources["b"].values()
    (image,) = (part.images[part.names.index("p/0.tif")] for part in parts if "p/0.tif" in part.names)
    assert image[..., 0].ravel().tolist() == [1, *range(1, 36)]  # 0 stays data
    assert image[0, 0, 1] == 0  # B03, of which no other source says anything


def test_a_group_lies_in_one_split_of_all_sources(tmp_path: Path) -> None:
    paths = tiles(tmp_path / "a", A), tiles(tmp_path / "b", B)
    usual = ("train", "train", "train", "train", "val", "val", "test", "test")

    def table(path: Path, splits: tuple[str, ...] | None, first: int = 0) -> None:
        rows = [f"{name}/{tile},{name},P{first + tile}" for name in "pq" for tile in range(8)]
        ends = [""] * 16 if splits is None else [f",{split}" for split in splits * 2]
        head = "sample,label,plate" + ("" if splits is None else ",split")
        (path / "samples.csv").write_text("\n".join([head, *map(str.__add__, rows, ends)]))

    table(paths[0], usual)
    table(paths[1], usual[::-1])
    message = (
        r"^plate 'P\d' is in (train|val|test) of source b, but in (train|val|test) of source a; keep it in one split "
        r"by a column split in the sources' samples.csv$"
    )
    with pytest.raises(DataError, match=message):
        load(*paths, group_by="plate")
    table(paths[1], None)  # drawn
    with pytest.raises(DataError, match=message):
        load(*paths, group_by="plate")
    table(paths[1], None, first=8)  # other plates
    assert load(*paths, group_by="plate").count("val") >= 2
    table(paths[1], usual)
    assert load(*paths, group_by="plate").count("train") == 16
    table(paths[1], usual[::-1])
    assert load(*paths).count("train") == 16  # nobody asked for groups


def test_the_dots_of_a_folders_name_are_its_own(tmp_path: Path) -> None:
    paths = tiles(tmp_path / "plates.2023", A), tiles(tmp_path / "plates.2024", B)
    assert list(load(*paths).sources) == ["plates.2023", "plates.2024"]
    np.savez(tmp_path / "c.v2.npz", x=RNG.random((16, 2, 6, 6)), y=np.arange(16) % 2, channels=B.split(", "))
    found = open_collections(DataConfig(path=[str(paths[0]), str(tmp_path / "c.v2.npz")]), seed=0)
    assert list(found) == ["plates.2023", "c.v2"]


def test_two_sources_of_one_name(tmp_path: Path) -> None:
    paths = tiles(tmp_path / "x" / "a", A), tiles(tmp_path / "y" / "a", B)
    with pytest.raises(DataError, match=rf"^{paths[1]}: another source is called 'a' too; rename one of them"):
        load(*paths)


def test_number_types_of_sources_must_agree(tmp_path: Path) -> None:
    paths = tiles(tmp_path / "a", A), tiles(tmp_path / "b", B, dtype=np.float32)
    with pytest.raises(DataError, match=r"^b/p/\d.tif is float32, but a/p/\d.tif is uint16; use one number type$"):
        load(*paths)


def test_channels_of_no_preset_come_as_they_are_met(tmp_path: Path) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    tiles(one, "ER, DNA")
    tiles(two, "AGP, DNA")
    for path, names in ((one, "ER DNA"), (two, "AGP DNA")):
        entries = ", ".join(f"{{name: {name}, sensor: scope}}" for name in names.split())
        (path / "channels.yaml").write_text(f"channels: [{entries}]\n")
    data = load(one, two)
    assert list(data.channels) == [Channel(name, "scope") for name in ("ER", "DNA", "AGP")]
