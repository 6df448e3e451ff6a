import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from anychan.channels import Channel, ChannelSet
from anychan.errors import AnychanError, ChannelError, ConfigError
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model, with_changes
from anychan.models.extend import extend
from anychan.models.measure import measure_subsets
from anychan.models.pretrained import load, save
from anychan.presets import RGB, SENTINEL2
from tests.builders import build_model, mask, raw_images, subsets

NIR = SENTINEL2.select(["B08", "B11"])
GREEN_TWIN = Channel("green", "lab", wavelength_nm=549.1)  # R, G and B have no widths either


def build(name: str = "resnet8") -> AnyChannelModel:
    """As after some training: the name vectors are not 0."""
    model = build_model(name, "wavelength")
    names = model.stem.names
    assert isinstance(names, torch.nn.Parameter)
    names.data.normal_()
    return model


def more(images: torch.Tensor, extra: int) -> torch.Tensor:
    """The images with more channels that hold anything."""
    num_images, _, height, width = images.shape
    return torch.cat([images, images.new_full((num_images, extra, height, width), torch.nan)], 1)


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("name", ["resnet8", "wide_cnn4"])
def test_known_channels_give_the_answers_they_gave(name: str, measured: bool) -> None:
    model, x = build(name), raw_images(2, 9, 7)
    if measured:
        measure_subsets(model, [raw_images(6, 9, 7)])
    wider = extend(model, NIR, offset=(2, 3), scale=(4, 5))
    assert next(wider.parameters()).dtype == torch.float64
    for subset in subsets(3):
        given, queries = x[:, list(subset)], [RGB[channel] for channel in subset]
        expected = model.select(queries)(given)
        torch.testing.assert_close(wider.select(queries)(given), expected, rtol=1e-12, atol=1e-12)
        masked = wider(more(x, 2), present=mask(5, subset, subset))
        torch.testing.assert_close(masked, expected, rtol=1e-8, atol=1e-9)


def test_new_subsets_have_the_statistics_of_what_was_known() -> None:
    model = build()
    measure_subsets(model, [raw_images(6, 9, 7)])
    wider = extend(model, NIR, offset=(2, 3), scale=(4, 5))
    assert wider.contract.batch_norm == "subset"
    before, after = model.subset_statistics, wider.subset_statistics
    assert before is not None
    assert after is not None
    for index, known in (((1, 3), (1,)), ((0, 2, 3, 4), (0, 2)), ((3, 4), (0, 1, 2)), ((0, 1, 2, 3, 4), (0, 1, 2))):
        expected, found = before.read(before.row(known)), after.read(after.row(index))
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_sizes_keep_their_statistics() -> None:
    model = create_model("resnet8", channels=SENTINEL2.select(SENTINEL2.names[:5]), num_classes=2, stem="wavelength")
    measure_subsets(model.eval(), [torch.rand(8, 5, 6, 6) * 255])
    wider = extend(model, SENTINEL2.select(["B11", "B12"]), offset=(0, 0), scale=(1, 1))
    before, after = model.subset_statistics, wider.subset_statistics
    assert before is not None
    assert after is not None
    for row in range(7):
        expected, found = before.read(min(row, 4)), after.read(row)
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_many_channels_share_statistics() -> None:
    model = build()
    measure_subsets(model, [raw_images(6, 9, 7)])
    wider = extend(model, SENTINEL2.select(SENTINEL2.names[:6]), offset=[0] * 6, scale=[1] * 6)
    assert (wider.contract.batch_norm, wider.subset_statistics) == ("shared", None)


def test_never_trained_channels_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    extend(build(), NIR, offset=(2, 3), scale=(4, 5), verbose=False)
    assert capsys.readouterr().out == ""
    extend(build(), NIR, offset=(2, 3), scale=(4, 5))
    first, second = capsys.readouterr().out.splitlines()
    assert first == "sentinel2:B08 was never trained: its kernel comes from 832.8 nm alone"
    assert second.startswith("sentinel2:B11 was never trained")


def test_new_channel_is_read_by_its_wavelength_alone() -> None:
    """A channel at green's wavelength is read as green would be without what its name taught."""
    model, x = build(), raw_images(2, 9, 7)
    wider = extend(model, [GREEN_TWIN, NIR[0]], offset=[5, 2], scale=[4, 3])  # offset and scale as green's
    with torch.no_grad():
        assert isinstance(model.stem.names, torch.Tensor)
        model.stem.names[1] = 0
    expected = model.select("G")(x[:, [1]])
    torch.testing.assert_close(wider.select(["lab:green"])(x[:, [1]]), expected, rtol=1e-12, atol=1e-12)
    both = model.select("G,R")(x[:, [1, 0]])
    torch.testing.assert_close(wider.select("lab:green,R")(x[:, [1, 0]]), both, rtol=1e-12, atol=1e-12)
    infrared = wider.select(["B08"])(x[:, [1]] * 3 / 4)
    assert (infrared - expected).abs().max() > 1e-3


