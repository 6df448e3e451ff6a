import zipfile
from pathlib import Path

import numpy as np
import pytest

from anychan.deploy.classifier import Prediction
from anychan.deploy.predict import predict
from anychan.errors import DataError
from anychan.models.pretrained import save
from tests.builders import training_statistics
from tests.runs import tiff, write_tree
from tests.scenes import Array, noise, scene_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # Ray warns of what it sets


def tile(number: int) -> Array:
    return noise(16, 16, seed=number)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save(scene_model(statistics=training_statistics(4, mean=9000)), tmp_path / "run")
    return tmp_path / "run"


def test_table_of_all_kinds_of_inputs_is_the_local_one(
    ray_address: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte for byte, in relative names, with the same notes and warnings; one folder lacks half of the channels."""
    monkeypatch.chdir(tmp_path)
    said = "channels: [sentinel2:B02, sentinel2:B03, sentinel2:B04, sentinel2:B08]"
    write_tree(Path("tiles"), {f"{n}.tif": tiff(tile(n), planarconfig="contig") for n in range(23)})
    write_tree(Path("tiles"), {"channels.yaml": said})
    with zipfile.ZipFile("more.zip", "w") as file:
        for path in sorted(Path("tiles").iterdir()):
            file.write(path, path.name)
    bands = "channels: [sentinel2:B02, sentinel2:B04]\nfiles: '{sample}_{channel}.tif'\n"
    for number in range(5):
        write_tree(Path("bands"), {f"t{number}_{name}.tif": tiff(tile(number)[..., 0]) for name in ("B02", "B04")})
    write_tree(Path("bands"), {"channels.yaml": bands})
    np.savez("a.npz", x=np.stack([tile(n) for n in range(9)]), channels=np.array(["B02", "B03", "B04", "B08"]))
    write_tree(Path(), {"a.channels.yaml": said})
    inputs = [Path("tiles/3.tif"), Path("tiles/1.tif"), Path("tiles"), Path("more.zip"), Path("a.npz"), Path("bands")]
    asked = Prediction(batch_size=3, probabilities=True, flip=True)
    told = []
    for engine, address in (("local", None), ("ray", ray_address)):
        predict(run, inputs, Path("out.jsonl"), asked, engine=engine, address=address)
        told.append((Path("out.jsonl").read_bytes(), *capsys.readouterr()))
    assert told[1] == told[0]
    table, out, err = told[0]
    assert len(table.splitlines()) == 2 + 23 + 23 + 9 + 5
    assert out.startswith("2 of the model's 4 channels are missing")
    assert err.count("warning: channel ") > 8


def test_damaged_image_ends_the_run_with_its_sentence(ray_address: str, run: Path, tmp_path: Path) -> None:
    images = {f"{n:02}.tif": tiff(tile(n), planarconfig="contig") for n in range(40)}
    data = write_tree(tmp_path / "data", images | {"30.tif": images["30.tif"][:200], "35.tif": b""})
    asked = Prediction(channels="B02,B03,B04,B08", batch_size=2)
    sentences = []
    for engine, address in (("local", None), ("ray", ray_address)):
        with pytest.raises(DataError, match=r"data/30.tif: ") as caught:
            predict(run, [data], tmp_path / "out.csv", asked, engine=engine, address=address)
        sentences.append(str(caught.value))
    assert sentences[1] == sentences[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]
