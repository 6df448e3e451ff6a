import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anychan.channels import Channel, ChannelSet
from anychan.contract import ChannelStatistics, Contract, ResizeRule
from anychan.errors import ContractError
from anychan.presets import LANDSAT5, LANDSAT8

CHANNELS = ChannelSet(
    [LANDSAT8[1], LANDSAT5[1], Channel("DNA", "scope", ("dapi", "hoechst"), None, 460, 50)], source="by hand"
)


def statistics() -> ChannelStatistics:
    covariance = np.array([[4.0, -1.5, np.nan], [-1.5, 9.0, 0.1], [np.nan, 0.1, 16.0]])
    pixels = np.array([[70, 60, 0], [60, 80, 50], [0, 50, 90]])
    return ChannelStatistics(np.array([100.0, 0.1, 1 / 3]), covariance, pixels)


def contract() -> Contract:
    return Contract(
        model="resnet18",
        options={"entry": "3x3"},
        stem="completion",
        channels=CHANNELS,
        offset=(1.5, 0.1, -2.0),
        scale=(2.0, 1 / 3, 255.0),
        classes=("Wasser", "forêt", "0"),
        resize=ResizeRule(97, "crop", "lanczos"),
        statistics=statistics(),
        grey="repeat",
        dtype="uint16",
        stem_options={"ridge": 0.25},
        num_outputs=7,
        batch_norm="subset",
        interpolated=("landsat5:B2",),
    )


def assert_same_statistics(found: ChannelStatistics | None, expected: ChannelStatistics) -> None:
    assert found is not None
    for key in ("mean", "covariance", "pixels"):
        np.testing.assert_array_equal(getattr(found, key), getattr(expected, key), strict=True)


def test_contract_survives_a_file(tmp_path: Path) -> None:
    contract().save(tmp_path / "contract.json")
    found = Contract.load(tmp_path / "contract.json")
    assert [path.name for path in tmp_path.iterdir()] == ["contract.json"]
    for key in (
        "model",
        "options",
        "stem",
        "channels",
        "offset",
        "scale",
        "classes",
        "resize",
        "grey",
        "dtype",
        "stem_options",
        "num_outputs",
        "batch_norm",
        "interpolated",
    ):
        assert getattr(found, key) == getattr(contract(), key), key
    assert found.channels.source == "by hand"
    assert_same_statistics(found.statistics, statistics())


def test_untrained_contract_survives_too() -> None:
    plain = Contract("resnet8", {}, "mean", CHANNELS, (0.0,) * 3, (1.0,) * 3, ("a", "b"))
    found = Contract.from_dict(json.loads(json.dumps(plain.to_dict())))
    assert (found.resize, found.statistics, found.grey, found.stem_options) == (None, None, "refuse", {})
    assert (found.num_outputs, found.interpolated) == (None, ())


def test_outputs_are_the_classes_unless_there_are_more() -> None:
    assert contract().outputs == 7
    assert dataclasses.replace(contract(), num_outputs=None).outputs == 3


def test_replaced_options_join_the_others() -> None:
    before = contract()
    after = before.replace_options(top_k=2)
    assert (after.options, before.options) == ({"entry": "3x3", "top_k": 2}, {"entry": "3x3"})
    assert before.replace_options(entry="7x7").options == {"entry": "7x7"}
    assert {**after.to_dict(), "options": before.options} == before.to_dict()
    assert before.replace_options().options is not before.options


def test_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    contract().save(path)
    before = path.read_bytes()
    broken = Contract("resnet8", {"width": float("nan")}, "mean", CHANNELS, (0.0,) * 3, (1.0,) * 3, ("a", "b"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.save(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["contract.json"]


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    contract().save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ContractError, match=re.escape(f"{path}: the contract is not JSON (")):
        Contract.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "the contract is not JSON (it is nested too deeply)"),
        ("9" * 5000, "the contract is not JSON (Exceeds the limit"),
        (" " * (32 * 2**20 + 1), "the contract has 33,554,433 bytes, but 33,554,432 are the most"),
    ],
    ids=["deep", "long number", "large"],
)
def test_hostile_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "contract.json").write_text(text)
    with pytest.raises(ContractError, match=re.escape(message)):
        Contract.load(tmp_path / "contract.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_outputs", float("inf")),
        ("offset", [10**400] * 3),
        ("resize", {"size": 10**9}),
        ("resize", {"size": "x"}),
        ("encodings", [{"no_data": 10**400}] * 3),
    ],
)
def test_numbers_that_cannot_be_are_refused(key: str, value: object) -> None:
    with pytest.raises(ContractError, match=r"^contract: the contract is malformed \("):
        Contract.from_dict({**contract().to_dict(), key: value})


