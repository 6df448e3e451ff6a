import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from anychan.data.readers import resize
from anychan.deploy.classifier import Classifier, Prediction
from anychan.deploy.predict_samples import predict_samples
from anychan.errors import ChannelError, ContractError, DataError, RunError
from anychan.presets import RGB
from tests.geotiff import geotiff
from tests.runs import S2_TILES, anonymous, constant_channels, copy_of, png, tiff, write_tree
from tests.scenes import BANDS, Array, scene_model


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tile(seed: int, bands: int = 4, dtype: type = np.uint16) -> Array:
    return np.random.default_rng(seed).integers(0, 255, (12, 14, bands)).astype(dtype)


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_for_each_image(packed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles = {f"{'ab'[n % 2]}/tile, {n}.tif": tile(n) for n in range(7)}
    data = write_tree(tmp_path / "data", {name: tiff(array, planarconfig="contig") for name, array in tiles.items()})
    write_tree(data, {"channels.yaml": "channels: [sentinel2:B02, sentinel2:B03, sentinel2:B04, sentinel2:B08]"})
    if packed:
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
            for path in data.rglob("*.*"):
                file.write(path, path.relative_to(data))
        data = tmp_path / "data.zip"
    model = scene_model(dtype="uint16")
    predict_samples(model, [data], tmp_path / "out.csv", Prediction(batch_size=3))
    rows = read_table(tmp_path / "out.csv")
    assert [row["sample"] for row in rows] == sorted(tiles)
    rule = model.contract.resize
    assert rule is not None
    for row in rows:
        x = torch.from_numpy(resize(tiles[row["sample"]], rule).astype(np.float32)).permute(2, 0, 1)[None]
        with torch.no_grad():
            expected = model(x).softmax(1)[0]
        assert row["class"] == model.contract.classes[int(expected.argmax())]
        assert float(row["confidence"]) == pytest.approx(float(expected.max()), abs=1e-4)
    assert capsys.readouterr().out == f"7 images; table: {tmp_path / 'out.csv'}\n"
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".csv", *[".zip"] * packed]


def test_flips_are_taken(tmp_path: Path) -> None:
    arrays = {f"{n}.tif": tile(n, 4) for n in range(5)}
    data = write_tree(tmp_path / "data", {name: tiff(array, planarconfig="contig") for name, array in arrays.items()})
    model, channels = scene_model(), "B02,B03,B04,B08"
    tables = []
    for flip in (True, False):
        predict_samples(model, [data], tmp_path / "out.csv", Prediction(channels=channels, flip=flip))
        tables.append([float(row["confidence"]) for row in read_table(tmp_path / "out.csv")])
    classify = Classifier(model, BANDS, batch_size=5, flip=True)
    np.testing.assert_allclose(tables[0], classify(list(arrays.values())).max(1), atol=1e-4)
    assert tables[0] != tables[1]


def test_missing_channels_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_tree(tmp_path / "data", {f"{n}.tif": tiff(tile(n, 2), planarconfig="contig") for n in range(2)})
    predict_samples(scene_model(), [data], tmp_path / "out.csv", Prediction(channels="nir,B03"))
    assert capsys.readouterr().out.startswith("2 of the model's 4 channels are missing (B02, B04); the stem")
    assert len(read_table(tmp_path / "out.csv")) == 2


def test_photographs_need_no_names(tmp_path: Path) -> None:
    data = write_tree(tmp_path / "data", {"a.png": png(tile(0, 3, np.uint8))})
    predict_samples(scene_model(RGB), [data], tmp_path / "out.csv", Prediction())
    assert [row["sample"] for row in read_table(tmp_path / "out.csv")] == ["a.png"]


def test_an_image_of_nan_gets_no_class(tmp_path: Path) -> None:
    images = {"a": tile(0).astype(np.float32), "b": tile(1).astype(np.float32)}
    images["a"][:8], images["b"][0, 0] = np.nan, np.nan
    data = write_tree(
        tmp_path / "data", {f"{name}.tif": tiff(image, planarconfig="contig") for name, image in images.items()}
    )
    predict_samples(scene_model(), [data], tmp_path / "out.csv", Prediction(channels="B02,B03,B04,B08"))
    first, second = read_table(tmp_path / "out.csv")
    assert first == {"sample": "a.tif", "class": "", "confidence": "", "channels": "B02 B03 B04 B08", "absent": ""}
    assert second["class"]


def test_the_files_own_tags_are_honoured(tmp_path: Path) -> None:
    bands = np.moveaxis(tile(0) + np.uint16(1), -1, 0).copy()
    bands[:, :8] = 0
    (tmp_path / "data").mkdir()
    geotiff(tmp_path / "data" / "a.tif", bands, nodata=0)
    geotiff(tmp_path / "data" / "b.tif", bands)
    asked = Prediction(channels="B02,B03,B04,B08")
    predict_samples(scene_model(dtype="uint16"), [tmp_path / "data"], tmp_path / "out.csv", asked)
    assert [bool(row["class"]) for row in read_table(tmp_path / "out.csv")] == [False, True]
    geotiff(tmp_path / "data" / "b.tif", bands, names=("B03", "B02", "B04", "B08"))
    with pytest.raises(DataError, match=r"b.tif: the file calls band 1 'B03', but it is said to be 'B02'"):
        predict_samples(scene_model(dtype="uint16"), [tmp_path / "data"], tmp_path / "out.csv", asked)


def test_what_cannot_be_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    data, out = copy_of(S2_TILES, tmp_path), tmp_path / "out.csv"
    (data / "water" / "water_3.tif").write_bytes(tiff(constant_channels(1, 2, 3), planarconfig="contig"))
    with pytest.raises(DataError, match=r"water/water_3.tif: the image has 3 channels, but 4 are expected"):
        predict_samples(scene_model(), [data], out, Prediction(batch_size=4))
    (data / "water" / "water_3.tif").unlink()
    with pytest.raises(ContractError, match=r"forest_0.tif: its pixels are uint16, but the model was trained on uint8"):
        predict_samples(scene_model(dtype="uint8"), [data], out, Prediction())
    with pytest.raises(ChannelError, match="the model knows test:c0, test:c1, but not sentinel2:B02, sentinel2:B03"):
        predict_samples(scene_model(anonymous(2)), [data], out, Prediction())
    with pytest.raises(RunError, match=r"absent/out.csv: the table cannot be written \(No such file or directory\)"):
        predict_samples(scene_model(), [data], tmp_path / "absent" / "out.csv", Prediction())
    (data / "channels.yaml").unlink()
    with pytest.raises(ChannelError, match=r"nobody says which channels its .tif files hold; give --channels"):
        predict_samples(scene_model(), [data], out, Prediction())
    empty = write_tree(tmp_path / "empty", {"notes.txt": ""})
    with pytest.raises(DataError, match=r"empty: there is no image \(.jpeg, .jpg, "):
        predict_samples(scene_model(BANDS), [empty], out, Prediction())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "s2_tiles"]
