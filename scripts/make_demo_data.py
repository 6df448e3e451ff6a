"""Make the demo data set of anychan: 200 small Sentinel-2 tiles with 13 named channels in one zip.

Usage::

    python scripts/make_demo_data.py path/to/eurosat-ms-mini.zip [--out FILE.zip] [--seed 0]

The source holds ``EuroSAT/<Class>/<Class>_<n>.tif``, each 64x64 pixels of 13 uint16 samples. The central
32x32 pixels of each are kept, bit for bit. The same source, seed and library versions give the same bytes.
"""

import argparse
import io
import re
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

DEFAULT_OUT = Path(__file__).resolve().parents[1] / "src/anychan/demo_data/eurosat-s2-32.zip"
SOURCE_NAME = re.compile(r"EuroSAT/(?P<label>\w+)/(?P=label)_(?P<number>\d+)\.tif")
# EuroSAT appends B8A; in the sensor's own order it would follow B08.
CHANNELS = (*(f"sentinel2:B{number:02d}" for number in range(1, 13)), "sentinel2:B8A")
SOURCE_SIZE, SIZE = 64, 32
SPLIT = {"train": 12, "val": 2, "test": 6}  # tiles a class
NUM_CLASSES = 10
# The zip travels inside the wheel, so its size is part of the contract.
MAX_BYTES = 4_000_000
TIMESTAMP = (1980, 1, 1, 0, 0, 0)


class DemoDataError(ValueError):
    """The source or the result is not what the demo data set is made of."""


class Tile(NamedTuple):
    """One source tile. Tiles sort by class name, then by number."""

    label_name: str
    number: int
    member: str

    @property
    def path(self) -> str:
        """Path of the tile inside the demo zip."""
        return f"images/{self.label_name}/{self.label_name}_{self.number}.tif"


def list_tiles(members: Sequence[str]) -> dict[str, list[Tile]]:
    """Group the tiles of the source by class.

    Args:
        members: Names in the source zip; those that are not tiles are ignored.

    Returns:
        Class name to tiles; classes sorted by name, tiles by number.

    Raises:
        DemoDataError: There are not 10 classes of 20 tiles.
    """
    matches = [match for name in members if (match := SOURCE_NAME.fullmatch(name))]
    tiles = sorted(Tile(match["label"], int(match["number"]), match[0]) for match in matches)
    groups: dict[str, list[Tile]] = {}
    for tile in tiles:
        groups.setdefault(tile.label_name, []).append(tile)
    wanted = [sum(SPLIT.values())] * NUM_CLASSES
    found = [len(group) for group in groups.values()]
    if found != wanted:
        raise DemoDataError(
            f"the source holds {found} EuroSAT/<Class>/<Class>_<n>.tif tiles in its {len(groups)} classes; "
            f"{NUM_CLASSES} classes of {wanted[0]} tiles are needed"
        )
    return groups


def crop_tile(data: bytes, *, name: str) -> NDArray[np.uint16]:
    """Read one source tile and keep its central pixels.

    Args:
        data: Content of a TIFF file of shape (H, W, C) = (64, 64, 13), uint16.
        name: Name of the tile, for the error text.

    Returns:
        Array of shape (C, H, W) = (13, 32, 32), uint16.

    Raises:
        DemoDataError: The file is no TIFF, or its shape or type differs.
    """
    try:
        pixels = tifffile.imread(io.BytesIO(data))
    except (tifffile.TiffFileError, ValueError) as error:
        raise DemoDataError(f"{name} is not a readable TIFF file ({error})") from error
    expected = (SOURCE_SIZE, SOURCE_SIZE, len(CHANNELS))
    if pixels.shape != expected or pixels.dtype != np.uint16:
        raise DemoDataError(f"{name} is {pixels.shape} {pixels.dtype}; {expected} uint16 is needed")
    start = (SOURCE_SIZE - SIZE) // 2
    crop = pixels[start : start + SIZE, start : start + SIZE]
    return np.ascontiguousarray(crop.transpose(2, 0, 1))  # (C, H, W)


def encode_tile(pixels: NDArray[np.uint16]) -> bytes:
    """Write an array of shape (C, H, W) as a TIFF file, without loss and without a date or software name."""
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        pixels,
        photometric="minisblack",
        # A channel compresses better beside itself than interleaved with 12 others.
        planarconfig="separate",
        compression="zlib",
        compressionargs={"level": 9},
        predictor=True,
        software=False,
        metadata=None,
    )
    return buffer.getvalue()


def split_tiles(groups: dict[str, list[Tile]], *, seed: int) -> dict[str, list[Tile]]:
    """Draw train, val and test tiles from each class.

    Args:
        groups: Class name to tiles, from `list_tiles`.
        seed: Seed of the draw.

    Returns:
        Split name to tiles, sorted by label and number.
    """
    generator = np.random.default_rng(seed)
    splits: dict[str, list[Tile]] = {split: [] for split in SPLIT}
    for tiles in groups.values():
        order = generator.permutation(len(tiles)).tolist()
        for split, count in SPLIT.items():
            drawn, order = order[:count], order[count:]
            splits[split] += [tiles[index] for index in drawn]
    return {split: sorted(tiles) for split, tiles in splits.items()}


def text_entries(groups: dict[str, list[Tile]], *, seed: int) -> dict[str, str]:
    """Return the text files of the demo zip by name: split lists, class names, channels."""
    labels = {name: label for label, name in enumerate(groups)}
    texts = {
        f"{split}.txt": "".join(f"{tile.path} {labels[tile.label_name]}\n" for tile in tiles)
        for split, tiles in split_tiles(groups, seed=seed).items()
    }
    texts["classes.txt"] = "".join(f"{label} {name}\n" for name, label in labels.items())
    header = "# Channels of every image, in file order (EuroSAT puts B8A last).\nchannels:\n"
    texts["channels.yaml"] = header + "".join(f"  - {channel}\n" for channel in CHANNELS)
    return texts


def build_demo_zip(source: Path, *, seed: int) -> bytes:
    """Return the content of the demo zip.

    Args:
        source: The zip of 200 EuroSAT tiles.
        seed: Seed of the split.

    Returns:
        A zip with sorted, stored entries and fixed timestamps.

    Raises:
        DemoDataError: The source is not as described above, or the result is too large.
        OSError: The source cannot be read.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            groups = list_tiles(archive.namelist())
            tiles = [tile for group in groups.values() for tile in group]
            entries = {t.path: encode_tile(crop_tile(archive.read(t.member), name=t.member)) for t in tiles}
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DemoDataError(f"{source} is not a readable zip file ({error})") from error
    entries |= {name: text.encode() for name, text in text_entries(groups, seed=seed).items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in sorted(entries.items()):
            info = zipfile.ZipInfo(name, date_time=TIMESTAMP)
            info.create_system = 3  # Python writes 0 on Windows; the bytes must not depend on the machine.
            archive.writestr(info, data)
    if buffer.tell() > MAX_BYTES:
        raise DemoDataError(f"the demo zip has {buffer.tell()} bytes; at most {MAX_BYTES} are allowed")
    return buffer.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code (2 after an error)."""
    parser = argparse.ArgumentParser(description="Make the demo data set of anychan.")
    parser.add_argument("source", type=Path, help="zip with 200 EuroSAT tiles of 13 bands")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="zip to write (default: the packaged one)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default: 0)")
    options = parser.parse_args(argv)
    try:
        data = build_demo_zip(options.source, seed=options.seed)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_bytes(data)
    except (DemoDataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {len(data):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
