import dataclasses

import pytest

from anychan.channels import Channel
from anychan.models.catalog import create_model
from anychan.models.channel_status import channel_status
from anychan.models.extend import extend
from anychan.presets import RGB, SENTINEL2

NIR, DYE = Channel("nir", "drone", wavelength_nm=840.0), Channel("dye", "drone")


@pytest.mark.parametrize("stem", ["mean", "wavelength"])
def test_channels_of_the_contract_were_trained(stem: str) -> None:
    contract = create_model("resnet8", num_classes=3, stem=stem).contract
    assert [channel_status(contract, channel) for channel in RGB] == ["trained"] * 3


def test_only_wavelengths_make_kernels_for_others() -> None:
    wavelength = create_model("resnet8", num_classes=3, stem="wavelength").contract
    mean = create_model("resnet8", num_classes=3, stem="mean").contract
    assert [channel_status(wavelength, channel) for channel in (NIR, DYE)] == ["interpolated", "unknown"]
    assert [channel_status(mean, channel) for channel in (NIR, DYE)] == ["unknown", "unknown"]


def test_an_extended_model_says_which_it_never_saw() -> None:
    wider = extend(create_model("resnet8", num_classes=3, stem="wavelength"), [NIR], offset=[0], scale=[1])
    found = [channel_status(wider.contract, channel) for channel in wider.channels]
    assert found == ["trained"] * 3 + ["interpolated"]


def test_a_name_is_not_enough() -> None:
    """Sentinel-2's B02 is not another sensor's."""
    contract = create_model("resnet8", channels=SENTINEL2, num_classes=3, stem="mean").contract
    assert channel_status(contract, SENTINEL2[1]) == "trained"
    assert channel_status(contract, dataclasses.replace(SENTINEL2[1], sensor="other")) == "unknown"


@pytest.mark.parametrize(("stem", "expected"), [("mean", "unknown"), ("wavelength", "interpolated")])
def test_channels_that_no_step_saw_were_never_trained(stem: str, expected: str) -> None:
    """G has a wavelength, but only one stem makes a kernel of it."""
    contract = create_model("resnet8", num_classes=3, stem=stem).contract
    contract = dataclasses.replace(contract, untrained=("rgb:G",))
    assert [channel_status(contract, channel) for channel in RGB] == ["trained", expected, "trained"]
