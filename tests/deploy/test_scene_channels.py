from pathlib import Path

import pytest

from anychan.channels import Channel
from anychan.data.channels_file import ChannelsFile
from anychan.deploy.scene_channels import (
    channel_notes,
    find_band_files,
    match_bands,
    name_bands,
    named_channels,
    said_channels,
    scene_channels_file,
)
from anychan.errors import ChannelError, DataError
from anychan.presets import LANDSAT8, SENTINEL2
from tests.runs import write_tree
from tests.scenes import BANDS, scene_model

SCENE = Path("scene.tif")
CONTRACT = scene_model().contract


def said(text: str) -> ChannelsFile:
    return ChannelsFile.parse(text, "channels.yaml")


@pytest.mark.parametrize(
    ("spec", "identities"),
    [
        ("landsat8", LANDSAT8.identities),
        ("B04,nir,B2", ("sentinel2:B04", "sentinel2:B08", "sentinel2:B02")),  # name, common name, alias: the model's
        ("B04, landsat8:B2", ("sentinel2:B04", "landsat8:B2")),
        ("B04,height", ("sentinel2:B04", "custom:height")),
        ("B08", ("sentinel2:B08",)),
    ],
)
def test_options_name_a_sensor_or_channels(spec: str, identities: tuple[str, ...]) -> None:
    assert tuple(channel.identity for channel in named_channels(spec, BANDS)) == identities


def test_who_says_what_the_bands_are() -> None:
    descriptions = ["B08", "B04", "B03", "B02"]
    by_file, by_option = (
        said("channels: [sentinel2:B03, sentinel2:B04, sentinel2:B08, sentinel2:B02]"),
        "B02,B03,B04,B08",
    )
    found = name_bands(SCENE, descriptions, BANDS, spec=by_option, said=by_file)
    assert [channel.name for channel in found] == ["B02", "B03", "B04", "B08"]
    found = name_bands(SCENE, descriptions, BANDS, spec=None, said=by_file)
    assert [channel.name for channel in found] == ["B03", "B04", "B08", "B02"]
    found = name_bands(SCENE, descriptions, BANDS, spec=None, said=None)
    assert [channel.name for channel in found] == descriptions


def test_the_user_wins_over_the_channels_file() -> None:
    by_file = said("channels: [sentinel2:B03, sentinel2:B04]")
    assert said_channels(BANDS, spec="B08", said=by_file) == (BANDS[3],)
    assert said_channels(BANDS, spec=None, said=by_file) == (BANDS[1], BANDS[2])
    assert said_channels(BANDS, spec=None, said=None) is None


@pytest.mark.parametrize("descriptions", [[None] * 4, ["B02", "B03", "B04", None], ["B02", "B03", "B04", "height"]])
def test_an_order_is_never_guessed(descriptions: list[str | None]) -> None:
    with pytest.raises(ChannelError, match=r"scene.tif: nobody says which channels its 4 bands are; give --channels"):
        name_bands(SCENE, descriptions, BANDS, spec=None, said=None)


def test_as_many_names_as_bands() -> None:
    with pytest.raises(ChannelError, match=r"the scene has 4 bands, but --channels names 2: B02, B03"):
        name_bands(SCENE, [None] * 4, BANDS, spec="B02,B03", said=None)
    with pytest.raises(ChannelError, match=r"the scene has 4 bands, but channels.yaml names 13: B01, B02"):
        name_bands(SCENE, [None] * 4, BANDS, spec=None, said=said("channels: sentinel2"))


def test_bands_that_the_model_knows_are_found_by_identity() -> None:
    height = Channel("B02", "lidar")  # a bare name means nothing
    with pytest.raises(ChannelError, match=r"the model knows sentinel2:B02, .* but not lidar:B02; adapt or extend"):
        match_bands(SCENE, [BANDS[3], height, BANDS[1]], CONTRACT, allow_unknown=False)
    found = match_bands(SCENE, [BANDS[3], height, BANDS[1]], CONTRACT, allow_unknown=True)
    assert found.bands == (0, 2)
    assert found.channels.names == ("B08", "B03")
    assert found.unknown == ("lidar:B02",)
    assert found.missing == ("B02", "B04")
    notes = list(channel_notes(found, CONTRACT))
    assert notes[0].startswith("2 of the model's 4 channels are missing (B02, B04); the stem that does without them: ")
    assert notes[0].endswith(CONTRACT.stem)
    assert notes[1] == "left out, because the model does not know them: lidar:B02"


def test_a_scene_of_strangers_is_refused_even_when_they_are_allowed() -> None:
    with pytest.raises(ChannelError, match=r"but not landsat8:B1, .*; adapt or extend the model$"):
        match_bands(SCENE, tuple(LANDSAT8), CONTRACT, allow_unknown=True)


