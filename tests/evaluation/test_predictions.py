from pathlib import Path

import pytest
import torch

from anychan.data.batches import Batch
from anychan.data.dataset import load_data
from anychan.errors import ChannelError
from anychan.evaluation.accuracy import classified
from anychan.evaluation.predictions import predict_split
from anychan.evaluation.run import load_run
from anychan.models.catalog import create_model
from anychan.presets import RGB
from anychan.recipe import DataConfig
from tests.runs import S2_TILES
from tests.sensors import write_sensor


def test_images_get_the_class_of_their_largest_logit(finished_run: Path) -> None:
    model, data = load_run(finished_run)
    (found,) = predict_split(model, data)
    images = data.splits["test"].tensor.permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model.select(RGB)(images)
    assert torch.equal(found.label, logits.argmax(1))
    torch.testing.assert_close(found.confidence, logits.softmax(1).amax(1))
    assert (found.channels, found.columns, found.split) == (RGB, (0, 1, 2), data.splits["test"])


def test_channels_are_shown_in_the_models_order(finished_run: Path) -> None:
    model, data = load_run(finished_run)
    (found,) = predict_split(model, data, split="val", channels=["B", "R"])
    val = data.splits["val"]
    expected = classified(model.select("R,B"), [Batch(val.tensor.permute(0, 3, 1, 2)[:, [0, 2]], val.labels)])
    assert torch.equal(found.label == val.labels, expected.correct)
    assert torch.equal(found.confidence, expected.confidence)
    assert (found.channels.names, found.columns) == (("R", "B"), (0, 2))
    with pytest.raises(ChannelError, match="NIR"):
        predict_split(model, data, channels=["NIR"])


def test_each_source_shows_its_own_channels(tmp_path: Path) -> None:
    one = write_sensor(tmp_path / "one", ["c1", "c2"], wavelengths={"c1": 500, "c2": 600})
    two = write_sensor(tmp_path / "two", ["c3", "c1"], wavelengths={"c1": 500, "c3": 700})
    data = load_data(DataConfig(path=[str(one), str(two)], size=8, unseen_pairs="wavelength"), seed=0)
    model = create_model("baseline_cnn", channels=data.channels, num_classes=2, statistics=data.statistics)
    found = predict_split(model, data)
    assert [part.channels.names for part in found] == [("c1", "c2"), ("c1", "c3")]
    assert [part.columns for part in found] == [(0, 1), (1, 0)]
    for part, source in zip(found, data.sources, strict=True):
        images = data.sources[source]["test"].tensor.permute(0, 3, 1, 2)[:, list(part.columns)]
        with torch.no_grad():
            logits = model.select(part.channels)(images)
        assert torch.equal(part.label, logits.argmax(1))
        assert len(part.encodings) == 2


def test_tiles_of_16_bits(tmp_path: Path) -> None:
    data = load_data(DataConfig(path=str(S2_TILES), size=12, test_fraction=0.34), seed=0)
    model = create_model("resnet8", channels=data.channels, num_classes=2, statistics=data.statistics)
    (found,) = predict_split(model, data)
    assert found.label.dtype == torch.int64
    assert ((found.confidence >= 0.5) & (found.confidence <= 1)).all()
