"""Make tiny-imagenet-50.zip, the benchmark data set, from the public archive tiny-imagenet-200.zip.

Usage::

    python scripts/make_tiny_imagenet_50.py tiny-imagenet-200.zip tiny-imagenet-50.zip

The result holds 50 of the 200 classes: 450 / 50 / 50 images a class for training, validation and test.
Validation images were drawn once from the 500 training images of a class and are listed in
``tiny_imagenet_50.txt``; training is the rest of the 500; test is the archive's own validation set, whose
labels are public. ImageNet pictures are for non-commercial research: neither archive is part of this project.
"""

import argparse
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CLASS_LIST = Path(__file__).with_name("tiny_imagenet_50.txt")
ROOT = "tiny-imagenet-200"
EXPECTED_COUNTS = {"train": 22_500, "val": 2_500, "test": 2_500}
TIMESTAMP = (1980, 1, 1, 0, 0, 0)


class SourceError(ValueError):
    """The source archive or the class list is not what the data set is made of."""


class ClassEntry(NamedTuple):
    """One line of the class list."""

    label: int
    wnid: str
    name: str
    val_numbers: frozenset[int]


class Image(NamedTuple):
    """One image: where it lies in the source, where it goes, and its label."""

    member: str
    path: str
    label: int


def read_class_list(path: Path) -> list[ClassEntry]:
    """Read the class list.

    Args:
        path: Text file of one class a line: label, wnid, name and the numbers of its validation images (with
            spaces between), these four parted by tabs. Lines that start with # are comments.

    Returns:
        The classes, in file order.

    Raises:
        SourceError: A line has another form.
        OSError: The file cannot be read.
    """
    classes = []
    for index, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("#"):
            continue
        try:
            label, wnid, name, numbers = line.split("\t")
            classes.append(ClassEntry(int(label), wnid, name, frozenset(map(int, numbers.split()))))
        except ValueError as error:
            raise SourceError(f"line {index} of {path} is not 'label wnid name numbers', parted by tabs") from error
    return classes


def list_training_images(members: Sequence[str], classes: Sequence[ClassEntry]) -> dict[str, list[Image]]:
    """Part the archive's training images of our classes into train and val.

    Args:
        members: Names in the source archive.
        classes: The classes to keep.

    Returns:
        The images of "train" and "val", each sorted by label and number.
    """
    by_wnid = {entry.wnid: entry for entry in classes}
    pattern = re.compile(rf"{ROOT}/train/(?P<wnid>n\d+)/images/(?P<file>(?P=wnid)_(?P<number>\d+)\.JPEG)")
    found: dict[str, list[tuple[int, int, Image]]] = {"train": [], "val": []}
    for member in members:
        match = pattern.fullmatch(member)
        if match is None or match["wnid"] not in by_wnid:
            continue
        entry, number = by_wnid[match["wnid"]], int(match["number"])
        image = Image(member, f"images/{entry.wnid}/{match['file']}", entry.label)
        found["val" if number in entry.val_numbers else "train"].append((entry.label, number, image))
    return {split: [image for _, _, image in sorted(items)] for split, items in found.items()}


def list_test_images(annotations: str, classes: Sequence[ClassEntry]) -> list[Image]:
    """List the archive's validation images of our classes: they are our test set.

    Args:
        annotations: Text of ``val_annotations.txt``: file, wnid and a box, parted by tabs, one image a line.
        classes: The classes to keep.

    Returns:
        The images, sorted by label and number.

    Raises:
        SourceError: A line has another form.
    """
    labels = {entry.wnid: entry.label for entry in classes}
    pattern = re.compile(r"(?P<file>val_(?P<number>\d+)\.JPEG)\t(?P<wnid>n\d+)\t.*")
    found = []
    for index, line in enumerate(annotations.splitlines(), start=1):
        match = pattern.fullmatch(line)
        if match is None:
            raise SourceError(f"line {index} of {ROOT}/val/val_annotations.txt is not 'file wnid box'")
        file, wnid = match["file"], match["wnid"]
        if wnid in labels:
            image = Image(f"{ROOT}/val/images/{file}", f"images/{wnid}/{file}", labels[wnid])
            found.append((image.label, int(match["number"]), image))
    return [image for _, _, image in sorted(found)]


def collect_splits(archive: zipfile.ZipFile, classes: Sequence[ClassEntry]) -> dict[str, list[Image]]:
    """List the images of the three splits and check their counts.

    Args:
        archive: The public archive, open.
        classes: The classes to keep.

    Returns:
        The images of "train", "val" and "test".

    Raises:
        SourceError: The archive lacks its annotations, or a split has the wrong number of images.
    """
    try:
        annotations = archive.read(f"{ROOT}/val/val_annotations.txt").decode()
    except KeyError as error:
        raise SourceError(
            f"{archive.filename} has no {ROOT}/val/val_annotations.txt; give the public {ROOT}.zip"
        ) from error
    splits = list_training_images(archive.namelist(), classes) | {"test": list_test_images(annotations, classes)}
    counts = {split: len(images) for split, images in splits.items()}
    if counts != EXPECTED_COUNTS:
        raise SourceError(
            f"{archive.filename} gives {counts} images of the listed classes; {EXPECTED_COUNTS} are needed"
        )
    return splits


def write_entry(target: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add one stored entry whose header depends on nothing but its name and content."""
    info = zipfile.ZipInfo(name, date_time=TIMESTAMP)
    info.create_system = 3  # Python writes 0 on Windows.
    target.writestr(info, data)


def build_zip(source: Path, out: Path, classes: Sequence[ClassEntry]) -> None:
    """Write the data set.

    Args:
        source: The public archive.
        out: Zip to write; it appears under this name only when it is whole.
        classes: The classes to keep.

    Raises:
        SourceError: The source is no zip file, damaged, or lacks images.
        OSError: A file cannot be read or written.
    """
    temporary = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(source) as archive:
            splits = collect_splits(archive, classes)
            with zipfile.ZipFile(temporary, "w") as target:
                names = "".join(f"{entry.label} {entry.wnid} {entry.name}\n" for entry in classes)
                write_entry(target, "classes.txt", names.encode())
                for split, images in splits.items():
                    lines = "".join(f"{image.path} {image.label}\n" for image in images)
                    write_entry(target, f"{split}.txt", lines.encode())
                for image in (image for images in splits.values() for image in images):
                    write_entry(target, image.path, archive.read(image.member))
        temporary.replace(out)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise SourceError(f"{source} is not a readable zip file ({error})") from error
    except KeyError as error:
        raise SourceError(f"{source} lacks an image that its annotations name ({error.args[0]})") from error
    finally:
        temporary.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code (2 after an error)."""
    parser = argparse.ArgumentParser(description="Make tiny-imagenet-50.zip from tiny-imagenet-200.zip.")
    parser.add_argument("source", type=Path, help="the public archive tiny-imagenet-200.zip")
    parser.add_argument("out", type=Path, help="zip to write")
    options = parser.parse_args(argv)
    try:
        build_zip(options.source, options.out, read_class_list(CLASS_LIST))
    except (SourceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