def test_one_channel_of_two_wavelengths_is_refused() -> None:
    moved = Channel("B02", "sentinel2", wavelength_nm=700.0)
    with pytest.raises(ChannelError, match=r"'sentinel2:B02' is centred at 700.0 nm"):
        match_bands(SCENE, [moved], CONTRACT, allow_unknown=False)


def test_all_channels_leave_nothing_to_say() -> None:
    found = match_bands(SCENE, tuple(BANDS), CONTRACT, allow_unknown=False)
    assert list(channel_notes(found, CONTRACT)) == []


def test_the_scenes_own_channels_file_wins(tmp_path: Path) -> None:
    assert scene_channels_file(tmp_path / "scene.tif") is None
    write_tree(tmp_path, {"channels.yaml": "channels: sentinel2"})
    for path in (tmp_path / "scene.tif", tmp_path):
        found = scene_channels_file(path)
        assert found is not None
        assert found.channels == SENTINEL2
    write_tree(tmp_path, {"scene.channels.yaml": "channels: landsat8"})
    found = scene_channels_file(tmp_path / "scene.tif")
    assert found is not None
    assert found.channels == LANDSAT8


def test_band_files_are_found_by_name_or_alias(tmp_path: Path) -> None:
    write_tree(tmp_path, dict.fromkeys(("T33_B02.tif", "T33_B8.tif", "T33_B8A.tif", "notes.txt"), b""))
    text = 'channels: [sentinel2:B02, sentinel2:B8A, sentinel2:B08]\nfiles: "{sample}_{channel}.tif"'
    found = find_band_files(tmp_path, said(text))
    assert {name: file.name for name, file in found.items()} == {
        "B02": "T33_B02.tif",
        "B8A": "T33_B8A.tif",
        "B08": "T33_B8.tif",
    }
    (tmp_path / "T34_B02.tif").touch()
    with pytest.raises(DataError, match=r"one scene's files must fit the pattern .*, but 2 samples do: T33, T34$"):
        find_band_files(tmp_path, said(text))


def test_band_files_are_those_that_training_finds(tmp_path: Path) -> None:
    folder = (
        write_tree(tmp_path, dict.fromkeys(("up_b.tif", "scene/a-ch1-z.tiff", "scene/a-ch10-z.tiff"), b"")) / "scene"
    )
    text = "channels: [{name: ch1, sensor: lab}, {name: ch10, sensor: lab}]\nfiles: "
    found = find_band_files(folder, said(f'{text}"*-{{channel}}*.tiff"'))
    assert {name: file.name for name, file in found.items()} == {"ch1": "a-ch1-z.tiff", "ch10": "a-ch10-z.tiff"}
    outside = 'channels: [{name: b, sensor: lab}]\nfiles: "../*_{channel}.tif"'
    with pytest.raises(DataError, match=r"must fit the pattern '../\*_{channel}.tif', but no file does$"):
        find_band_files(folder, said(outside))
    (folder / "a-ch10-z.tiff").unlink()
    with pytest.raises(DataError, match=r"sample 'a-\*-z.tiff' has no file for band ch10 \(\*-{channel}\*.tiff\)$"):
        find_band_files(folder, said(f'{text}"*-{{channel}}*.tiff"'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            None,
            r"needs a channels.yaml in the folder, with the channels and the pattern of their files",
        ),
        ("channels: [sentinel2:B02]", r"needs a channels.yaml in the folder, with the channels and the pattern"),
        (
            'channels: [sentinel2:B02]\nfiles: "*_{channel}.tif"',
            r"one scene's files must fit the pattern '\*_{channel}.tif', but no file does$",
        ),
    ],
)
def test_a_folder_without_its_bands_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        find_band_files(tmp_path, None if text is None else said(text))


def test_channels_that_were_never_trained_are_no_channels() -> None:
    contract = scene_model(untrained=("sentinel2:B03",)).contract
    with pytest.raises(ChannelError, match=r"the model knows sentinel2:B02, sentinel2:B04, sentinel2:B08, but not sen"):
        match_bands(SCENE, tuple(BANDS), contract, allow_unknown=False)
    found = match_bands(SCENE, tuple(BANDS), contract, allow_unknown=True)
    assert (found.bands, found.unknown, found.missing) == ((0, 2, 3), ("sentinel2:B03",), ())
    contract = scene_model(interpolated=("sentinel2:B03",)).contract
    found = match_bands(SCENE, tuple(BANDS), contract, allow_unknown=False)
    assert list(channel_notes(found, contract)) == ["never trained, with weights from their wavelengths alone: B03"]
