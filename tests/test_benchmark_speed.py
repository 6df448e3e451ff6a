"""The benchmark of speed: its sections on small inputs, and what it makes of their rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import speed
import speed_claims
import speed_conv
import speed_loop
import speed_models
import speed_predict
from results_file import ResultFile

Rows = list[dict[str, Any]]


@pytest.fixture
def results(tmp_path: Path) -> ResultFile:
    return ResultFile("speed", "cpu", speed_claims.claims, folder=tmp_path)


def conv_rows(**milliseconds: list[list[float]]) -> Rows:
    """Contender → times a shape; on channels-first images each takes ten times as long."""
    rows: Rows = []
    for number, (channels, maps, side, stride) in enumerate(speed_conv.LAYERS):
        key = {"kind": "conv", "in": channels, "out": maps, "side": side, "stride": stride}
        for name, found in milliseconds.items():
            times = found[number % len(found)]
            rows.append({**key, "contender": name, "format": "channels_last", "times_ms": times})
            rows.append({**key, "contender": name, "format": "channels_first", "times_ms": [10 * t for t in times]})
    return rows


def found_claims(rows: Rows) -> dict[str, dict[str, Any]]:
    return {claim["id"]: claim for claim in speed_claims.claims(rows)}


def test_claims_of_dynamic_convolution_by_hand() -> None:
    rows = conv_rows(
        static=[[10.0, 10, 20]],
        ours=[[20.0, 30, 20]],  # 2, 3 and 1 times static: the median is 2
        each=[[40.0, 60, 40]],
        condconv=[[20.0, 30, 20], [40.0, 60, 40]],  # on every second shape twice ours, else as ours
        grouped=[[30.0, 45, 30]],
    )
    found = found_claims(rows)
    assert found["dynamic_conv_over_static"]["value"] == pytest.approx(2)
    # four shapes at 1, three at 2/3, where the grouped one is the fastest peer
    assert found["dynamic_conv_over_best_peer"]["value"] == pytest.approx((2 / 3) ** (3 / 7))
    assert found["dynamic_conv_over_best_peer_worst_shape"]["value"] == pytest.approx(1)
    assert all(claim["holds"] for claim in found.values())
    assert speed_claims.claims(rows[:-10]) == []  # a shape is missing


def test_claims_of_pairs_by_hand() -> None:
    def pair(name: str, precision: str, ours: list[float], theirs: list[float]) -> dict[str, Any]:
        return {"kind": "pair", "pair": name, "precision": precision, "ours_ms": ours, "theirs_ms": theirs}

    found = found_claims(
        [
            pair("dynamic_resnet12", "float32", [10, 10, 10], [30, 21, 20]),
            pair("dynamic_resnet12", "bf16", [10], [25]),
            pair("any_channel", "float32", [10], [10]),
            pair("any_channel", "bf16", [11, 12, 11], [10, 10, 10]),  # the worse one counts
            pair("one_band_stem", "float32", [1], [5]),
        ]
    )
    assert {name: (claim["value"], claim["holds"]) for name, claim in found.items()} == {
        "dynamic_resnet12_speedup": (pytest.approx(2.1), True),
        "any_channel_over_plain": (pytest.approx(1.1), False),
        "one_band_stem_over_full": (pytest.approx(0.2), True),
    }


def test_claims_of_loops_and_prediction_by_hand() -> None:
    loop = {"kind": "loop", "model": "resnet34", "size": 64, "batch_size": 128}
    predicted = {"kind": "predict", "decode_seconds": 1.0, "compute_seconds": 3.0}
    rows: Rows = [
        *({**loop, "loop_seconds": 10, "bare_seconds": bare} for bare in (9, 9.6, 9.9)),
        {**loop, "batch_size": 10, "loop_seconds": 10, "bare_seconds": 1},
        *({**predicted, "predict_seconds": seconds} for seconds in (4, 5, 8)),
        {"kind": "predict_memory", "files": 10_000, "peak_mib": 660.0},
        {"kind": "predict_memory", "files": 1_000, "peak_mib": 600.0},
    ]
    assert {name: (claim["value"], claim["holds"]) for name, claim in found_claims(rows).items()} == {
        "loop_share_resnet34_64": (pytest.approx(0.96), True),
        "predict_share": (pytest.approx(0.8), False),
        "predict_memory_growth": (pytest.approx(1.1), False),
    }


@pytest.mark.torchvision
def test_convolutions_take_turns(results: ResultFile) -> None:
    for _ in range(2):  # a second call takes the first one's place
        speed_conv.measure(results, rounds=2, shapes=1)
    assert len(results.rows) == 5 * 2
    assert all(len(row["times_ms"]) == 2 and min(row["times_ms"]) > 0 for row in results.rows)
    (shape,) = speed_conv.ratios(results.rows)
    assert set(shape["over"]) == {"static", "each", "condconv", "grouped"}


@pytest.mark.torchvision
@pytest.mark.parametrize(("channels", "maps", "stride"), [(4, 6, 2), (8, 8, 1)])
def test_contenders_compute_alike(channels: int, maps: int, stride: int) -> None:
    import torch

    layers, x = speed_conv.layers(channels, maps, stride), torch.randn(3, channels, 7, 7)
    ours = layers["ours"]
    attention = {"squeeze": ours.squeeze, "excite": ours.excite}
    kernels = ours.kernels.detach()  # type: ignore[operator]
    layers["each"].load_state_dict(ours.state_dict())
    layers["grouped"].load_state_dict({**attention, "weight": kernels})
    layers["condconv"].load_state_dict({**attention, "conv.weight": kernels.flatten(1)})
    for name in ("each", "grouped", "condconv"):
        torch.testing.assert_close(layers[name](x), ours(x), rtol=1e-4, atol=1e-5)
    maps_of_static, its_attention = layers["static"](x)
    assert maps_of_static.shape == ours(x).shape
    assert its_attention.shape == (3, 4)


def test_networks_take_turns(results: ResultFile) -> None:
    speed_models.measure(results, rounds=2, images=3, side=32)
    assert {row["pair"] for row in results.rows} == set(speed_models.PAIRS)
    assert all(len(row[f"{who}_ms"]) == 2 for row in results.rows for who in ("ours", "theirs"))
    assert set(found_claims(results.rows)) == {
        "dynamic_resnet12_speedup",
        "any_channel_over_plain",
        "one_band_stem_over_full",
    }


def test_loops_take_turns(results: ResultFile, real_data: Callable[[str], Path]) -> None:
    loop = speed_loop.Loop("baseline_cnn", 32, 4, steps=3, pairs=2)
    speed_loop.measure(results, "cpu", str(real_data("tiny-imagenet-50.zip")), loops=(loop,))
    assert [row["pair"] for row in results.rows] == [0, 1]
    assert len(speed_claims.loop_shares(results.rows, "baseline_cnn", 32, 4)) == 2
    assert len(speed_claims.loop_shares(results.rows, "baseline_cnn", 32, 4, "plain")) == 1


def test_prediction_takes_turns(results: ResultFile, real_data: Callable[[str], Path]) -> None:
    speed_predict.measure(results, str(real_data("tiny-imagenet-50.zip")), files=40, few=20, rounds=1)
    (share,) = speed_claims.predict_shares(results.rows)
    assert 0 < share < 10
    assert 0.5 < speed_claims.memory_growth(results.rows) < 2


def test_what_falls_short_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(section: str, results: ResultFile, scale: str, data: str) -> None:
        results.add({"kind": "predict", "decode_seconds": 1.0, "compute_seconds": 1.0, "predict_seconds": 4.0})

    monkeypatch.setattr(speed, "run", run)
    monkeypatch.setattr(speed, "ResultFile", lambda *names: ResultFile(*names, folder=tmp_path))
    monkeypatch.setattr("sys.argv", ["speed.py", "--data", "some.zip", "--only", "predict"])
    with pytest.raises(SystemExit, match="falls short: predict_share"):
        speed.main()
    assert "predict_share = 0.500 (>= 0.85): holds False" in capsys.readouterr().out
