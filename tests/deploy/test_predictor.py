import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anychan.deploy.classification import Classification
from anychan.deploy.page_examples import demo_tiles
from anychan.deploy.predictor import Predictor
from anychan.errors import AnychanError
from anychan.models.pretrained import save
from anychan.presets import RGB
from tests.runs import png, tiff, write_tree
from tests.scenes import BANDS, Array, scene_model

NAMES = ("B02", "B03", "B04", "B08")


def tile(seed: int, bands: int = 4, dtype: type = np.uint16) -> Array:
    return np.random.default_rng(seed).integers(1, 255, (16, 16, bands)).astype(dtype)


def close(found: Classification, other: Classification, tolerance: float = 1e-6) -> bool:
    assert found.probabilities is not None
    assert other.probabilities is not None
    return bool(np.abs(found.probabilities - other.probabilities).max() <= tolerance)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(scene_model(dtype="uint16"))


def test_an_array_is_what_the_model_says_of_it(predictor: Predictor) -> None:
    image = tile(0)
    found = predictor(image, channels=NAMES)
    with torch.no_grad():
        expected = predictor.model(torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]).softmax(1)[0]
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert found.label == predictor.classes[int(expected.argmax())]
    assert found.confidence == pytest.approx(float(expected.max()))
    assert [name for name, _ in found.top(2)] == [predictor.classes[i] for i in expected.argsort(descending=True)[:2]]
    assert (found.channels, found.absent) == (NAMES, ())


def test_channels_that_are_switched_off_are_as_if_absent(predictor: Predictor) -> None:
    image = tile(1)
    off = predictor(image, channels=NAMES, without=["nir", "B03"])
    fewer = predictor(image[:, :, [0, 2]], channels="B02,B04")
    assert close(off, fewer, 0)
    assert (off.channels, off.absent) == (("B02", "B04"), ("B03", "B08"))
    assert not close(off, predictor(image, channels=NAMES))


def test_what_speaks_for_a_class(predictor: Predictor) -> None:
    image = tile(4)
    found = predictor.explain(image, channels=NAMES)
    assert close(found.found, predictor(image, channels=NAMES), 0)
    assert (found.label, found.image.shape, found.values.shape) == (found.found.label, (16, 16, 4), (16, 16, 4))
    assert list(found.shares) == list(NAMES)
    assert sum(found.shares.values()) == pytest.approx(1)
    means = np.array(predictor.model.contract.offset, np.float32)  # of a model that was never trained
    empty = predictor(np.broadcast_to(means, image.shape).astype(np.float32), channels=NAMES)
    label = predictor.classes.index(found.label)
    assert found.found.probabilities is not None
    assert empty.probabilities is not None
    gained = np.log(found.found.probabilities[label]) - np.log(empty.probabilities[label])
    assert found.values.sum() == pytest.approx(gained, rel=0.05, abs=0.02)
    other = predictor.explain(image, channels=NAMES, label=predictor.classes[0], without=["B03"])
    assert (other.label, list(other.shares)) == (predictor.classes[0], ["B02", "B04", "B08"])
    with pytest.raises(AnychanError, match="no class is called 'desert'; the model has"):
        predictor.explain(image, channels=NAMES, label="desert")


def test_an_image_without_data_is_not_explained(predictor: Predictor) -> None:
    empty = np.full((16, 16, 4), np.nan, np.float32)
    assert predictor(empty, channels=NAMES).label is None
    with pytest.raises(AnychanError, match="more than half of its pixels hold no data"):
        predictor.explain(empty, channels=NAMES)


def test_the_packaged_model_has_a_name() -> None:
    found = Predictor("demo")(np.full((32, 32, 3), 300, np.uint16), channels=["B04", "B03", "B02"])
    assert (found.channels, len(found.absent), len(found.classes)) == (("B04", "B03", "B02"), 10, 10)


def test_threads_may_share_it(tmp_path: Path) -> None:
    """Subsets lend their own batch-norm statistics to the model while they pass."""
    predictor = Predictor("demo")
    image = demo_tiles(predictor.model.contract, tmp_path)[0]
    ways: tuple[list[str], ...] = ([], ["B08", "B11"], ["B01", "B02", "B03", "B04"])
    expected = [predictor(image, without=off) for off in ways]
    assert not close(expected[0], expected[1], 0.01)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(predictor, image, without=off) for off in ways * 10]
            found = [future.result() for future in asked]
    finally:
        sys.setswitchinterval(interval)
    assert all(close(one, other) for one, other in zip(found, expected * 10, strict=True))


