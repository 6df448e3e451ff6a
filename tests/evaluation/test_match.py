import re
from pathlib import Path

import pytest
import torch

from anychan.channels import Channel, ChannelSet
from anychan.data.batches import EvalBatches
from anychan.data.dataset import ImageData, load_data
from anychan.errors import ChannelError, DataError
from anychan.evaluation.evaluate import evaluate_subsets
from anychan.evaluation.match import match_channels
from anychan.evaluation.run import evaluate_run, evaluate_run_splits
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.nn.batch_norm import measure_batch_norm
from anychan.recipe import DataConfig
from tests.sensors import write_sensor

NM = {"b1": 450.0, "b2": 550.0, "b3": 650.0, "b4": 850.0}
DRONE = ChannelSet(Channel(name, "drone", wavelength_nm=nm) for name, nm in NM.items())


def data_of(folder: Path, channels: str, **known: float) -> ImageData:
    path = write_sensor(folder, channels.split(), wavelengths={**NM, **known})
    return load_data(DataConfig(path=str(path), size=8, val_fraction=0.25, test_fraction=0.25), seed=0)


def model_of(channels: str, stem: str) -> AnyChannelModel:
    torch.manual_seed(1)
    known = DRONE.select(channels.split())
    constants = {"offset": [1500.0] * len(known), "scale": [300.0] * len(known)}
    model = create_model("resnet8", channels=known, num_classes=2, stem=stem, **constants).eval()  # type: ignore[arg-type]
    measure_batch_norm(model, [1500 + 300 * torch.randn(16, len(known), 8, 8)])
    return model


def test_the_models_own_channels_leave_it_as_it_is(tmp_path: Path) -> None:
    model, data = model_of("b1 b2", "mean"), data_of(tmp_path, "b1 b2")
    same, match = match_channels(model, data)
    assert same is model
    assert match.whole
    assert match.channels == model.channels
    assert match.to_dict() == {"channel_status": {"b1": "trained", "b2": "trained"}, "absent_channels": []}


def test_new_channels_are_interpolated_and_normalised_by_the_new_training_images(tmp_path: Path) -> None:
    model, data = model_of("b1 b2 b3", "wavelength"), data_of(tmp_path, "b4 b3 b1")
    wider, match = match_channels(model, data)
    assert match.status == {"b4": "interpolated", "b3": "trained", "b1": "trained"}
    assert match.with_status("trained") == ["b3", "b1"]
    assert (match.absent, match.whole) == (("b2",), False)
    assert match.channels.names == ("b1", "b3", "b4")  # the model's order, new ones last
    assert wider.channels.names == ("b1", "b2", "b3", "b4")
    pixels = torch.from_numpy(data.splits["train"].images[..., 0].astype("float64"))
    assert wider.contract.offset[3] == pytest.approx(float(pixels.mean()))
    assert wider.contract.scale[3] == pytest.approx(float(pixels.std(correction=0)))
    assert wider.contract.offset[:3] == model.contract.offset
    unit, _ = match_channels(model, data, normalize=DataConfig(normalize="unit"))
    assert (unit.contract.offset[3], unit.contract.scale[3]) == (0, 65535)


def test_images_are_cut_to_what_the_model_takes(tmp_path: Path) -> None:
    """Another order, one channel absent, one left out: rows are those of the right columns."""
    model, data = model_of("b1 b2 b3", "mean"), data_of(tmp_path, "b4 b3 b1")
    same, match = match_channels(model, data, allow_unknown=True)
    assert (match.status["b4"], match.channels.names) == ("unknown", ("b1", "b3"))
    report = evaluate_run_splits(same, data, splits=["test"], channels=match.channels)["test"]
    assert [row.channels for row in report.rows] == [("b1", "b3"), ("b1",), ("b3",)]
    (batch,) = EvalBatches(data.splits["test"])
    for row, columns in zip(report.rows, ([2, 1], [2], [1]), strict=True):
        logits = model.select(row.channels)(batch.images.float()[:, columns])
        assert torch.equal(row.correct, logits.argmax(1) == batch.labels)
    own = evaluate_run_splits(same, data, splits=["test"], channels=match.channels, batch_norm="own")["test"]
    training = [data.splits["train"].tensor.permute(0, 3, 1, 2).float()[:, [2, 1]]]
    expected = evaluate_subsets(
        same, [batch._replace(images=batch.images[:, [2, 1]])], channels=match.channels, calibration=training
    )
    assert [row.accuracy for row in own.rows] == [row.accuracy for row in expected.rows]


def test_nothing_is_left_out_unasked(tmp_path: Path) -> None:
    model, data = model_of("b1 b2", "mean"), data_of(tmp_path, "b1 b2 b3 b4")
    message = (
        "the model knows nothing of b3, b4: never trained, and stem 'mean' makes no kernels for new channels (stem "
        "'wavelength' does, from wavelengths); --allow-unknown-channels leaves such channels out"
    )
    with pytest.raises(ChannelError, match=f"^{re.escape(message)}$"):
        match_channels(model, data)
    with pytest.raises(ChannelError, match="channel 'drone:b3' is not one of b1, b2"):
        evaluate_run(model, data)


def test_without_a_wavelength_no_stem_helps(tmp_path: Path) -> None:
    model, data = model_of("b1 b2", "wavelength"), data_of(tmp_path, "b1 b3 dye9")
    with pytest.raises(ChannelError, match="knows nothing of dye9: never trained, and without a wavelength to make"):
        match_channels(model, data)
    wider, match = match_channels(model, data, allow_unknown=True)
    assert match.status == {"b1": "trained", "b3": "interpolated", "dye9": "unknown"}
    assert match.channels.names == ("b1", "b3")
    assert wider.channels.names == ("b1", "b2", "b3")


def test_other_data_altogether_is_refused(tmp_path: Path) -> None:
    model, data = model_of("b1 b2", "mean"), data_of(tmp_path, "b3 b4")
    message = "none of the data's channels b3, b4 is known to the model; it was trained on b1, b2"
    with pytest.raises(ChannelError, match=f"^{message}$"):
        match_channels(model, data, allow_unknown=True)


def test_a_new_channel_must_not_be_constant(tmp_path: Path) -> None:
    model, data = model_of("b1 b2", "wavelength"), data_of(tmp_path, "b1 b4")
    for split in data.splits.values():
        split.images[..., 1] = 7
    with pytest.raises(DataError, match="channel 'b4' has the same value, 7, in every pixel of the training images"):
        match_channels(model, data)
