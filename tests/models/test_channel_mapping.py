import re

import pytest
import torch

from anychan.channels import Channel, ChannelSet
from anychan.errors import ChannelError, ConfigError
from anychan.models.channel_mapping import NEW_CHANNELS, MappedChannel, map_channels, mapped_kernel, mapping_table
from anychan.presets import LANDSAT8, RGB, SENTINEL2


def between(share: float) -> Channel:
    """So far from blue to green."""
    return Channel("X", "own", wavelength_nm=464.2 + share * (549.1 - 464.2))


def test_identity_then_common_name() -> None:
    found = map_channels(ChannelSet([RGB[2], *SENTINEL2.select(["B04", "B03"])]), RGB)
    assert found == (
        MappedChannel("rgb:B", (("rgb:B", 1.0),), "identity"),
        MappedChannel("sentinel2:B04", (("rgb:R", 1.0),), "common name"),
        MappedChannel("sentinel2:B03", (("rgb:G", 1.0),), "common name"),
    )


def test_common_name_of_several_sources_says_nothing() -> None:
    twins = ChannelSet([Channel("a", "x", common_name="nir"), Channel("b", "x", common_name="nir")])
    with pytest.raises(ChannelError, match="no weights for B08: they are none of a, b"):
        map_channels(SENTINEL2.select(["B08"]), twins)


def test_wavelength_by_hand() -> None:
    (quarter,) = map_channels(ChannelSet([between(0.25)]), RGB)
    assert quarter.how == "wavelength"
    assert dict(quarter.sources) == pytest.approx({"rgb:B": 0.75, "rgb:G": 0.25})
    (exact,) = map_channels(ChannelSet([Channel("X", "own", wavelength_nm=549.1)]), RGB)
    assert exact.sources == (("rgb:G", 1.0),)
    (shortest,) = map_channels(ChannelSet([between(0)]), RGB)
    assert shortest.sources == (("rgb:B", 1.0),)


def test_nothing_is_made_up_unasked() -> None:
    channels = LANDSAT8.select(["B2", "B1", "B5", "B8"])  # pan lies between G and R
    text = "no weights for B1, B5: they are none of R, G, B and not between two of them by wavelength; choose "
    with pytest.raises(ChannelError, match=re.escape(text + "new_channels: 'nearest' (by wavelength), 'zero', or")):
        map_channels(channels, RGB)
    ways = {how: map_channels(channels, RGB, new_channels=how) for how in NEW_CHANNELS[1:]}
    for how, found in ways.items():
        assert [row.how for row in found] == ["common name", how, how, "wavelength"]
    assert [row.sources for row in ways["nearest"][1:3]] == [(("rgb:B", 1.0),), (("rgb:R", 1.0),)]
    assert ways["zero"][1].sources == ways["random"][1].sources == ()


def test_nearest_needs_a_wavelength() -> None:
    dna = ChannelSet([Channel("DNA", "own")])
    with pytest.raises(ChannelError, match="no wavelength is known of own:DNA; choose new_channels: 'zero' or"):
        map_channels(dna, RGB, new_channels="nearest")
    with pytest.raises(ChannelError, match="no wavelength is known of any of DNA; choose"):
        map_channels(RGB, dna, new_channels="nearest")
    assert map_channels(dna, RGB, new_channels="zero")[0].how == "zero"


def test_other_mistakes() -> None:
    with pytest.raises(ConfigError, match="new_channels is 'mean', but it must be one of error, nearest, zero, random"):
        map_channels(RGB, RGB, new_channels="mean")
    with pytest.raises(ChannelError, match="channel 'rgb:R' is centred at 700"):
        map_channels(ChannelSet([Channel("R", "rgb", wavelength_nm=700)]), RGB)


def test_kernel_by_hand() -> None:
    kernel = torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1) * torch.tensor([1.0, -2.0]).view(2, 1, 1, 1)
    fresh = torch.full((2, 4, 1, 1), 7.0)
    channels = ChannelSet([Channel("far", "own", wavelength_nm=5000), RGB[2], RGB[0], between(0.25)])
    expected = {"nearest": 1, "zero": 0, "random": 7}
    for how, first in expected.items():
        found = mapped_kernel(map_channels(channels, RGB, new_channels=how), RGB.identities, kernel, fresh)
        rows = torch.tensor([[first, 100, 1, 77.5], [7 if how == "random" else -2 * first, -200, -2, -155]])
        torch.testing.assert_close(found.squeeze(), rows)
        assert torch.equal(found[:, 1], kernel[:, 2])
        first_axis = [part.transpose(0, 1) for part in (kernel, fresh)]
        turned = mapped_kernel(map_channels(channels, RGB, new_channels=how), RGB.identities, *first_axis, axis=0)
        assert torch.equal(turned, found.transpose(0, 1))


def test_table() -> None:
    channels = ChannelSet([Channel("far", "own"), SENTINEL2[3], between(0.25)])
    assert mapping_table(map_channels(channels, RGB, new_channels="zero")).splitlines() == [
        "  own:far       ← nothing                  (zero)",
        "  sentinel2:B04 ← rgb:R                    (common name)",
        "  own:X         ← 0.75 rgb:B + 0.25 rgb:G  (wavelength)",
    ]
