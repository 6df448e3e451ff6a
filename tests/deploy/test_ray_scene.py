from pathlib import Path

import numpy as np
import pytest

from anychan.deploy.classifier import Prediction
from anychan.deploy.predict import predict
from anychan.deploy.predict_scene import map_files
from anychan.models.pretrained import save
from tests.builders import training_statistics
from tests.runs import write_tree
from tests.scenes import ground, noise, scene_model, write_scene

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # Ray warns of what it sets


def test_map_is_the_local_one(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All three files byte for byte: bands at 10, 20 and 60 m, a corner without data, a model of one more channel."""
    monkeypatch.chdir(tmp_path)
    save(scene_model(statistics=training_statistics(4, mean=9000)), "run")
    folder = Path("T33")
    folder.mkdir()
    for name, metres, size in (("B02", 60, 80), ("B03", 20, 240), ("B04", 10, 480)):
        plane = noise(size, size, 1, seed=size)
        plane[: size // 3, : size // 4] = 0
        write_scene(folder / f"T33_{name}.tif", plane, transform=ground(metres), nodata=0)
    text = 'channels: [sentinel2:B02, sentinel2:B03, sentinel2:B04]\nfiles: "*_{channel}.tif"\n'
    write_tree(folder, {"channels.yaml": text})
    out, asked, told = Path("map.tif"), Prediction(window=20, stride=8, batch_size=16), []
    for engine, address in (("local", None), ("ray", ray_address)):
        predict(Path("run"), [folder], out, asked, engine=engine, address=address)
        told.append(([path.read_bytes() for path in map_files(out)], *capsys.readouterr()))
    assert told[1] == told[0]
    _, said, warned = told[0]
    assert said.splitlines()[0].startswith("1 of the model's 4 channels are missing (B08)")
    assert "no class" in said
    assert warned.count("warning: channel ") == 3
    assert np.unique([len(file) for file in told[0][0]]).min() > 500
