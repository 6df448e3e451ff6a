from pathlib import Path

import numpy as np
import pytest

from anychan.deploy.classification import Classification, SampleClassifier
from anychan.deploy.classifier import Prediction
from anychan.deploy.sample_readers import open_samples
from tests.builders import training_statistics
from tests.runs import tiff, write_tree
from tests.scenes import BANDS, noise, scene_model


def test_the_highest_come_first_and_of_equals_the_first() -> None:
    found = Classification("a", ("x", "y", "z"), np.array([0.2, 0.4, 0.4], np.float32), ("R",), ("G", "B"))
    assert [name for name, _ in found.top(3)] == ["y", "z", "x"]
    assert found.label == "y"
    assert found.confidence == np.float32(0.4)


def test_no_probabilities_no_class() -> None:
    found = Classification("a", ("x", "y"), None, ("R",), ())
    assert (found.label, found.confidence, found.top(2)) == (None, None, [])


@pytest.mark.parametrize("ends", [(3,), (3, 6)])
def test_notes_and_warnings_of_parts_are_those_of_the_whole(ends: tuple[int, ...], tmp_path: Path) -> None:
    images = {f"{n}.tif": noise(16, 16, seed=n).astype(np.float32 if n == 4 else np.uint16) for n in range(8)}
    write_tree(tmp_path, {name: tiff(image, planarconfig="contig") for name, image in images.items()})
    reader = open_samples(tmp_path, BANDS, spec="B02,B03,B04,B08", grey="refuse")
    model = scene_model(dtype="uint16", statistics=training_statistics(4, mean=5000))
    whole, here = (SampleClassifier(model, reader, tmp_path, Prediction(batch_size=3)) for _ in range(2))
    expected = list(whole)
    found: list[Classification] = []
    for start, stop in zip((0, *ends), (*ends, 8), strict=True):
        part = SampleClassifier(model, reader.part(start, stop), tmp_path, Prediction(batch_size=3), cores=1)
        found += part
        here.add(part.take())
    assert [image.sample for image in found] == list(reader.names)
    for one, two in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.probabilities, two.probabilities)
    assert (
        whole.notes()
        == here.notes()
        == ["pixels are float32 where the model was trained on uint16: values are taken as they are"]
    )
    assert len(whole.warnings()) == 4
    assert whole.warnings() == here.warnings()