def test_contracts_from_before_more_outputs_are_read() -> None:
    values = contract().to_dict()
    del values["num_outputs"], values["batch_norm"]
    found = Contract.from_dict(values)
    assert (found.outputs, found.batch_norm) == (3, "shared")


def test_contracts_from_before_interpolated_channels_are_read() -> None:
    values = contract().to_dict()
    del values["interpolated"]
    assert Contract.from_dict(values).interpolated == ()


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ContractError, match="the contract is not JSON \\('utf-8' codec can't decode"):
        Contract.load(path)


def test_absent_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.png").touch()
    for path in (tmp_path / "contract.json", tmp_path / "image.png" / "contract.json"):
        text = f"{path}: there is no contract here; name the folder of a saved model"
        with pytest.raises(ContractError, match=re.escape(text)):
            Contract.load(path)
    with pytest.raises(
        ContractError, match=re.escape(f"{tmp_path}: the contract cannot be read (it is no plain file)")
    ):
        Contract.load(tmp_path)


@pytest.mark.parametrize(
    "key",
    sorted({*contract().to_dict()} - {"format", "num_outputs", "batch_norm", "interpolated", "untrained", "encodings"}),
)
def test_each_missing_key_is_named(key: str) -> None:
    values = contract().to_dict()
    del values[key]
    with pytest.raises(ContractError, match=f"c.json: the contract lacks '{key}'"):
        Contract.from_dict(values, where="c.json")


@pytest.mark.parametrize("values", [{}, {"format": 2}, [], None, "contract"])
def test_other_formats_are_refused(values: Any) -> None:
    with pytest.raises(ContractError, match=r"contract format (None|2) is not the known format 1"):
        Contract.from_dict(values)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("offset", [1, 2], "offset and scale must have one value for each of 3 channels"),
        ("scale", [1, 2, 3, 4], "offset and scale must have one value for each of 3 channels"),
        ("scale", ["x", 1, 2], "the contract is malformed (could not convert string to float"),
        ("channels", [], "the contract is malformed (a channel set needs at least one channel)"),
        ("channels", [{"name": 2}], "the contract is malformed (channel name 2 of sensor 'custom'"),
        ("channels", None, "the contract is malformed ("),
        ("classes", None, "the contract is malformed ("),
        ("batch_norm", "own", "batch_norm is 'own', but it is one of shared, subset, size"),
        ("interpolated", ["rgb:G"], "c.json: interpolated channel 'rgb:G' is not one of the channels"),
        ("interpolated", None, "the contract is malformed ("),
        ("num_outputs", "many", "the contract is malformed (invalid literal for int()"),
        ("resize", {"size": 32, "colour": 1}, "the contract is malformed ("),
        ("statistics", {"mean": [1.0]}, "the contract lacks 'covariance'"),
        (
            "statistics",
            {"mean": [1.0], "covariance": [[1.0, 0.0], [0.0, 1.0]], "pixels": [[3]]},
            "statistics of 1 channels need a 1x1 covariance and pixel count, not (2, 2) and (1, 1)",
        ),
    ],
)
def test_malformed_fields_are_refused(key: str, value: Any, text: str) -> None:
    with pytest.raises(ContractError, match=re.escape(text)):
        Contract.from_dict({**contract().to_dict(), key: value}, where="c.json")


def test_std_by_hand() -> None:
    np.testing.assert_array_equal(statistics().std, [2.0, 3.0, 4.0])


def test_statistics_of_other_shapes_are_refused() -> None:
    with pytest.raises(ContractError, match=re.escape("need a 2x2 covariance and pixel count, not (2, 2) and (2,)")):
        ChannelStatistics(np.zeros(2), np.eye(2), np.ones(2, np.int64))


@given(st.integers(1, 4), st.data())
def test_statistics_round_trip(channels: int, data: st.DataObject) -> None:
    values = st.floats(-1e300, 1e300)
    square = (channels, channels)
    given_statistics = ChannelStatistics(
        data.draw(arrays.arrays(np.float64, channels, elements=values)),
        data.draw(arrays.arrays(np.float64, square, elements=values | st.just(np.nan))),
        data.draw(arrays.arrays(np.int64, square, elements=st.integers(0, 2**63 - 1))),
    )
    text = json.dumps(given_statistics.to_dict(), allow_nan=False)
    assert_same_statistics(ChannelStatistics.from_dict(json.loads(text)), given_statistics)
