import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from anychan.channels import Channel, ChannelSet
from anychan.data.channels_file import ChannelsFile, find_channels_file, sidecar
from anychan.data.source import open_source
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.presets import SENTINEL2
from tests.runs import write_tree

FULL = """
channels:
  - sentinel2:B02
  - {channel: sentinel2:B03, no_data: 65535, file: green}
  - {name: DNA, sensor: scope, aliases: [ch5], wavelength_nm: 461, unit: counts, scale: 1, offset: 0, file: ch5}
files: "{sample}_{channel}.tif"
unit: reflectance
scale: 0.0001
offset: -0.1
no_data: 0
"""
CHANNEL = st.builds(
    Channel,
    name=st.text("abc019", min_size=1, max_size=3),
    sensor=st.sampled_from(["lab", "drone"]),
    aliases=st.sampled_from([(), ("x",), ("x", "y")]),
    wavelength_nm=st.one_of(st.none(), st.floats(100, 1e5)),
)
ENCODING = st.builds(
    Encoding,
    unit=st.sampled_from([None, "K"]),
    offset=st.floats(-9, 9),
    no_data=st.sampled_from([None, 0.0, float("nan")]),
)


def parse(text: str) -> ChannelsFile:
    return ChannelsFile.parse(text, "here")


def saved(file: ChannelsFile, folder: Path) -> ChannelsFile:
    file.save(folder / "saved.yaml")
    return parse((folder / "saved.yaml").read_text(encoding="utf-8"))


def test_every_key_has_its_meaning(tmp_path: Path) -> None:
    file = parse(FULL)
    assert list(file.channels)[:2] == list(SENTINEL2.select("B02,B03"))
    assert file.channels[2] == Channel("DNA", "scope", ("ch5",), wavelength_nm=461)
    shared = Encoding("reflectance", 0.0001, -0.1, 0)
    assert file.encodings == (shared, Encoding("reflectance", 0.0001, -0.1, 65535), Encoding("counts", no_data=0))
    assert file.files == "{sample}_{channel}.tif"
    assert file.file_texts == (None, "green", "ch5")
    assert file.file_names == (("B02", "B2"), ("green",), ("ch5",))
    assert file.named_sensor
    assert saved(file, tmp_path) == file


@given(
    st.lists(st.tuples(CHANNEL, ENCODING, st.sampled_from([None, "f"])), min_size=1, unique_by=lambda r: r[0].identity)
)
def test_what_is_saved_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, Any, Any]]) -> None:
    channels, encodings, texts = zip(*rows, strict=True)
    file = ChannelsFile(ChannelSet(channels), encodings, file_texts=texts if any(texts) else ())
    assert saved(file, tmp_path_factory.mktemp("saved")) == file


def test_a_sensor_is_all_its_channels(tmp_path: Path) -> None:
    file = parse("channels: sentinel2\nno_data: .nan\n")
    assert file.channels == SENTINEL2
    assert set(file.encodings) == {Encoding(no_data=float("nan"))}
    assert saved(file, tmp_path) == file


