import re
import zipfile
from pathlib import Path

import pytest

from anychan.data.index import DataIndex, Sample, index_images
from anychan.data.samples_file import LabelledSample, read_samples_file
from anychan.data.source import open_source
from anychan.errors import DataError
from anychan.recipe import DataConfig
from tests.runs import write_tree

FILES = ["k0/a.tif", "k0/b.tif", "k1/a.tif", "k1/c.png"]


def read(folder: Path, text: str, group_by: str | None = None) -> list[LabelledSample] | None:
    return read_samples_file(open_source(write_tree(folder, {"samples.csv": text})), FILES, group_by)


def index(folder: Path, text: str, *, seed: int = 0, **options: object) -> DataIndex:
    tree: dict[str, bytes | str] = dict.fromkeys((f"img/{n:02}.png" for n in range(40)), b"")
    source = open_source(write_tree(folder, {**tree, "samples.csv": text}))
    return index_images(source, DataConfig(**options), seed=seed)  # type: ignore[arg-type]


def cells(plates: int = 10) -> str:
    """40 cells of two classes on so many plates."""
    return "sample,label,plate\n" + "".join(f"{n:02},{'GS'[n % 2]},P{n * plates // 40}\n" for n in range(40))


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    text = '\ufeffsplit, note ,label,sample\r\ntrain,"x, y",cat,k0/b.tif\r\n\r\ntest,,dog , k1/c.png\r\n'
    assert read(tmp_path, text) == [
        LabelledSample("k0/b.tif", "cat", "train", None),
        LabelledSample("k1/c.png", "dog", "test", None),
    ]
    assert read(tmp_path, "file,label,sex\nk0/b.tif,x,f\n", "sex") == [LabelledSample("k0/b.tif", "x", None, "f")]


def test_the_end_of_a_path_is_enough_where_it_is_the_only_one(tmp_path: Path) -> None:
    found = read(tmp_path, "sample,label\nb,x\nc.png,x\nk1/a,y\n")
    assert found is not None
    assert [row.name for row in found] == ["k0/b.tif", "k1/c.png", "k1/a.tif"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("name,label\n", " line 1", "there is no column 'sample'; there are name, label"),
        ("sample,class\n", " line 1", "there is no column 'label'; there are sample, class"),
        ("sample,label\n", " line 1", "there is no column 'plate'; there are sample, label"),
        ("sample,label,plate\nb,x\n", " line 2", "the line has 2 values, but there are 3 columns"),
        ("sample,label,plate\nb,x,1\nd,x,1\n", " line 3", "there is no sample 'd'"),
        ("sample,label,plate\na,x,1\n", " line 2", "sample 'a' could be any of several; write its whole path"),
        ("sample,label,plate\nb,x,1\n\nk0/b,y,1\n", " line 4", "sample 'k0/b' is there twice"),
        ("sample,label,plate\nb,,1\n", " line 2", "sample 'b' has no label; leave its line out, or name its class"),
        ("sample,label,plate\nb,x,\n", " line 2", "sample 'b' has no plate, by which splits are grouped"),
        ("sample,label,split,plate\nb,x,dev,1\n", " line 2", "split is 'dev', but it must be one of train, val, test"),
        (
            "sample,label,split,plate\nb,x,train,P1\nc,x,val,P1\n",
            " line 3",
            "plate 'P1' is in val here and in train above; keep each in one split",
        ),
        ("sample,label,plate\n", "", "the table names no sample"),
        (
            f"sample,label,plate\n{'b' * 140_000}",
            "",
            "the table cannot be read (field larger than field limit (131072))",
        ),
        ("", " line 1", "there is no column 'sample'; there are "),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, line: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(f'{tmp_path}/samples.csv{line}: {message}')}$"):
        read(tmp_path, text, "plate")


def test_where_the_table_lies(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("samples.csv", "sample,label\nb,inside\n")
    source = open_source(tmp_path / "a.zip")
    inside = read_samples_file(source, FILES, None)
    write_tree(tmp_path, {"a.samples.csv": "sample,label\nb,beside\n"})
    beside = read_samples_file(source, FILES, None)
    assert inside is not None
    assert beside is not None
    assert (inside[0].label, beside[0].label) == ("inside", "beside")
    assert read_samples_file(open_source(tmp_path), FILES, None) is None
    (tmp_path / "a.samples.csv").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"a.samples.csv: the file cannot be read as text"):
        read_samples_file(source, FILES, None)


def test_the_table_labels_and_splits(tmp_path: Path) -> None:
    text = "sample,label,split\n02,b,train\n01,a,train\n03,b,val\n04,a,test\n05,a,val\n"
    found = index(tmp_path, text)
    assert found.classes == ("a", "b")
    assert found.splits == {
        "train": (Sample("img/01.png", 0), Sample("img/02.png", 1)),
        "val": (Sample("img/05.png", 0), Sample("img/03.png", 1)),
        "test": (Sample("img/04.png", 0),),
    }


def test_without_splits_they_are_drawn_by_class(tmp_path: Path) -> None:
    found = index(tmp_path, cells())
    sizes = {split: [sum(s.label == label for s in part) for label in (0, 1)] for split, part in found.splits.items()}
    assert sizes == {"train": [14, 14], "val": [3, 3], "test": [3, 3]}


def test_a_plate_is_in_one_split(tmp_path: Path) -> None:
    found = index(tmp_path, cells(), group_by="plate", val_fraction=0.2, test_fraction=0.2)
    plates = {split: {int(s.name[4:6]) // 4 for s in samples} for split, samples in found.splits.items()}
    assert {split: len(some) for split, some in plates.items()} == {"train": 6, "val": 2, "test": 2}
    assert set.union(*plates.values()) == set(range(10))
    with pytest.raises(DataError, match=r"by data.group_by there are 2 groups, but three splits need three or more"):
        index(tmp_path, cells(2), group_by="plate")


def test_a_table_wins_over_folders_and_split_files_over_it(tmp_path: Path) -> None:
    tree: dict[str, bytes | str] = dict.fromkeys((f"{k}/{n}.png" for k in "xyz" for n in range(9)), b"")
    rows = "".join(f"{k}/{n},{'odd' if n % 2 else 'even'}\n" for k in "xyz" for n in range(9))
    folder = write_tree(tmp_path, {**tree, "samples.csv": f"sample,label\n{rows}"})
    assert index_images(open_source(folder), DataConfig(), seed=0).classes == ("even", "odd")
    write_tree(folder, {f"{split}.txt": "x/0.png 0\ny/0.png 1\n" for split in ("train", "val", "test")})
    assert index_images(open_source(folder), DataConfig(), seed=0).classes == ("0", "1")


def test_what_cannot_be_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"samples.csv has one class, 'x'; two are the least"):
        index(tmp_path, "sample,label\n01,x\n")
    with pytest.raises(DataError, match=r"class 'y' has no training image"):
        index(tmp_path, "sample,label,split\n01,x,train\n02,y,val\n03,x,test\n")
    with pytest.raises(DataError, match=r"the val split holds no image"):
        index(tmp_path, "sample,label,split\n01,x,train\n02,y,train\n03,x,test\n")
    (tmp_path / "samples.csv").unlink()
    with pytest.raises(DataError, match=r"data.group_by needs a samples.csv with a column 'plate' there"):
        index_images(open_source(tmp_path), DataConfig(group_by="plate"), seed=0)
    write_tree(tmp_path, {"deep/samples.csv": "sample,label\n"})
    with pytest.raises(DataError, match=r"deep/samples.csv does not lie at the top; give or zip the content of its"):
        index_images(open_source(tmp_path), DataConfig(), seed=0)
