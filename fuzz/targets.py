"""What is fuzzed: every reader of files from strangers, with valid files to begin from.

A reader may refuse its bytes by one of anychan's errors; any other error is a failure. Each target also has a bug to
plant: a result that is rare among the inputs, at which an error is raised that is not ours. A target that does not find
it would find no bug of its reader either.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import binaries
import numpy as np
import tifffile
from PIL import Image
from scratch import BETWEEN, FOLDER, written, zipped

from anychan.channels import Channel, ChannelSet
from anychan.contract import Contract
from anychan.data.band_files import group_files
from anychan.data.channels_file import find_channels_file
from anychan.data.index import index_images
from anychan.data.png import is_png
from anychan.data.readers import read_image
from anychan.data.source import ShardSource, Source, ZipSource
from anychan.data.tiff import tiff_facts
from anychan.presets import RGB
from anychan.recipe import DataConfig, Recipe
from anychan.recipe_checks import check_values

__all__ = ["TARGETS", "Target"]

_PARTS = ("train.txt", "val.txt", "test.txt", "classes.txt", "samples.csv")


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        read: the bytes of a file → what the reader makes of them.
        seeds: valid files.
        planted: whether a result is one at which the planted bug shows.
        longest: bytes of an input at most.
    """

    read: Callable[[bytes], Any]
    seeds: Callable[[], list[bytes]]
    planted: Callable[[Any], bool]
    longest: int = 4096


class _Memory(Source):
    """Files in memory, since files on disk are slow."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(FOLDER / "absent")
        self._files = files

    def names(self) -> list[str]:
        return sorted(self._files)

    def read(self, name: str) -> bytes:
        return self._files[name]

    def fingerprint(self, name: str) -> str:
        return name


def _index(data: bytes) -> Any:
    files = {name: part for name, part in zip(_PARTS, data.split(BETWEEN), strict=False) if part}
    images = {f"{name}/{number}.png": b"" for name in "ab" for number in range(4)}
    return index_images(_Memory(files | images), DataConfig(path="d"), seed=0)


def _index_seeds() -> list[bytes]:
    split = [b"a/0.png 0\nb/0.png 1\n", b"a/1.png 0\nb/1.png 1\n", b"a/2.png 0\nb/2.png 1\n"]
    table = b"sample,label,split\n" + b"".join(
        b"%s/%d.png,%s,%s\n" % (label, number, label, part)
        for label in (b"a", b"b")
        for number, part in enumerate((b"train", b"val", b"test"))
    )
    return [
        BETWEEN.join(split),
        BETWEEN.join([*split, b"0 first\n1 second\n"]),
        BETWEEN.join([b"", b"", b"", b"", table]),
        b"",
    ]


def _channels_yaml(data: bytes) -> Any:
    file = find_channels_file(FOLDER / "absent", _Memory({"channels.yaml": data}))
    if file is not None and file.files is not None:
        group_files(["x/a_B02.tif", "x/a_B03.tif", "b_DNA.tif"], file)
    return repr(file) and file


def _channels_yaml_seeds() -> list[bytes]:
    return [
        b"channels: sentinel2\n",
        b"channels:\n- sentinel2:B02\n- {name: DNA, sensor: mine}\nfiles: '{sample}_{channel}.tif'\nno_data: 0\n",
        b"channels: {sensor: samson, count: 6, wavelengths_nm: [401, 889]}\nunit: reflectance\nscale: 0.0001\n",
        b"channels:\n- {name: a, sensor: b, aliases: [c], common_name: r, wavelength_nm: 600, width_nm: 3, file: d}\n",
    ]


def _recipe(data: bytes) -> Any:
    recipe = Recipe.load(written(data, "recipe.yaml"))
    check_values(recipe)
    recipe.save(FOLDER / "saved.yaml")
    return recipe


def _recipe_seeds() -> list[bytes]:
    return [
        b"data: {path: d, size: 32}\nmodel: {name: resnet8, stem: mean}\ntrain: {epochs: 3, lr: 0.1}\nseed: 1\n",
        b"train:\n  optimizer: adamw\n  channel_sampling: weighted\n  subset_weights: {'R,G': 2}\n  sandwich: 2\n",
        b"data:\n  channels: [a, b]\n  normalize: percentile\n  percentiles: [1, 99]\nmodel:\n  options: {a: [1]}\n",
    ]


def _contract(data: bytes) -> Any:
    contract = Contract.load(written(data, "contract.json"))
    contract.to_dict()
    return contract


def _contract_seeds() -> list[bytes]:
    from anychan.contract import ChannelStatistics, ResizeRule
    from anychan.encoding import Encoding

    statistics = ChannelStatistics(np.ones(2), np.eye(2), np.ones((2, 2), np.int64))
    channels = ChannelSet([Channel("a", "s", wavelength_nm=500.0), Channel("b", "s", ("c",))])
    plain = Contract("resnet8", {}, "mean", channels, (0.0, 1.0), (1.0, 2.0), ("x", "y"))
    full = Contract(
        *("resnet8", {"entry": "3x3"}, "completion", channels, (0.0, 1.0), (1.0, 2.0), ("x", "y")),
        resize=ResizeRule(32),
        statistics=statistics,
        dtype="uint8",
        num_outputs=4,
        encodings=(Encoding("m", 2.0, 1.0, 0.0), Encoding(no_data=float("nan"))),
        untrained=("s:a",),
    )
    return [json.dumps(contract.to_dict()).encode() for contract in (plain, full)]


def _tiff(data: bytes) -> Any:
    count = tiff_facts(data, "a.tif").shape[2]
    return read_image(data, "a.tif", ChannelSet(Channel(str(number), "s") for number in range(min(count, 16) or 1)))


def _tiff_seeds() -> list[bytes]:
    found = []
    images = np.random.default_rng(0).integers(0, 255, (3, 16, 16))
    for dtype, options in (
        ("uint8", {}),
        ("uint16", {"compression": "zlib", "predictor": True, "photometric": "minisblack"}),
        ("float32", {"bigtiff": True, "tile": (16, 16), "extratags": [(42113, 2, 0, "-9999", False)]}),
        ("uint8", {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": ["a", "b", "c"]}}}),
        ("uint16", {"imagej": True, "byteorder": ">"}),
        ("uint8", {"compression": "jpeg", "photometric": "minisblack"}),
        ("uint8", {"compression": "lzw", "planarconfig": "separate", "photometric": "rgb"}),
        ("uint8", {"metadata": None, "compression": "packbits"}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, images.astype(dtype), **options)
        found.append(file.getvalue())
    return found


def _photograph(data: bytes) -> Any:
    return read_image(_sealed(data) if is_png(data) else data, "a.png", RGB, grey="repeat")


def _sealed(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums, since few changes would come past them."""
    sealed, at = bytearray(data), 8
    while (end := at + 8 + int.from_bytes(data[at : at + 4], "big")) + 4 <= len(data):
        sealed[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(sealed)


def _photograph_seeds() -> list[bytes]:
    found = []
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8))
    for mode, kind, options in (
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {"transparency": 3}),
        ("L", "JPEG", {}),
        (
            "RGB",
            "JPEG",
            {"progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"},
        ),
        ("CMYK", "JPEG", {}),
        ("RGB", "GIF", {}),
        ("RGB", "BMP", {}),
        ("RGB", "WEBP", {"lossless": True}),
    ):
        file = io.BytesIO()
        pixels.convert(mode).save(file, kind, **options)
        found.append(file.getvalue())
    return found


