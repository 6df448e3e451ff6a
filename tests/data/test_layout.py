import pytest

from anychan.data.layout import channel_layouts, natural_order


@pytest.mark.parametrize(
    ("files", "texts", "pattern", "samples"),
    [
        (["a_B02.tif", "a_B8A.tif", "a_B12.tif"], ("B02", "B8A", "B12"), "{sample}_{channel}.tif", ["a"]),
        (["d/x1_VV.tif", "d/x1_VH.tif"], ("VH", "VV"), "{sample}_{channel}.tif", ["d/x1"]),
        (
            [f"r0{row}c03-ch{n}sk1.tiff" for row in (1, 2) for n in (1, 2, 10)],
            ("ch1", "ch2", "ch10"),
            "{sample}-{channel}sk1.tiff",
            ["r01c03sk1", "r02c03sk1"],
        ),
        (["p/B02.tif", "p/B03.tif", "q/B02.tif", "q/B03.tif"], ("B02", "B03"), "{channel}.tif", ["p", "q"]),
        (["B02_x.tif", "B03_x.tif", "B02_y.tif", "B03_y.tif"], ("B02", "B03"), "{channel}_{sample}.tif", ["x", "y"]),
        (
            [f"s{n}-ch{c}-t{n}.tif" for n in (1, 2) for c in (1, 2)],
            ("ch1", "ch2"),
            "*-{channel}*.tif",
            ["s1-t1", "s2-t2"],
        ),
        (["w1_DAPI.png", "w1_GFP.png"], ("DAPI", "GFP"), "{sample}_{channel}.png", ["w1"]),
        (["s_w1.tif", "s_w2.tif"], ("w1", "w2"), "{sample}_{channel}.tif", ["s"]),
    ],
)
def test_one_file_a_channel(files: list[str], texts: tuple[str, ...], pattern: str, samples: list[str]) -> None:
    (layout,) = channel_layouts(files)
    assert layout.texts == texts
    assert layout.pattern == pattern
    assert list(layout.samples) == samples
    assert sorted(file for row in layout.samples.values() for file in row) == sorted(files)
    for row in layout.samples.values():
        assert all(text in file for text, file in zip(texts, row, strict=True))


@pytest.mark.parametrize(
    "files",
    [
        [f"{name}/{name}_{n}.tif" for name in ("Forest", "River") for n in (1, 2, 3)],  # classes and numbers
        ["cat_1.png", "dog_1.png", "cat_2.png", "dog_2.png"],
        ["2020-01-01.tif", "2020-01-02.tif"],
        ["one.tif"],
        ["a_B02.tif", "b_B02.tif"],  # a single channel
        ["a_B02.tif", "a_B03.tif", "readme.tif"],
    ],
)
def test_other_differences_are_no_channels(files: list[str]) -> None:
    assert channel_layouts(files) == []


def test_samples_of_two_kinds_are_told_apart() -> None:
    files = [f"s{n}_{band}.tif" for n in (1, 2, 3) for band in ("B02", "B03")]
    files += [f"t{n}_{band}.tif" for n in (1, 2) for band in ("VV", "VH")]
    files += ["u_B02.tif"]
    found = channel_layouts(files)
    assert [(layout.texts, len(layout.samples)) for layout in found] == [
        (("B02", "B03"), 3),
        (("VH", "VV"), 2),
        (("B02",), 1),
    ]


def test_no_pattern_for_names_of_unlike_form() -> None:
    (layout,) = channel_layouts(["a_B02.tif", "a_B03.tif", "b_B02.tiff", "b_B03.tiff"])
    assert layout.pattern is None


def test_samples_with_like_names_are_kept_apart() -> None:
    (layout,) = channel_layouts(["a_B02.tif", "a_B03.tif", "a-B02.tif", "a-B03.tif"])
    assert list(layout.samples) == ["a-*.tif", "a_*.tif"]
    assert layout.pattern == "{sample}{channel}.tif"


def test_numbers_sort_as_numbers() -> None:
    assert sorted(["ch10", "ch2", "B8A", "B09", "B08"], key=natural_order) == ["B08", "B8A", "B09", "ch2", "ch10"]
