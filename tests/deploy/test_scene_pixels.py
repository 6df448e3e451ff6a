import numpy as np
import pytest

from anychan.channels import ChannelSet
from anychan.contract import ChannelStatistics, Contract
from anychan.data.channels_file import ChannelsFile
from anychan.deploy.scene import Rows
from anychan.deploy.scene_pixels import PixelRule
from anychan.encoding import Encoding
from anychan.errors import ChannelError, ContractError
from tests.scenes import BANDS, Array, scene_model


def rows(dtype: type) -> tuple[Rows, Array]:
    values: Array = np.arange(2 * 3 * 2).reshape(2, 3, 2).astype(dtype)
    missing = np.zeros((2, 3, 2), bool)
    missing[0, 1, 0], missing[1, 2] = True, True
    return Rows(values, missing), missing


def rule(contract: Contract, text: str | None = None, channels: ChannelSet = BANDS) -> PixelRule:
    said = None if text is None else ChannelsFile.parse(f"channels: {list(BANDS.identities)}\n{text}", "channels.yaml")
    return PixelRule("scene.tif", contract, channels, said)


@pytest.mark.parametrize(("dtype", "filling"), [(np.uint16, (31, 10)), (np.float32, (30.75, 10.25))])
@pytest.mark.parametrize("trained", [False, True])
def test_pixels_without_data_get_the_training_mean(trained: bool, dtype: type, filling: tuple[float, float]) -> None:
    means = (0.0, 10.25, 0.0, 30.75)
    statistics = ChannelStatistics(np.array(means), np.eye(4), np.ones((4, 4), int)) if trained else None
    contract = scene_model(offset=(7.0,) * 4 if trained else means, statistics=statistics).contract
    given, missing = rows(dtype)
    band = rule(contract, channels=BANDS.select(["B08", "B03"])).fill(given)
    assert band.values.dtype == dtype
    np.testing.assert_array_equal(band.values, np.where(missing, filling, given.values))
    assert np.argwhere(band.empty).tolist() == [[1, 2]]  # missing in both channels


def test_no_data_is_what_the_scene_says_or_else_the_model() -> None:
    values = np.array([[[0, 5, 9, 1], [5, 0, 1, 9]]], np.uint16)
    given = Rows(values, values == 1)
    contract = scene_model(encodings=(Encoding(no_data=0),) * 4).contract
    np.testing.assert_array_equal(rule(contract).mark(given).missing, (values == 0) | (values == 1))
    np.testing.assert_array_equal(rule(contract, "no_data: 9").mark(given).missing, (values == 9) | (values == 1))


def test_values_are_converted_to_the_models_own() -> None:
    contract = scene_model(dtype="uint16", encodings=(Encoding("reflectance", 0.0001, -0.1),) * 4).contract
    percent = rule(contract, "unit: reflectance\nscale: 0.01\noffset: 0.02")
    values = np.array([[[0, 50, 98, 255]]], np.uint8)
    assert percent.check_dtype("scene.tif", values.dtype) == []  # the unit says what they mean
    band = percent.fill(Rows(values, np.zeros(values.shape, bool)))
    assert band.values.dtype == np.float32
    np.testing.assert_allclose(band.values[0, 0], [1200, 6200, 11000, 26700], rtol=1e-6)  # beyond what a byte holds
    with pytest.raises(ChannelError, match=r"scene.tif: channel B02: its unit is kelvin, but the model's is"):
        rule(contract, "unit: kelvin")
    with pytest.raises(ChannelError, match=r"channel B02: its unit is not given, but the model's is reflectance"):
        rule(contract, "no_data: 3")


def test_prediction_converts_as_training_does() -> None:
    own, said = Encoding("reflectance", 0.0001, 0, 0), Encoding("reflectance", 0.0001, -0.1, 0)
    contract = scene_model(dtype="uint16", encodings=(own,) * 4, offset=(7.0,) * 4).contract
    shifted = rule(contract, "unit: reflectance\nscale: 0.0001\noffset: -0.1\nno_data: 0")
    values = np.array([[[500, 1000, 1003, 65535], [900, 0, 0, 1001]]], np.uint16)
    band = shifted.fill(shifted.mark(Rows(values, values == 65535)))
    assert band.values.dtype == np.uint16
    read = said.convert(values, own)
    np.testing.assert_array_equal(band.values, np.where((read == 0) | (values == 65535), 7, read))
    assert band.values[0].tolist() == [[1, 1, 3, 7], [1, 7, 7, 1]]


def test_what_means_no_data_to_the_model_needs_a_word() -> None:
    contract = scene_model(dtype="uint16", encodings=(Encoding("K", no_data=0),) * 4, offset=(7.0,) * 4).contract
    values = np.array([[[0, 1, 2, 3]]], np.uint16)
    unsaid, said = rule(contract, "unit: K"), rule(contract, "unit: K\nno_data: 9")
    with pytest.raises(ChannelError, match=r"^scene.tif: channel B02: it holds 0, which means no data elsewhere"):
        unsaid.fill(Rows(values, values == 3))
    assert unsaid.fill(Rows(values, values == 0)).values.tolist() == [[[7, 1, 2, 3]]]
    assert said.fill(Rows(values, values == 3)).values.tolist() == [[[1, 1, 2, 7]]]


def test_a_mean_far_from_the_trainings_is_warned_of() -> None:
    statistics = ChannelStatistics(np.full(4, 2000.0), np.eye(4) * 100.0**2, np.ones((4, 4), int))
    contract = scene_model(statistics=statistics, encodings=(Encoding("reflectance", 0.0001),) * 4).contract
    values = np.full((300, 300, 2), 0.2, np.float32)  # more than one piece
    values[..., 1] = np.nan
    values[0, 0, 1] = 0.21
    given = Rows(values, np.isnan(values))
    pair = BANDS.select(["B08", "B03"])
    fine = rule(contract, "unit: reflectance", pair)  # converted to the model's own numbers first
    assert fine.warnings() == []
    fine.fill(given)
    assert fine.warnings() == []
    off = rule(contract, "unit: reflectance\noffset: 0.01", pair)
    off.fill(given)
    (warning,) = off.warnings()
    assert warning.startswith("channel B03: the inputs' mean, 2200, lies 2.0 standard deviations above")
    assert rule(scene_model().contract).warnings() == []  # nothing to compare with


def test_number_types_must_mean_the_same() -> None:
    trained = rule(scene_model(dtype="uint16").contract)
    assert trained.check_dtype("scene.tif", np.dtype(np.uint16)) == []
    (note,) = trained.check_dtype("scene.tif", np.dtype(np.float32))
    assert note == "pixels are float32 where the model was trained on uint16: values are taken as they are"
    with pytest.raises(ContractError, match=r"scene.tif: its pixels are uint8, but the model was trained on uint16"):
        trained.check_dtype("scene.tif", np.dtype(np.uint8))
    assert rule(scene_model().contract).check_dtype("scene.tif", np.dtype(np.uint8)) == []  # not trained on images yet