def _npy(data: bytes) -> Any:
    return read_image(data, "a.npy", RGB)


def _npy_seeds() -> list[bytes]:
    found = []
    for array in (
        np.zeros((4, 5, 3), np.uint8),
        np.zeros((3, 4, 5), ">u2"),
        np.asfortranarray(np.zeros((4, 4, 3), np.float32)),
        np.zeros((3, 4, 4), bool),
        np.zeros(3, [("a", "u1"), ("b", "f4")]),
    ):
        file = io.BytesIO()
        np.save(file, array)
        found.append(file.getvalue())
    return found


def _zip(data: bytes) -> Any:
    source = ZipSource(written(data, "d.zip"))
    names = source.names()
    for name in names:
        source.fingerprint(name)
        source.read(name)
    return index_images(source, DataConfig(path="d.zip"), seed=0)


def _zip_seeds() -> list[bytes]:
    splits = dict(zip(_PARTS, _index_seeds()[1].split(BETWEEN), strict=False))
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return [zipped(splits | {"a/0.png": b"x", ".hidden": b""}, kind) for kind in kinds]


def _shards(data: bytes) -> Any:
    folder = FOLDER / "shards"
    folder.mkdir(exist_ok=True)
    (folder / "x.tar").write_bytes(b"0123456789")
    (folder / "shards.csv").write_bytes(data)
    source = ShardSource(folder)
    names = source.names()
    for name in names:
        source.fingerprint(name)
        if name != "x.tar":
            source.read(name)
    return names


def _shards_seeds() -> list[bytes]:
    head = b"file,shard,offset,size,crc32\n"
    places = ((b"a/b.png", 0, 4), (b"c.png", 3, 7), (b"train.txt", 2, 0))
    lines = [b"%s,x.tar,%d,%d,%08x\n" % (n, o, s, zlib.crc32(b"0123456789"[o : o + s])) for n, o, s in places]
    return [head + b"".join(lines), head + lines[0], head + lines[1] + b'"x\ny",../x,9,9,ff\n']


TARGETS = {
    "index": Target(_index, _index_seeds, lambda index: len(index.splits["val"]) > 2),
    "channels_yaml": Target(_channels_yaml, _channels_yaml_seeds, lambda file: "x" in file.channels.names[0]),
    "recipe": Target(_recipe, _recipe_seeds, lambda recipe: recipe.seed > 1),
    "contract": Target(_contract, _contract_seeds, lambda contract: contract.grey != "refuse"),
    "tiff": Target(_tiff, _tiff_seeds, lambda image: image.shape[0] not in (3, 16), 16384),
    "scene": Target(binaries.scene, binaries.scene_seeds, lambda found: found.shape[1] != 16, 16384),
    "photograph": Target(_photograph, _photograph_seeds, lambda image: image.shape[1] not in (7, 9)),
    "npy": Target(_npy, _npy_seeds, lambda image: image.shape[0] == 2),
    "npz": Target(binaries.npz, binaries.npz_seeds, lambda found: "x_test" in found[0] or found[1][1][0] not in "a0"),
    "mat": Target(binaries.mat, binaries.mat_seeds, lambda found: found[0].max() > 100),
    "zip": Target(_zip, _zip_seeds, lambda index: index.classes[0] != "first"),
    "shards": Target(_shards, _shards_seeds, lambda names: len(names) == 2),
    "checkpoint": Target(binaries.checkpoint, binaries.checkpoint_seeds, lambda found: found.get("epoch") != 3),
    "model": Target(binaries.model, binaries.model_seeds, binaries.weights, 65536),
}
