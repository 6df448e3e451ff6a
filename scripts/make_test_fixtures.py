"""Make the image files that the tests read: a few KB, drawn from fixed seeds, in real file formats.

Usage::

    python scripts/make_test_fixtures.py tests/fixtures

- ``rgb_split/``: three classes of 16x16 RGB images, half JPEG and half PNG, with split lists.
- ``s2_tiles/``: one folder a class, 12x12 TIFF tiles of four uint16 bands, with ``channels.yaml``.
- ``odd/``: one file for each image mode or defect that a reader must handle or refuse.

The same library versions give the same bytes.
"""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

SEED = 0
MAX_FILE_BYTES, MAX_TOTAL_BYTES = 5_000, 60_000

RGB_CLASSES = ("circle", "square", "stripe")
RGB_SIZE = 16
RGB_SPLIT = {"train": range(0, 4), "val": range(4, 6), "test": range(6, 8)}  # image numbers of every class

TILE_CLASSES = ("forest", "water")
TILE_CHANNELS = ("sentinel2:B02", "sentinel2:B03", "sentinel2:B04", "sentinel2:B08")
TILE_SIZE, TILES_PER_CLASS = 12, 6
PLANAR_TILE = ("water", 5)  # the one tile stored band after band
TRUNCATED_SHARE = 0.6
ORIENTATION_TAG, ROTATE_90_TO_SHOW = 0x0112, 6

# File path inside the fixture folder to content.
Files = dict[str, bytes]


def encode(image: Image.Image, file_format: str) -> bytes:
    """Write an image to bytes; JPEG with quality 95 and full-resolution colour."""
    buffer = io.BytesIO()
    if file_format == "JPEG":
        # An empty Exif object would still add a segment, so the tag is passed only where there is one.
        exif = {"exif": image.getexif()} if image.getexif() else {}
        image.save(buffer, "JPEG", quality=95, subsampling=0, **exif)
    else:
        image.save(buffer, file_format)
    return buffer.getvalue()