def test_order_is_the_callers(predictor: Predictor) -> None:
    image = tile(2)
    turned = predictor(image[:, :, ::-1], channels=NAMES[::-1])
    assert close(turned, predictor(image, channels=NAMES))


def test_files_folders_zips_and_lists_say_the_same(tmp_path: Path) -> None:
    model = scene_model(RGB)
    save(model, tmp_path / "model")
    predictor = Predictor(tmp_path / "model")
    arrays = {f"{name}.png": tile(n, 3, np.uint8) for n, name in enumerate("abc")}
    data = write_tree(tmp_path / "data", {name: png(array) for name, array in arrays.items()})
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        for name in arrays:
            file.write(data / name, name)
    expected = list(predictor.many(np.stack(list(arrays.values())), channels="rgb"))
    files = [data / name for name in arrays]
    for given, names in (
        (data, list(arrays)),
        (tmp_path / "data.zip", list(arrays)),
        (files, [str(file) for file in files]),
        ([files[0], tmp_path / "data.zip"], [str(files[0]), *(str(tmp_path / "data.zip" / name) for name in arrays)]),
    ):
        found = list(predictor.many(given))
        assert [one.sample for one in found] == names
        for one, same in zip(found, expected if len(found) == 3 else [expected[0], *expected], strict=True):
            assert close(one, same)
    one = predictor(files[1])
    with Image.open(files[1]) as opened:
        assert close(predictor(opened), one, 0)
    assert close(one, expected[1])


def test_each_file_has_the_channels_that_it_names(tmp_path: Path, predictor: Predictor) -> None:
    all_of, two = tile(3), tile(4, 2)
    files = {"a.tif": tiff(all_of, planarconfig="contig"), "b.tif": tiff(two, planarconfig="contig")}
    data = write_tree(tmp_path / "data", files)
    write_tree(
        data,
        {
            f"{name}.channels.yaml": f"channels: [{names}]"
            for name, names in (
                ("a", "sentinel2:B02, sentinel2:B03, sentinel2:B04, sentinel2:B08"),
                ("b", "sentinel2:B08, sentinel2:B02"),
            )
        },
    )
    found = list(predictor.many([data / "a.tif", data / "b.tif"]))
    assert [one.channels for one in found] == [NAMES, ("B08", "B02")]
    assert found[1].absent == ("B03", "B04")
    assert close(found[1], predictor(two, channels="B08,B02"))


def test_an_image_without_data_has_no_class() -> None:
    image = tile(5, dtype=np.float32)
    image[:9] = np.nan
    found = Predictor(scene_model())(image, channels=NAMES)
    assert (found.label, found.confidence, found.probabilities, found.top(2)) == (None, None, None, [])


@pytest.mark.parametrize(
    ("image", "options", "sentence"),
    [
        (tile(0), {}, "array: nobody says which channels it holds; give channels, in the array's order"),
        (tile(0), {"channels": "B02,B03"}, "array: it has 4 channels, but 2 are named: B02,B03"),
        (tile(0)[:, :, 0], {"channels": "B02"}, r"array: an image has three axes \(H, W, S\), not \(16, 16\)"),
        (
            tile(0),
            {"channels": NAMES, "without": NAMES},
            r"all channels are switched off \(B02, B03",
        ),
        (tile(0, dtype=np.uint8), {"channels": NAMES}, "its pixels are uint8, but the model was trained on uint16"),
        ("absent.tif", {}, "absent.tif: there is no such file or folder"),
        (Image.new("RGB", (8, 8)), {}, "image: the model knows sentinel2:B02, .* but not rgb:R, rgb:G, rgb:B"),
    ],
)
def test_what_cannot_be(predictor: Predictor, image: Array, options: dict[str, str], sentence: str) -> None:
    with pytest.raises(AnychanError, match=sentence):
        predictor(image, **options)


def test_one_image_is_no_folder(tmp_path: Path, predictor: Predictor) -> None:
    with pytest.raises(AnychanError, match=r"it is a folder; for its images, call many\(\)"):
        predictor(tmp_path)
    with pytest.raises(AnychanError, match=r"array: images have four axes \(N, H, W, S\), not \(16, 16, 4\)"):
        predictor.many(tile(0), channels=NAMES)
    assert predictor.channels == BANDS
