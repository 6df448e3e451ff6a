"""The benchmark of speed: its sections on small inputs, and what it makes of their rows."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hardware
import numpy as np
import pytest
import speed
import speed_claims
import speed_conv
import speed_loop
import speed_memory
import speed_models
import speed_plots
import speed_predict
import speed_roofline
import speed_start
import speed_tables
from PIL import Image
from results_file import ResultFile
from torch.utils.flop_counter import FlopCounterMode

Rows = list[dict[str, Any]]
BENCHMARKS = Path(hardware.__file__).parent


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


def test_only_peers_that_may_be_the_fastest_are_timed_again() -> None:
    medians = {"static": (1, 2), "ours": (9, 4), "each": (30, 28), "condconv": (21, 20), "grouped": (26, 40)}
    formats = ("channels_first", "channels_last")
    trial = {
        (name, form): [0.0, float(value), 99.0]
        for name, values in medians.items()
        for form, value in zip(formats, values, strict=True)
    }
    first, last = formats
    assert speed_conv.finalists(trial) == [("static", first), ("ours", last), ("condconv", last), ("grouped", first)]


def test_a_peer_that_is_out_after_the_trial_is_compared_by_it() -> None:
    key = {"kind": "conv", **dict(zip(("in", "out", "side", "stride"), speed_conv.LAYERS[0], strict=True))}
    trials = {
        "static": [1.0, 1.0],
        "ours": [4.0, 6.0],
        "each": [8.0, 8.0],
        "condconv": [5.0, 5.0],
        "grouped": [9.0] * 2,
    }
    finals = {"static": [2.0] * 2, "ours": [5.0] * 2, "condconv": [4.0] * 2}
    rows = [
        {**key, "contender": name, "format": form, "trial_ms": [factor * time for time in times]}
        | ({"times_ms": finals[name]} if name in finals and form == "channels_last" else {})
        for name, times in trials.items()
        for form, factor in (("channels_first", 2), ("channels_last", 1))
    ]
    (shape,) = speed_conv.ratios([*rows, *rows])
    assert shape["over"] == {"static": 2.5, "each": 0.625, "condconv": 1.25, "grouped": pytest.approx(5 / 9)}
    assert shape["static_ms"] == 2


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
            pair("dynamic_resnet12", "bf16", [10], [15]),  # no promise
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


def test_limit_by_hand() -> None:
    shape = {"in": 2, "out": 3, "side": 5, "stride": 2}
    kernel, places, images, kernels = 2 * 3 * 9, 9, 7, 4
    macs = 3 * images * kernel * (places + kernels)
    moved = 4 * (2 * images * (2 * 25 + 3 * places) + 3 * kernels * kernel + 5 * images * kernel)
    for gmacs, gbytes, expected in ((1e-6, 1e9, macs), (1e9, 1e-6, moved)):
        machine = {"kind": "machine", "gmacs_per_s": gmacs, "gbytes_per_s": gbytes}
        assert speed_roofline.limit_ms(shape, [machine], images=7, kernels=4) == pytest.approx(expected)
    assert speed_roofline.limit_ms(shape, [], images=7, kernels=4) is None


def test_machine_is_measured(results: ResultFile) -> None:
    for _ in range(2):
        speed_roofline.measure(results, side=64, copied_bytes=2**16)
    (row,) = results.rows
    assert 0.01 < row["gmacs_per_s"] < 1e6
    assert 0.01 < row["gbytes_per_s"] < 1e6


def test_tables(results: ResultFile, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = {"kind": "loop", "model": "resnet34", "size": 64, "batch_size": 128, "steps": 10}
    predicted = {"kind": "predict", "files": 100, "decode_seconds": 1.0, "compute_seconds": 4.0, "predict_seconds": 5.0}
    milliseconds = {"static": 10.0, "ours": 20.0, "each": 40.0, "condconv": 30.0, "grouped": 25.0}
    results.add(
        *conv_rows(**{name: [[value] * 3] for name, value in milliseconds.items()}),
        {"kind": "machine", "gmacs_per_s": 100.0, "gbytes_per_s": 1e9},
        {"kind": "pair", "pair": "any_channel", "precision": "bf16", "ours_ms": [3.0, 3.0], "theirs_ms": [2.0, 2.0]},
        {
            **{"kind": "pair", "pair": "dynamic_resnet12", "precision": "bf16"},
            **{"ours_ms": [2.0, 2.0], "theirs_ms": [3.0, 3.0]},
        },
        {
            **{"kind": "memory", "network": "resnet8", "precision": "bf16", "images": 2, "side": 32},
            **{"kept_ms": 30.0, "returned_ms": 40.0, "kept_peak_mib": 600.4, "returned_peak_mib": 500.0},
        },
        {**loop, "loop_seconds": 2.0, "bare_seconds": 1.0, "plain_seconds": 4.0},
        *({"kind": "predict_memory", "files": count, "peak_mib": 500.0} for count in (10, 100)),
        predicted,
        {"kind": "start", "import_seconds": 2.0, "cold_seconds": 5.0, "warm_seconds": 1.0}
        | {"images": 400, "processes_images_per_s": 90.0},
    )
    growth = ResultFile("growth", "cpu", lambda rows: [], folder=results.path.parent)
    growth.add(
        *(
            {"axis": "size", "training": training, "point": point, "ms": float(point**2)}
            for training in (False, True)
            for point in (2, 4)
        )
    )
    backends = ResultFile("dynamic_conv", "cpu", lambda rows: [], folder=results.path.parent)
    for training, times in ((True, {"mix": 1.0, "each": 4.0}), (False, {"mix": 3.0, "each": 1.0})):
        backends.add({"dtype": "float32", "shape": {"training": training}, "milliseconds": times})
    monkeypatch.setattr(speed_tables, "RESULTS", results.path.parent)
    found = {name: table() for name, table in speed_tables.SPEED_TABLES.items()}
    assert "| `dynamic_conv_over_static` | ≤ 2 | 2.000 | yes |" in found["speed_claims"]
    assert "| `any_channel_over_plain` | ≤ 1.03 | 1.500 (1.500 to 1.500) | no |" in found["speed_claims"]
    # 32 images, 64 → 64 maps of 21×21 and 4 kernels: 3 · 32 · 36864 · 445 MACs at 100 GMAC/s are 15.7 of 20 ms
    assert "| 64 → 64, 21×21 | 10.0 | 2.00 (2.00 to 2.00) | 4.00 | 3.00 | 2.50 | 79 % |" in found["speed_conv"]
    assert "| bf16 | 3.0 | 2.0 | 1.500 (1.500 to 1.500) |" in found["speed_networks"]
    assert "| the same in bf16 |  | 1.500 (1.500 to 1.500) |" in found["speed_front"]
    assert "| `resnet8` | bf16 | 2 of 32×32 | 40 | 30 | 0.750 | 500 | 600 |" in found["speed_memory"]
    assert "| `resnet34` | 64×64 | 128 | 640 | 0.50 | 0.25 |" in found["speed_loops"]
    assert "alone 100, computing alone 25, `anychan predict` 20, which is 1.00 of" in found["speed_predict"]
    assert "1.00 s with a cache, 5.0 s without one, which is 100 images a second" in found["speed_start"]
    assert "| pixels a side | 2: 4.0, 4: 16.0 | 2.00 | 2.00 |" in found["speed_growth"]
    assert "| float32 | forward and backward | 1 | 1, 1.00× | 0, 4.00× |" in found["speed_backends"]


def test_tables_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_tables, "RESULTS", tmp_path)
    assert all("%" not in table() for table in speed_tables.SPEED_TABLES.values())


def test_picture(results: ResultFile, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {name: [[value] * 2] for name, value in (("static", 1.0), ("ours", 2.0), ("each", 4.0))}
    results.add(*conv_rows(**times, condconv=[[3.0, 3.0]], grouped=[[3.0, 3.0]]))
    monkeypatch.setattr(speed_plots, "RESULTS", results.path.parent)
    speed_plots.draw("speed-conv", results.path.parent)
    with Image.open(results.path.parent / "speed-conv.png") as picture:
        assert picture.info["Source"] == speed_plots.digest("speed-conv")
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for _, colour in speed_plots.SERIES.values():
        assert (colours == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(1).sum() > 500


@pytest.mark.torchvision
def test_convolutions_take_turns(results: ResultFile) -> None:
    for _ in range(2):  # a second call takes the first one's place
        speed_conv.measure(results, rounds=2, shapes=1)
    assert len(results.rows) == 5 * 2
    assert all(len(row["trial_ms"]) == 2 and min(row["trial_ms"]) > 0 for row in results.rows)
    last = [row["contender"] for row in results.rows if "times_ms" in row]
    assert len(last) == len(set(last)) > 2
    assert {"static", "ours"} < set(last)
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


def test_memory_is_measured_in_processes(results: ResultFile) -> None:
    speed_memory.measure(results, networks=(("resnet8", 32, 2, "float32"),), rounds=2, steps=2)
    assert [row["round"] for row in results.rows] == [0, 1]
    assert all(min(row["kept_ms"], row["returned_ms"]) > 0 for row in results.rows)
    assert all(min(row["kept_peak_mib"], row["returned_peak_mib"]) > 100 for row in results.rows)


def test_peak_is_the_process_own() -> None:
    held = np.ones(2**27)  # 1 GiB, which a process started here must not count
    assert hardware.peak_mib() > held.nbytes / 2**20
    code = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); from hardware import peak_mib; print(peak_mib())"
    small, large = (
        float(subprocess.run([sys.executable, "-c", each + code], capture_output=True, text=True, check=True).stdout)
        for each in ("", "import numpy; held = numpy.ones(2**25); ")
    )
    assert small < 900
    assert 240 < large - small < 280


def test_channel_vit_has_as_many_macs() -> None:
    macs = []
    for step in speed_models.channel_vit("float32", images=2).values():
        with FlopCounterMode(display=False) as counter:
            step()
        macs.append(counter.get_total_flops())
    assert macs[0] == pytest.approx(macs[1], rel=0.06)


def test_start_is_measured(results: ResultFile, real_data: Callable[[str], Path]) -> None:
    speed_start.measure(results, str(real_data("tiny-imagenet-50.zip")), classes=2)
    (row,) = results.rows
    assert row["images"] == 1100
    assert 0 < row["warm_seconds"] < row["cold_seconds"]
    assert min(row["import_seconds"], row["processes_images_per_s"]) > 0


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
