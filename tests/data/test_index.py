import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from anychan.data.index import DataIndex, Sample, index_images
from anychan.data.source import open_source
from anychan.errors import DataError
from anychan.recipe import DataConfig
from tests.runs import RGB_SPLIT, S2_TILES, write_tree

GOOD: dict[str, bytes | str] = {
    "train.txt": "a.png 0\nb.png 1\n",
    "val.txt": "c.png 1\n",
    "test.txt": "d.png 0\n",
    "classes.txt": "0 cat\n1 dog\n",
}


def index(folder: Path, files: Mapping[str, bytes | str], *, seed: int = 0, **options: Any) -> DataIndex:
    return index_images(open_source(write_tree(folder, files)), DataConfig(**options), seed=seed)


def labels(found: DataIndex) -> dict[str, list[int]]:
    return {split: [sample.label for sample in samples] for split, samples in found.splits.items()}


def class_folders(*sizes: int, prefix: str = "") -> dict[str, bytes | str]:
    """Classes k0, k1, … with so many images each."""
    return {f"{prefix}k{label}/{n:02}.png": b"" for label, size in enumerate(sizes) for n in range(size)}


def test_split_files_are_read_in_their_order() -> None:
    found = index(RGB_SPLIT, {})
    assert found.classes == ("circle", "square", "stripe")
    assert labels(found) == {
        "train": [0] * 4 + [1] * 4 + [2] * 4,
        "val": [0, 0, 1, 1, 2, 2],
        "test": [0, 0, 1, 1, 2, 2],
    }
    assert found.splits["test"][2] == Sample("images/square/square_6.jpg", 1)


def test_spaces_blank_lines_and_windows_line_ends(tmp_path: Path) -> None:
    text = "\r\nan image.png  1 \r\n\r\nb.png\t0\r\n"
    found = index(tmp_path, {**GOOD, "train.txt": text, "classes.txt": "0 house cat\n\n1 dog\n"})
    assert found.splits["train"] == (Sample("an image.png", 1), Sample("b.png", 0))
    assert found.classes == ("house cat", "dog")


def test_without_class_names_the_training_labels_count(tmp_path: Path) -> None:
    files = {name: text for name, text in GOOD.items() if name != "classes.txt"}
    assert index(tmp_path, {**files, "train.txt": "a.png 2\nb.png 1\nc.png 0\n"}).classes == ("0", "1", "2")
    message = "train.txt: no image has label 0, but one has label 3; number the classes from 0 without gaps, or name"
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/{message}")):
        index(tmp_path, {**files, "train.txt": "a.png 3\nb.png 1\n"})


def test_classes_may_be_listed_in_any_order(tmp_path: Path) -> None:
    assert index(tmp_path, {**GOOD, "classes.txt": "1 dog\n0 cat\n"}).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("train.txt", "a.png 0\n\nb.png\n", "/train.txt line 3: 'b.png' has no label; write 'path label' with a whole"),
        ("train.txt", "a.png zero\n", "/train.txt line 1: 'a.png zero' has no label"),
        ("val.txt", "a.png 0.5\n", "/val.txt line 1: 'a.png 0.5' has no label"),
        ("val.txt", f"a.png {'9' * 5000}\n", "/val.txt line 1: 'a.png 9999"),
        ("classes.txt", f"{'9' * 5000} cat\n", "/classes.txt line 1: '9999"),
        ("val.txt", "a.png --1\n", "/val.txt line 1: 'a.png --1' has no label"),
        ("test.txt", "a.png 2\n", "/test.txt line 1: label 2 is out of range; labels are 0 to 1"),
        ("test.txt", "a.png -1\n", "/test.txt line 1: label -1 is out of range; labels are 0 to 1"),
        ("train.txt", "\n", "/train.txt: the split holds no image"),
        ("test.txt", "", "/test.txt: the split holds no image"),
        ("classes.txt", "0 cat\ndog\n", "/classes.txt line 2: 'dog' is not 'label name'"),
        ("classes.txt", "0 cat\n1\n", "/classes.txt line 2: '1' is not 'label name'"),
        ("classes.txt", "0 cat\n2 dog\n", "/classes.txt: labels must run from 0 to 1, each once"),
        ("classes.txt", "0 cat\n1 dog\n1 cow\n", "/classes.txt line 3: label 1 is there twice"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, file: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}{message}")):
        index(tmp_path, {**GOOD, file: text})


def test_without_class_names_labels_still_have_limits(tmp_path: Path) -> None:
    files = {name: text for name, text in GOOD.items() if name != "classes.txt"}
    with pytest.raises(DataError, match=r"train.txt line 1: label -1 is out of range; labels are 0 or more"):
        index(tmp_path, {**files, "train.txt": "a.png -1\n"})
    with pytest.raises(DataError, match=r"val.txt line 1: label 2 is out of range; labels are 0 to 1"):
        index(tmp_path, {**files, "val.txt": "a.png 2\n"})


@pytest.mark.parametrize(("missing", "there"), [("train", "val"), ("val", "train"), ("test", "train")])
def test_missing_split_file_is_named(tmp_path: Path, missing: str, there: str) -> None:
    files = {name: text for name, text in GOOD.items() if name != f"{missing}.txt"}
    message = f"{tmp_path}: there is a {there}.txt but no {missing}.txt beside it"
    with pytest.raises(DataError, match=re.escape(message)):
        index(tmp_path, files)


