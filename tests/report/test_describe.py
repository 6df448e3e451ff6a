from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from anychan.data.channels_file import ChannelsFile
from anychan.data.describe import Description, describe
from anychan.errors import ChannelError, DataError
from anychan.report.describe import (
    _columns,
    describe_lines,
    describe_table,
    plot_channels,
    print_description,
    write_channels_file,
)
from tests.runs import RGB_SPLIT, Array, tiff, write_tree


def stack(channels: int) -> Array:
    """(20, 30, C) of noise, the first channel dead."""
    pixels = np.random.default_rng(0).integers(300, 9000, (20, 30, channels), dtype=np.uint16)
    pixels[..., 0] = 0
    return pixels


def described(folder: Path, pixels: Array, **options: Any) -> Description:
    return describe(write_tree(folder, {"a.tif": tiff(pixels, planarconfig="contig")}), **options)


def table_text(found: Description) -> str:
    console = Console(width=150)
    with console.capture() as capture:
        console.print(describe_table(found))
    return capture.get()


def test_table_has_a_row_for_each_channel(tmp_path: Path) -> None:
    found = described(tmp_path, stack(4), channels="sentinel2:B02,sentinel2:B03,sentinel2:B04,DNA")
    lines = table_text(found).splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert [row[0] for row in rows] == ["B02", "B03", "B04", "DNA"]
    assert [row[1] for row in rows] == ["492", "560", "665", ""]
    assert rows[0][2:] == ["0", "0", "0", "0", "0", "0", "", "dead"]
    assert rows[1][2] == f"{found.facts[1].minimum:.0f}"
    assert rows[1][-1] == ""


def test_of_many_channels_some_are_listed(tmp_path: Path) -> None:
    pixels = stack(90)
    pixels[..., 41] = 5
    found = described(tmp_path, pixels)
    text = table_text(found)
    names = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert names[0] == "1"
    assert names[-1] == "90"
    assert len(names) == 21
    assert "constant" in text
    lines = list(describe_lines(found))
    assert "21 of 90 channels are listed: evenly spaced ones and those with flags; --json has all" in lines
    assert "2 of 90 channels have flags; leave out those that say nothing" in lines


def test_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = stack(2).astype(np.float32)
    pixels[3, 3, 1] = np.nan
    print_description(described(tmp_path, pixels, channels="a,b"))
    out = capsys.readouterr().out
    assert "1 sample, one file a sample, float32, 20x30 pixels\n" in out
    assert "channels: as --channels says\n" in out
    assert "NaN or infinity in b: if it means no data, add `no_data: nan` to channels.yaml\n" in out


def test_files_a_channel_in_words(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "x_B02.tif": tiff(stack(2)[..., 1]),
        "x_B05.tif": tiff(stack(2)[:10, :15, 1]),
        "x_B12.tif": tiff(stack(2)[:10, :15, 1]),
    }
    first, *_ = describe_lines(describe(write_tree(tmp_path, files)))
    assert first == (
        "1 sample, one file a channel, named {sample}_{channel}.tif (guessed from the names), uint16, "
        "channels of 10x15, 20x30 pixels"
    )


@pytest.mark.parametrize(("panels", "columns"), [(1, 1), (3, 3), (6, 3), (8, 4), (13, 5), (16, 4), (20, 5), (36, 6)])
def test_columns_leave_few_places_empty(panels: int, columns: int) -> None:
    assert _columns(panels) == columns


@pytest.mark.parametrize("channels", [1, 40])
def test_picture_is_a_readable_png(tmp_path: Path, channels: int) -> None:
    pixels = stack(channels + 1)[..., 1:] if channels == 1 else stack(channels)
    found = described(tmp_path / "data", pixels if channels > 1 else pixels[..., 0])
    drawn = plot_channels(found, tmp_path / "p.png")
    assert len(drawn) == min(channels, 36)
    assert drawn[-1] == channels - 1
    with Image.open(tmp_path / "p.png") as image:
        assert image.format == "PNG"
        assert 380 <= image.width <= 1600
        grey = np.asarray(image.convert("L"))
    assert len(np.unique(grey)) > 50
    assert not list(tmp_path.glob("*.partial"))


def test_panels_show_their_channel(tmp_path: Path) -> None:
    """Left half dark in one channel, right half in the other; no data in neither is grey."""
    pixels = np.full((20, 20, 2), 1000, np.uint16)
    pixels[:, :10, 0] = pixels[:, 10:, 1] = 9000
    plot_channels(described(tmp_path / "data", pixels), tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        grey = np.asarray(image.convert("L"))
        middle = grey[image.height // 2 + 20]
        quarters = [int(middle[round(image.width * x)]) for x in (0.12, 0.38, 0.62, 0.88)]
    assert quarters == [255, 0, 0, 255]


def test_written_file_is_read_back(tmp_path: Path) -> None:
    found = described(tmp_path / "data", stack(2), channels="DNA,sentinel2:B02", sensor="scope")
    write_channels_file(found, tmp_path / "c.yaml")
    text = (tmp_path / "c.yaml").read_text()
    read = ChannelsFile.parse(text, "c.yaml")
    assert read.channels == found.naming.channels
    assert read.encodings == found.encodings
    assert read.named_sensor
    assert read.files is None
    assert text.startswith("# What these images hold, as `anychan data describe` found it; edit it where you know")


def test_channels_of_nobody_stay_so(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"x-ch{n}.tif": tiff(stack(2)[..., 1] + np.uint16(n)) for n in (1, 2)}
    write_channels_file(describe(write_tree(tmp_path, files)), tmp_path / "c.yaml")
    assert yaml.safe_load((tmp_path / "c.yaml").read_text()) == {
        "channels": ["ch1", "ch2"],
        "files": "{sample}-{channel}.tif",
    }
    assert not ChannelsFile.parse((tmp_path / "c.yaml").read_text(), "c").named_sensor
    stains = describe(tmp_path, channels="DNA,RNA", sensor="scope")
    write_channels_file(stains, tmp_path / "c.yaml")
    assert ChannelsFile.parse((tmp_path / "c.yaml").read_text(), "c").file_texts == ("ch1", "ch2")


def test_nothing_is_written_for_channels_that_nobody_names(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match=r"2 channels without names: nobody says what they are"):
        write_channels_file(described(tmp_path / "data", stack(2)), tmp_path / "c.yaml")
    files: dict[str, bytes | str] = {
        f"{name}_B{n:02}.{end}": tiff(stack(2)[..., 1]) for name, end in (("x", "tif"), ("y", "tiff")) for n in (2, 12)
    }
    files |= {f"{name}_B8A.{end}": tiff(stack(2)[..., 1]) for name, end in (("x", "tif"), ("y", "tiff"))}
    with pytest.raises(DataError, match=r"the names differ in more than sample and channel; give them one form"):
        write_channels_file(describe(write_tree(tmp_path / "more", files)), tmp_path / "c.yaml")
    with pytest.raises(DataError, match=r"absent/c.yaml: the file cannot be written \(No such file"):
        write_channels_file(describe(RGB_SPLIT), tmp_path / "absent" / "c.yaml")
    assert not (tmp_path / "c.yaml").exists()