def draw_mask(label_name: str, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Draw the shape of a class at a random place, as a mask of shape (H, W) = (16, 16)."""
    row, column = np.mgrid[:RGB_SIZE, :RGB_SIZE]
    centre = generator.integers(6, 10, size=2)
    if label_name == "circle":
        return np.asarray((row - centre[0]) ** 2 + (column - centre[1]) ** 2 <= 16)
    if label_name == "square":
        return np.asarray(np.maximum(abs(row - centre[0]), abs(column - centre[1])) <= 4)
    return np.asarray((row + centre[0]) // 2 % 2 == 0)


def draw_rgb(label_name: str, generator: np.random.Generator) -> Image.Image:
    """Draw one image: a bright shape in the colour of its class on a dark, noisy ground.

    Shape and colour both give the class away, so that a network of any size learns it in a few steps.
    """
    colour = np.full(3, 60)
    colour[RGB_CLASSES.index(label_name)] = 220
    pixels = np.where(draw_mask(label_name, generator)[..., None], colour, 30)  # (H, W, 3)
    pixels = pixels + generator.integers(-12, 13, size=pixels.shape)
    return Image.fromarray(pixels.astype(np.uint8))


def make_rgb_split() -> Files:
    """Return images, split lists and class names of ``rgb_split/``."""
    generator = np.random.default_rng([SEED, 0])
    files: Files = {}
    lines: dict[str, list[str]] = {split: [] for split in RGB_SPLIT}
    for label, label_name in enumerate(RGB_CLASSES):
        for split, numbers in RGB_SPLIT.items():
            for number in numbers:
                suffix, file_format = (".png", "PNG") if number % 2 else (".jpg", "JPEG")
                path = f"images/{label_name}/{label_name}_{number}{suffix}"
                files[path] = encode(draw_rgb(label_name, generator), file_format)
                lines[split].append(f"{path} {label}\n")
    files |= {f"{split}.txt": "".join(entries).encode() for split, entries in lines.items()}
    files["classes.txt"] = "".join(f"{label} {name}\n" for label, name in enumerate(RGB_CLASSES)).encode()
    return files


def draw_tile(label_name: str, generator: np.random.Generator) -> NDArray[np.uint16]:
    """Draw one tile of shape (C, H, W) = (4, 12, 12): band k is 1000 (k + 1) plus noise.

    Noise stays within 300, so that no pixel can be taken for one of another band. It is above 0 in forest and
    below 0 in water, so that a model can tell the classes apart from any one band.
    """
    size = (len(TILE_CHANNELS), TILE_SIZE, TILE_SIZE)
    noise = generator.integers(1, 301, size=size) * (1 if label_name == "forest" else -1)
    base = 1000 * np.arange(1, len(TILE_CHANNELS) + 1)
    return (base[:, None, None] + noise).astype(np.uint16)


def encode_tile(pixels: NDArray[np.uint16], *, planar: bool) -> bytes:
    """Write an array of shape (C, H, W) as a TIFF file, band after band or pixel after pixel."""
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        pixels if planar else np.ascontiguousarray(pixels.transpose(1, 2, 0)),  # (C, H, W) or (H, W, C)
        photometric="minisblack",
        planarconfig="separate" if planar else "contig",
        software=False,
        metadata=None,
    )
    return buffer.getvalue()


def make_s2_tiles() -> Files:
    """Return tiles and channel names of ``s2_tiles/``."""
    generator = np.random.default_rng([SEED, 1])
    files: Files = {}
    for label_name in TILE_CLASSES:
        for number in range(TILES_PER_CLASS):
            pixels = draw_tile(label_name, generator)
            planar = (label_name, number) == PLANAR_TILE
            files[f"{label_name}/{label_name}_{number}.tif"] = encode_tile(pixels, planar=planar)
    names = "".join(f"  - {channel}\n" for channel in TILE_CHANNELS)
    files["channels.yaml"] = f"# Channels of every tile, in file order.\nchannels:\n{names}".encode()
    return files


def draw_palette(generator: np.random.Generator) -> Image.Image:
    """Draw an image of mode P whose indices are far from the grey values of its colours."""
    indices = generator.integers(0, 4, size=(RGB_SIZE, RGB_SIZE), dtype=np.uint8)
    image = Image.frombytes("P", (RGB_SIZE, RGB_SIZE), indices.tobytes())
    image.putpalette([220, 30, 30, 30, 220, 30, 30, 30, 220, 240, 240, 240])
    return image


def draw_rotated() -> Image.Image:
    """Draw four quadrants in 16x10 (W x H) pixels; the EXIF tag asks to show them turned, as 10x16.

    As stored: red, green above blue, white. As shown: blue, red above white, green.
    """
    pixels = np.empty((10, 16, 3), dtype=np.uint8)
    pixels[:5, :8], pixels[:5, 8:] = (220, 30, 30), (30, 220, 30)
    pixels[5:, :8], pixels[5:, 8:] = (30, 30, 220), (240, 240, 240)
    image = Image.fromarray(pixels)
    image.getexif()[ORIENTATION_TAG] = ROTATE_90_TO_SHOW
    return image


def make_odd() -> Files:
    """Return the files of ``odd/``."""
    generator = np.random.default_rng([SEED, 2])

    def noise(*channels: int, size: int = RGB_SIZE) -> NDArray[np.uint8]:
        return generator.integers(0, 256, size=(size, size, *channels), dtype=np.uint8)

    clear = noise(4)
    opaque = clear.copy()
    opaque[..., 3] = 255
    clear[..., 3] = 255
    clear[4:12, 4:12, 3] = 0  # The colours below stay in the file: dropping alpha would show them.
    grey16 = np.linspace(0, 65535, RGB_SIZE**2).astype(np.uint16).reshape(RGB_SIZE, RGB_SIZE)
    # 32x32 pixels of noise: long enough that the cut falls into the pixels, behind a readable header.
    whole = encode(Image.fromarray(noise(3, size=32)), "JPEG")
    return {
        "grey.png": encode(Image.fromarray(noise()), "PNG"),
        "rgba_opaque.png": encode(Image.fromarray(opaque), "PNG"),
        "rgba_clear.png": encode(Image.fromarray(clear), "PNG"),
        "palette.png": encode(draw_palette(generator), "PNG"),
        "cmyk.jpg": encode(Image.frombytes("CMYK", (RGB_SIZE, RGB_SIZE), noise(4).tobytes()), "JPEG"),
        "truncated.jpg": whole[: int(TRUNCATED_SHARE * len(whole))],
        "not_an_image.png": b"This is text in a file that is named like an image.\n",
        "grey16.png": encode(Image.fromarray(grey16), "PNG"),
        "exif_rotated.jpg": encode(draw_rotated(), "JPEG"),
    }


GROUPS: tuple[tuple[str, Callable[[], Files]], ...] = (
    ("rgb_split", make_rgb_split),
    ("s2_tiles", make_s2_tiles),
    ("odd", make_odd),
)


def make_fixtures() -> Files:
    """Return all fixture files.

    Returns:
        Path inside the fixture folder to content.

    Raises:
        ValueError: A file or the whole is larger than a repository should carry.
    """
    files = {f"{group}/{path}": data for group, make in GROUPS for path, data in make().items()}
    largest = max(files, key=lambda path: len(files[path]))
    if len(files[largest]) > MAX_FILE_BYTES:
        raise ValueError(f"{largest} has {len(files[largest])} bytes; at most {MAX_FILE_BYTES} are allowed")
    total = sum(map(len, files.values()))
    if total > MAX_TOTAL_BYTES:
        raise ValueError(f"the fixtures have {total} bytes; at most {MAX_TOTAL_BYTES} are allowed")
    return files


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code (2 after an error)."""
    parser = argparse.ArgumentParser(description="Make the image files that the tests read.")
    parser.add_argument("folder", type=Path, help="folder to write to, usually tests/fixtures")
    folder: Path = parser.parse_args(argv).folder
    try:
        files = make_fixtures()
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{folder}: {len(files)} files, {sum(map(len, files.values())):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