def test_mask_equals_selection_with_new_channels() -> None:
    wider, rows = extend(build(), NIR, offset=(2, 3), scale=(4, 5)), [(3,), (0, 4), (0, 1, 2, 3, 4), (2, 3, 4)]
    x = 5 + torch.randn(4, 5, 9, 7, dtype=torch.float64)
    together = wider(x, present=mask(5, *rows))
    for number, row in enumerate(rows):
        alone = wider.select([wider.channels[channel] for channel in row])(x[number : number + 1, list(row)])
        torch.testing.assert_close(together[number : number + 1], alone, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(wider(x)[2], together[2], rtol=1e-8, atol=1e-9)


def test_contract_says_what_was_never_trained(tmp_path: Path) -> None:
    model = build()
    before = model.contract.to_dict()
    wider = extend(model, NIR, offset=(2, 3), scale=(4, 5))
    contract = wider.contract
    assert contract.interpolated == ("sentinel2:B08", "sentinel2:B11")
    assert contract.channels.identities == ("rgb:R", "rgb:G", "rgb:B", "sentinel2:B08", "sentinel2:B11")
    assert (contract.offset, contract.scale) == ((3, 5, 7, 2, 3), (2, 4, 8, 4, 5))
    assert (contract.statistics, wider.training) == (None, False)
    assert model.contract.to_dict() == before
    save(wider, tmp_path)
    loaded, x = load(tmp_path), torch.rand(2, 2, 9, 7)
    assert loaded.contract.to_dict() == contract.to_dict()
    found, expected = (each.float().select("B11,R")(x) for each in (loaded, wider))
    torch.testing.assert_close(found, expected)  # one is channels last


def test_extending_twice_is_extending_once() -> None:
    model, x = build(), 5 + torch.randn(2, 5, 9, 7, dtype=torch.float64)
    once = extend(model, NIR, offset=(2, 3), scale=(4, 5))
    twice = extend(extend(model, NIR.select(["B08"]), offset=[2], scale=[4]), [NIR[1]], offset=[3], scale=[5])
    assert twice.contract.to_dict() == once.contract.to_dict()
    torch.testing.assert_close(twice(x), once(x), rtol=0, atol=0)


def test_channel_without_wavelength_is_fine_when_trained() -> None:
    stains = ChannelSet([Channel("DNA", "scope"), Channel("ER", "scope")])
    model = create_model("resnet8", channels=stains, num_classes=3, stem="wavelength").eval()
    wider = extend(model, [GREEN_TWIN], offset=[0], scale=[255])
    x = torch.rand(2, 2, 9, 7)
    torch.testing.assert_close(wider.select("ER,DNA")(x), model.select("ER,DNA")(x))


@pytest.mark.parametrize(
    ("channels", "offset", "error", "text"),
    [
        (
            [Channel("ER", "scope")],
            [1.0],
            ChannelError,
            "channel 'scope:ER' has no wavelength to make its kernel from; train the model with it",
        ),
        ([RGB[1]], [1.0], ChannelError, "channel 'rgb:G' is one of the model's own; give new channels only"),
        (
            [Channel("G", "rgb", wavelength_nm=540)],
            [1.0],
            ChannelError,
            "channel 'rgb:G' is centred at 549.1 nm (None nm wide) in one set and at 540 nm",
        ),
        ([], [], ChannelError, "a channel set needs at least one channel"),
        (NIR, [1.0], ConfigError, "one offset and one scale for each of 2 new channels, not 1 and 1"),
        ([NIR[0]], [1.0, 2.0], ConfigError, "one offset and one scale for each of 1 new channels, not 2 and 2"),
    ],
)
def test_mistakes_are_named(
    channels: Sequence[Channel], offset: list[float], error: type[AnychanError], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        extend(build(), channels, offset=offset, scale=offset)


def test_scale_must_be_above_0() -> None:
    with pytest.raises(ConfigError, match="one scale above 0 a channel"):
        extend(build(), NIR, offset=(1, 1), scale=(1, 0))


def test_other_stems_are_refused() -> None:
    text = "resnet8 with stem 'mean' cannot make kernels for new channels; train it with stem 'wavelength'"
    with pytest.raises(ConfigError, match=text):
        extend(build_model("resnet8", "mean"), NIR, offset=(1, 1), scale=(1, 1))
    with pytest.raises(ConfigError, match=r"resnet8 with stem 'mean' and the options \{\} has weights of other"):
        with_changes(extend(build(), NIR, offset=(1, 1), scale=(1, 1)), stem="mean")