def test_evenly_spaced_bands_need_no_list(tmp_path: Path) -> None:
    file = parse("channels: {sensor: samson, count: 156, wavelengths_nm: [401, 889]}\nscale: 2\n")
    assert len(file.channels) == len(file.encodings) == 156
    assert file.channels[0] == Channel("b001", "samson", wavelength_nm=401)
    assert file.channels[155] == Channel("b156", "samson", wavelength_nm=889)
    steps = {
        round((two.wavelength_nm or 0) - (one.wavelength_nm or 0), 2)
        for one, two in zip(list(file.channels)[:-1], list(file.channels)[1:], strict=True)
    }
    assert steps <= {3.14, 3.15, 3.16}
    assert saved(file, tmp_path) == file
    assert yaml.safe_load((tmp_path / "saved.yaml").read_text())["channels"]["count"] == 156
    uneven = ChannelsFile(ChannelSet([*list(file.channels)[:-1], Channel("b156", "samson")]), file.encodings)
    assert saved(uneven, tmp_path) == uneven


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("channels: [DNA, ER]", False),
        ("channels: [sentinel2:B02, DNA]", False),
        ("channels: [{name: DNA}]", False),
        ("channels: [{name: DNA, sensor: s}, sentinel2:B02]", True),
        ("channels: rgb", True),
    ],
)
def test_bare_names_are_nobodys(text: str, named: bool) -> None:
    assert parse(text).named_sensor is named


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("channels: rgb\nfiles: '*.tif'", DataError, "files is '*.tif', but it must be a pattern with {channel}"),
        ("channels: rgb\nfiles: 3", DataError, "files is 3, but it must be a pattern with {channel}"),
        (
            "channels: [{name: a, file: 3}]",
            ChannelError,
            "file is 3, but it must be the text that stands for {channel}",
        ),
        ("channels: [{file: x}]", ChannelError, "channel {} needs a 'name'"),
        ("channels: [{name: a, scale: 0}]", ChannelError, "scale is 0, but it must be above 0"),
        ("channels: [{name: a, wavelength_nm: 0.49}]", ChannelError, "0.49, which looks like µm; write 490"),
        ("a: &a [1]\nchannels: [*a]", DataError, "the file is not YAML (aliases are not read; write the values out)"),
        (
            "channels: !!python/object/apply:os.system [ls]",
            DataError,
            "the file is not YAML (could not determine a con",
        ),
        ("channels: " + "[" * 5000, DataError, "the file is not YAML (values are nested more than 32 deep)"),
        ("channels: 2001-99-99", DataError, "the file is not YAML (month must be in 1..12)"),
        (f"channels: [a]\nscale: 0x{'f' * 5000}", DataError, "the file is not YAML (a number is too long)"),
        (f"channels: rgb\n#{'x' * 2**18}", DataError, "the file is not YAML (it has more than 262,144 characters)"),
        ("channels: rgb\nfiles: '*_*_*_*_*_{channel}'", DataError, "may hold {sample} once, and 4 * with it"),
        ("channels: rgb\nfiles: '{channel}_{channel}'", DataError, "must be a pattern with {channel}"),
        ("channels: [{name: a, unit: [1]}]", ChannelError, "unit is [1], but it must be text"),
        ("channels: [{name: a, aliases: [1]}]", ChannelError, "1 is no other name for it; put quotes around it"),
        ("channels: {sensor: s, count: 999999999, wavelengths_nm: [1, 2]}", ChannelError, "needs one of 2 to 65,535"),
        ("channels: {sensor: s, count: 3}", ChannelError, "channels has the keys sensor, count, but the short form is"),
        ("channels: {sensor: s, count: 1, wavelengths_nm: [400, 500]}", ChannelError, "has the count 1"),
        ("channels: {sensor: s, count: 3, wavelengths_nm: [400]}", ChannelError, "wavelengths_nm is [400], but"),
        ("channels: {sensor: s, count: 3, wavelengths_nm: [0.4, 0.9]}", ChannelError, "which looks like µm; write 400"),
    ],
)
def test_bad_files_are_named(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^here: .*{re.escape(message)}"):
        parse(text)


def test_where_the_file_lies(tmp_path: Path) -> None:
    assert sidecar(tmp_path) == tmp_path / "channels.yaml"
    assert sidecar(tmp_path / "a.npz") == tmp_path / "a.channels.yaml"
    assert sidecar(tmp_path / "a.zip", "samples.csv") == tmp_path / "a.samples.csv"


def test_the_file_beside_wins(tmp_path: Path) -> None:

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("channels.yaml", "channels: rgb")
    source = open_source(tmp_path / "a.zip")
    assert find_channels_file(tmp_path / "a.zip") is None
    inside = find_channels_file(source.path, source)
    write_tree(tmp_path, {"a.channels.yaml": "channels: [DNA]"})
    beside = find_channels_file(source.path, source)
    assert inside is not None
    assert beside is not None
    assert (inside.channels.names, beside.channels.names) == (("R", "G", "B"), ("DNA",))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "channels.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"channels.yaml: the file cannot be read as text"):
        find_channels_file(tmp_path)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("Sentinel2", True),
        ("sentinel2:B02,sentinel2:B03", True),
        (["sentinel2:B02", "landsat8:B2"], True),
        ("DNA,ER", False),
        (["sentinel2:B02", "DNA"], False),
    ],
)
def test_bare_names_of_a_list_are_nobodys(spec: str | list[str], named: bool) -> None:
    assert ChannelsFile.of(spec).named_sensor is named
