import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anychan.channels import ChannelSet
from anychan.data.collection import Collection, FileCollection
from anychan.data.index import DataIndex
from anychan.data.readers import register_reader
from anychan.data.source import open_source
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.presets import LANDSAT8, RGB, SENTINEL2
from tests.runs import Array, constant_channels, png

TILES = SENTINEL2.select("B02,B03,B08")
NUMBERS = constant_channels(10, 20, 30, height=2, width=3, dtype=np.uint16)


class Arrays(Collection):
    """Samples that are there already."""

    def __init__(self, samples: dict[str, Array], encodings: Sequence[Encoding] = (Encoding(),) * 3) -> None:
        super().__init__(Path("here"), DataIndex({}, ()), TILES, encodings)
        self.samples = samples

    def read_stored(self, name: str) -> Array:
        return self.samples[name]

    def _fingerprint(self, name: str) -> str:
        return name


def with_gap(*channels: int, everywhere: bool = False) -> Array:
    image = NUMBERS.copy()
    image[:, :, channels] = 0
    if not everywhere:
        image[0, 0] = NUMBERS[0, 0]
    return image


def test_all_that_is_held_is_read() -> None:
    found = Arrays({"a": NUMBERS})
    assert found.channels == found.held == TILES
    np.testing.assert_array_equal(found.read("a"), NUMBERS)


def test_channels_are_chosen_by_name() -> None:
    found = Arrays({"a": NUMBERS}, [Encoding(no_data=n) for n in (1, 2, 3)])
    found.use(["nir", "B02"])
    assert found.channels == TILES.select("B08,B02")
    assert [encoding.no_data for encoding in found.encodings] == [3, 1]
    assert found.read("a")[0, 0].tolist() == [30, 10]
    found.use("B03")
    assert found.read("a")[0, 0].tolist() == [20]
    with pytest.raises(ChannelError, match=r"^here: channel 'B04' is not one of B02, B03, B08"):
        found.use("B04")
    with pytest.raises(ChannelError, match=r"^here: channel 'sentinel2:B01' is not one of"):
        found.use("sentinel2")


def test_values_are_given_as_another_source_stores_them() -> None:
    stored = [Encoding("reflectance", 0.0001, -0.1, 0)] * 3
    image = constant_channels(1500, 0, 3000, dtype=np.uint16)
    found = Arrays({"a": image}, stored)
    found.use("B08,B03")
    wanted = Encoding("reflectance", 0.0001, 0, 65535)
    found.encode_as(dict.fromkeys(TILES.identities, wanted) | {LANDSAT8.identities[0]: Encoding("K")})
    assert found.encodings == (wanted, wanted)
    assert found.read("a")[0, 0].tolist() == [2000, 65535]
    assert image[0, 0].tolist() == [1500, 0, 3000]  # the sample itself stays
    assert found.read("a")[0, 0].tolist() == [2000, 65535]
    found.encode_as({TILES.identities[1]: Encoding("reflectance", 0.0001)})
    with pytest.raises(DataError, match=r"^a: channel B03: 0 stands for no data here, but nothing does there$"):
        found.read("a")


def test_a_channel_may_lack_data_and_the_whole_image_not() -> None:
    samples = {
        "one": with_gap(1, everywhere=True),
        "all": with_gap(0, 1, 2, everywhere=True),
        "most": with_gap(0, 1, 2),
    }
    found = Arrays(samples, [Encoding(no_data=0)] * 3)
    for name in ("one", "most"):
        np.testing.assert_array_equal(found.read(name), samples[name])
    message = "all: the image holds no data in any pixel; leave it out"
    with pytest.raises(DataError, match=f"^{message}$"):
        found.read("all")
    found.use("B03")
    with pytest.raises(DataError, match=r"^one: the image holds no data in any pixel"):
        found.read("one")


def test_nan_must_be_declared() -> None:
    image = NUMBERS.astype(np.float32)
    image[0, 0, 1] = np.nan
    message = "a: the image holds NaN or infinity; if NaN stands for no data, say `no_data: nan` in channels.yaml"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        Arrays({"a": image}).read("a")
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        Arrays({"a": image}, [Encoding(no_data=0)] * 3).read("a")
    declared = Arrays({"a": image, "b": np.full_like(image, np.nan)}, [Encoding(no_data=float("nan"))] * 3)
    np.testing.assert_array_equal(declared.read("a"), image)
    with pytest.raises(DataError, match=r"^b: the image holds no data in any pixel"):
        declared.read("b")


def test_facts_tell_all_that_decides_the_pixels() -> None:
    def facts(encodings: Sequence[Encoding] = (Encoding(),) * 3, use: str = "", given: Encoding | None = None) -> str:
        found = Arrays({}, encodings)
        if use:
            found.use(use)
        if given is not None:
            found.encode_as({ChannelSet(TILES).identities[0]: given})
        return str(found.facts(["a"]))

    shown = [
        facts(),
        facts((Encoding(no_data=0),) * 3),
        facts(use="B02,B03"),
        facts(use="B03,B02"),
        facts(given=Encoding(offset=1)),
    ]
    assert len(set(shown)) == len(shown)
    assert facts() == facts(use="B02,B03,B08")


@pytest.mark.usefixtures("own_parts")
def test_a_new_version_of_a_reader_is_another_content(tmp_path: Path) -> None:
    for name in ("a.png", "a.inv"):
        (tmp_path / name).write_bytes(png(constant_channels(1, 2, 3)))
    index = DataIndex({"train": (), "val": (), "test": ()}, ("one",))
    collection = FileCollection(open_source(tmp_path), index, RGB)
    facts = []
    for version in (1, 1, 2):
        register_reader(".inv", lambda data, _: np.asarray(Image.open(io.BytesIO(data))), version=version)
        facts.append((collection.facts(["a.png"]), collection.facts(["a.inv"])))
    (png_1, inv_1), (png_again, inv_again), (png_2, inv_2) = facts
    assert png_1 == png_again == png_2
    assert inv_1 == inv_again != inv_2
