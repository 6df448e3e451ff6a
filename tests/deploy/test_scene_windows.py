from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anychan.deploy.classifier import Prediction
from anychan.deploy.scene_map import WindowRow
from anychan.deploy.scene_windows import SceneWindows, open_windows
from anychan.errors import ConfigError
from tests.builders import training_statistics
from tests.scenes import Array, noise, scene_model, write_scene

ASKED = Prediction(window=20, stride=8, channels="B02,B03,B04,B08", batch_size=7)


def classified(windows: SceneWindows, *ends: int) -> tuple[Array, Array, Array, list[int]]:
    """Sums, counts, the picture, and the pixels that were counted, when the rows are shared out at these places."""
    whole = windows.picture()
    found: list[WindowRow] = []
    seen: Any = None
    for start, stop in zip((0, *ends), (*ends, len(windows.grid.tops)), strict=True):
        part = windows.picture(start, stop)
        found += windows.classify(part, start, stop)
        whole.merge(part)
        if seen is None:
            seen = windows.rule.take()
        else:
            seen.merge(windows.rule.take())
    sums, counts = (np.stack(rows) for rows in zip(*found, strict=True))
    statistics = seen.result()
    return sums, counts, whole.image(), statistics.pixels.diagonal().tolist()


@pytest.mark.parametrize("stride", [8, 20])
def test_rows_of_windows_may_be_shared_out_anyhow(stride: int, tmp_path: Path) -> None:
    array = noise(75, 61)
    array[:30, :25], array[40, 50, 2] = 0, 0
    path = write_scene(tmp_path / "scene.tif", array, nodata=0)
    asked = Prediction(**{**vars(ASKED), "stride": stride})
    with open_windows(scene_model(statistics=training_statistics(4)), path, asked) as windows:
        last = len(windows.grid.tops) - 1
        whole = classified(windows)
        assert whole[3] == [75 * 61 - 30 * 25 - (1 if channel == 2 else 0) for channel in range(4)]
        for ends in [(1,), (1, 2, last), tuple(range(1, last + 1))]:
            for expected, found in zip(whole, classified(windows, *ends), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_what_is_to_be_written_is_no_file_of_the_scene(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", noise(40, 40))
    with (
        pytest.raises(ConfigError, match=r"scene.tif is part of the scene, so the map cannot be written there"),
        open_windows(scene_model(), path, ASKED, outputs=[tmp_path / "." / "scene.tif"]),
    ):
        pass