def test_split_files_further_down_are_not_passed_over(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"outer/{name}": text for name, text in GOOD.items()}
    files |= {"outer/images/k0/a.png": b"", "outer/images/k1/b.png": b""}
    message = f"{tmp_path}: outer/train.txt does not lie at the top; give or zip the content of its folder"
    with pytest.raises(DataError, match=re.escape(message)):
        index(tmp_path, files)


def test_class_folders_are_split_class_by_class(tmp_path: Path) -> None:
    files = class_folders(20, 10)
    found = index(tmp_path, files, val_fraction=0.2, test_fraction=0.1, seed=3)
    assert found.classes == ("k0", "k1")
    assert {split: Counter(values) for split, values in labels(found).items()} == {
        "train": {0: 14, 1: 7},
        "val": {0: 4, 1: 2},
        "test": {0: 2, 1: 1},
    }
    samples = [sample for split in found.splits.values() for sample in split]
    assert sorted(sample.name for sample in samples) == sorted(files)
    assert all(sample.name.startswith(f"k{sample.label}/") for sample in samples)


def test_labels_follow_the_sorted_class_names(tmp_path: Path) -> None:
    """By path, "sea lion/1.png" comes before "sea/1.png"."""
    found = index(tmp_path, {f"{name}/{n}.png": b"" for name in ("sea", "sea lion") for n in range(9)})
    assert found.classes == ("sea", "sea lion")
    assert all(sample.name.split("/")[0] == found.classes[sample.label] for sample in found.splits["train"])


def test_split_follows_the_seed(tmp_path: Path) -> None:
    found = [index(tmp_path, class_folders(30, 30), seed=seed).splits for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0]["test"] != found[2]["test"]


def test_classes_are_drawn_apart(tmp_path: Path) -> None:
    """The same numbers from every class would pair images that belong together."""
    test = index(tmp_path, class_folders(30, 30), test_fraction=0.3).splits["test"]
    numbers = [{sample.name[3:] for sample in test if sample.label == label} for label in (0, 1)]
    assert len(numbers[0]) == len(numbers[1]) == 9
    assert numbers[0] != numbers[1]


def test_fixture_tiles_and_suffixes_in_capitals(tmp_path: Path) -> None:
    found = index(S2_TILES, {})
    assert {split: len(samples) for split, samples in found.splits.items()} == {"train": 8, "val": 2, "test": 2}
    files = {**class_folders(9), "k1/a.JPG": b"", "k1/b.TIFF": b"", "k1/c.Jpeg": b"", "k1/notes.doc": b""}
    total = sum(len(samples) for samples in index(tmp_path, files).splits.values())
    assert total == 12


def test_folders_around_everything_are_passed(tmp_path: Path) -> None:
    plain = index(tmp_path / "a", class_folders(9, 9))
    wrapped = index(tmp_path / "b", {**class_folders(9, 9, prefix="x/y/"), "x/notes.md": b""})
    assert wrapped.classes == plain.classes
    for split, samples in plain.splits.items():
        assert wrapped.splits[split] == tuple(Sample(f"x/y/{sample.name}", sample.label) for sample in samples)


def test_folders_of_splits(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {}
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        files |= class_folders(count, count, prefix=f"{split}/")
    found = index(tmp_path, files)
    assert labels(found) == {"train": [0, 0, 0, 1, 1, 1], "val": [0, 0, 1, 1], "test": [0, 1]}
    assert found.splits["val"][3] == Sample("val/k1/01.png", 1)
    for missing in ("val", "test"):
        rest = {name: content for name, content in files.items() if not name.startswith(missing)}
        left = "test, train" if missing == "val" else "train, val"
        message = f"beside the folder train there must be val and test alone, but there is {left}"
        with pytest.raises(DataError, match=message):
            index(tmp_path / f"no-{missing}", rest)
    untrained = {name: content for name, content in files.items() if not name.startswith("train/k1")}
    with pytest.raises(DataError, match="class 'k1' has no training image"):
        index(tmp_path / "untrained", untrained)


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    found = index(tmp_path, {f"{name}/{n}.png": b"" for name in ("test", "val") for n in range(9)})
    assert found.classes == ("test", "val")
    assert len(found.splits["train"]) == 14


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"notes.md": b""},
            "there is no train.txt, no samples.csv and no image (.jpeg, .jpg, .npy, .png, .tif, .tiff)",
        ),
        ({"a.png": b"", "k0/b.png": b""}, "/a.png: the image lies in no class folder; write <class>/<image>"),
        ({"a.png": b"", "b.png": b""}, "/a.png: the image lies in no class folder; write <class>/<image>"),
        ({"k0/a.png": b"", "k0/b.png": b""}, "there is one class folder, 'k0'; two are the least"),
        (class_folders(3, 3), "the val split holds no image"),
    ],
)
def test_bad_trees_are_named(tmp_path: Path, files: dict[str, bytes | str], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        index(tmp_path, files)
    assert str(caught.value).startswith(str(tmp_path))


def test_first_classes_only() -> None:
    found = index(RGB_SPLIT, {}, num_classes=2)
    assert found.classes == ("circle", "square")
    assert labels(found) == {"train": [0] * 4 + [1] * 4, "val": [0, 0, 1, 1], "test": [0, 0, 1, 1]}
    with pytest.raises(DataError, match="4 classes were asked for, but there are 3"):
        index(RGB_SPLIT, {}, num_classes=4)


def test_first_classes_may_leave_a_split_empty(tmp_path: Path) -> None:
    files = {**GOOD, "classes.txt": "0 cat\n1 dog\n2 cow\n", "val.txt": "c.png 2\n"}
    with pytest.raises(DataError, match="the val split holds no image"):
        index(tmp_path, files, num_classes=2)
