"""Disks that are full or read-only, and files that vanish: one sentence, nothing half-written, and the run goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anychan.models.pretrained import save
from anychan.training.checkpoint_io import newest_whole, read_checkpoint
from tests.command import Command
from tests.disks import Disk, small_disk
from tests.runs import RGB_SPLIT, copy_of, options_of, read_metrics, small_recipe, start_anychan
from tests.scenes import BANDS, noise, scene_model, write_scene

TIMES = ("seconds", "images_per_second")
FULL, READ_ONLY, GONE = "No space left on device", "Read-only file system", "No such file or directory"
LONG = small_recipe(epochs=400)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that never stopped, to read only."""
    from anychan.report.finish import finish_run
    from anychan.training.fit import fit

    folder = tmp_path_factory.mktemp("whole") / "run"
    fit(small_recipe(), folder, finish=finish_run)
    return folder


def train(command: Command, out: Path) -> tuple[int, str]:
    code, _, err = command("train", *options_of(small_recipe()), "--out", out)
    return code, err.splitlines()[-1]


def assert_same(run: Path, whole: Path) -> None:
    """The same bits, and nothing beside them."""
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    rows = [[{k: v for k, v in row.items() if k not in TIMES} for row in read_metrics(path)] for path in (run, whole)]
    assert rows[0] == rows[1]
    told = [json.loads((path / "run.json").read_text())["test"] for path in (run, whole)]
    assert told[0] == told[1]
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.parametrize(
    ("kib", "refused"),
    [
        (0, "run: the run folder cannot be made"),
        (4, "run/metrics.csv: the file cannot be written"),
        (40, "run/checkpoints/best.ckpt: the checkpoint cannot be written"),
        (240, "run/checkpoints/last.ckpt: the checkpoint cannot be written"),
        (400, "run/checkpoints/best.ckpt: the checkpoint cannot be written"),  # of the second epoch
    ],
)
def test_training_goes_on_when_the_full_disk_has_room_again(
    kib: int, refused: str, disk: Disk, whole: Path, command: Command
) -> None:
    if kib == 0:
        disk.path.joinpath("filler").write_bytes(bytes(4096))
        disk.leave(0)
    else:
        disk.leave(kib)
    assert train(command, disk.path / "run") == (2, f"anychan: {disk.path}/{refused} ({FULL})")
    assert not [name for name in disk.files() if "partial" in name]
    disk.leave(2000)
    assert train(command, disk.path / "run")[0] == 0
    assert_same(disk.path / "run", whole)


@pytest.mark.parametrize(("kib", "name"), [(20, "model.safetensors"), (100, "curves.png")])
def test_a_run_ends_when_there_is_room_for_its_end(
    kib: int, name: str, disk: Disk, whole: Path, command: Command
) -> None:
    run = Path(shutil.copytree(whole, disk.path / "run"))
    for last in ("model.safetensors", "contract.json", "curves.png", "run.json"):
        (run / last).unlink()  # as if it had been killed after its last epoch
    disk.leave(kib)
    assert train(command, run) == (2, f"anychan: {run}/{name}: the file cannot be written ({FULL})")
    assert not [name for name in disk.files() if "partial" in name]
    disk.make_read_only()
    refused = run / "model.safetensors"
    assert train(command, run) == (2, f"anychan: {refused}: the file cannot be written ({READ_ONLY})")
    disk.leave(2000)
    assert train(command, run)[0] == 0
    assert_same(run, whole)


def test_a_cache_that_the_disk_does_not_take_is_none(
    disk: Disk, whole: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYCHAN_CACHE", str(disk.path))
    refused, run = f"anychan: {disk.path}: the cache ", tmp_path / "run"
    disk.leave(8)
    assert train(command, run) == (2, f"{refused}needs 0 MiB, but 0 MiB are free")
    disk.leave(36)  # KiB: 12 images of 32x32 pixels and 3 bytes, to the byte, so that only the header finds no room
    code, _, err = command("train", *options_of(small_recipe()), "--data.size", 32, "--out", tmp_path / "other")
    told = f"{refused}cannot be written ({{}}); move it by ANYCHAN_CACHE"
    assert (code, err) == (2, f"{told.format(FULL)}\n")
    disk.make_read_only()
    assert train(command, run) == (2, told.format(READ_ONLY))
    assert {Path(name).suffix for name in disk.files()} == {".lock"}
    disk.leave(2000)
    assert train(command, run)[0] == 0
    assert_same(run, whole)


def outputs(whole: Path, inputs: Path, to: Path) -> dict[str, list[object]]:
    """Commands that write, and where; `whole` is copied there for those that write into a run."""
    scene = ["--window", 16, "--stride", 4]
    return {
        "evaluate": ["evaluate", to / "run"],
        "report": ["report", to / "run"],
        "compare": ["compare", whole, inputs / "other", "--out", to / "compared"],
        "export": ["export", whole, "--out", to / "model.onnx"],
        "share": ["share", whole, "--out", to / "shared"],
        "predict": ["predict", whole, RGB_SPLIT, "--out", to / "table.csv", "--probabilities"],
        "predict a scene": ["predict", inputs / "scenes", inputs / "scene.tif", "--out", to / "map.tif", *scene],
        "describe": [
            "data",
            "describe",
            RGB_SPLIT,
            "--out",
            to / "channels.yaml",
            "--picture",
            to / "picture.png",
            "--force",
        ],
        "shard": ["data", "shard", RGB_SPLIT, "--out", to / "shards"],
    }


@pytest.fixture(scope="module")
def inputs(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run, and a scene with its model."""
    folder = tmp_path_factory.mktemp("inputs")
    shutil.copytree(whole, folder / "other")
    write_scene(folder / "scene.tif", noise(256, 256), BANDS.names)
    save(scene_model(), folder / "scenes")
    return folder


@pytest.mark.parametrize("name", list(outputs(Path(), Path(), Path())))
def test_what_a_command_writes_is_whole_or_absent(
    name: str, disk: Disk, whole: Path, inputs: Path, command: Command
) -> None:
    arguments = outputs(whole, inputs, disk.path)[name]
    if arguments[1] == disk.path / "run":
        shutil.copytree(whole, disk.path / "run")
    before = disk.files()
    for free in (0, 8, 24):
        (disk.path / "filler").touch()
        disk.leave(free)
        code, out, err = command(*arguments)
        if code == 0:
            break
        assert (code, out) == (2, "")
        *notes, told = err.splitlines()
        assert all("evaluated before; going on" in note for note in notes), notes
        assert told.startswith(f"anychan: {disk.path}/")
        assert FULL in told or "the disk did not take all of it" in told
        left = set(disk.files()) - set(before)
        assert not [file for file in left if ".partial" in file and not file.endswith(".partial.npz")]
    else:
        disk.make_read_only()
        code, out, err = command(*arguments)
        assert (code, out) == (2, "")
        assert READ_ONLY in err.splitlines()[-1]
        disk.leave(4000)
        assert command(*arguments)[0] == 0
    assert not [file for file in disk.files() if ".partial" in file]
    assert set(disk.files()) > set(before)


def start(out: Path, *options: object, cache: Path) -> subprocess.Popen[str]:
    """Start a run that would take long, and wait for its third epoch."""
    environment = {"ANYCHAN_CACHE": str(cache)}
    process = start_anychan("train", *options_of(LONG), *options, "--out", out, environment=environment)
    deadline = time.monotonic() + 120
    while not (out / "metrics.csv").exists() or len(read_metrics(out)) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no third epoch after two minutes"
        time.sleep(0.005)
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and the last line of standard error."""
    try:
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "Traceback" not in err
    return process.returncode, err.splitlines()[-1]


def test_an_image_that_vanishes_is_named_and_the_run_folder_stays_whole(tmp_path: Path) -> None:
    data, run = copy_of(RGB_SPLIT, tmp_path), tmp_path / "run"
    image = data / "images/square/square_0.jpg"
    process = start(run, "--data.path", data, "--data.cache", "false", cache=tmp_path / "cache")
    image.unlink()
    assert end(process) == (2, f"anychan: {image}: the file cannot be read ({GONE})")
    assert not list(run.rglob("*.partial"))
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["epoch"] >= 1  # from where the same command goes on


def test_a_run_folder_that_is_moved_away_ends_the_run(tmp_path: Path) -> None:
    process = start(tmp_path / "run", cache=tmp_path / "cache")
    (tmp_path / "run").rename(tmp_path / "moved")
    code, told = end(process)
    assert code == 2
    assert told.startswith(f"anychan: {tmp_path}/run")  # or a file in it, which was being written
    kept = tmp_path / "moved" / "checkpoints"
    whole, _ = newest_whole(
        [kept / "last.ckpt", kept / "previous.ckpt"]
    )  # moved between two renames, it has the latter
    assert read_checkpoint(whole)["epoch"] < 50
    assert len(read_metrics(tmp_path / "moved")) < 50  # of 400


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the signal SIGBUS is POSIX's")
def test_a_cache_cut_short_in_use_kills_the_process_and_not_the_run(tmp_path: Path) -> None:
    """The system sends a signal when memory has no file behind it any more; only another program cuts our caches."""
    cache, recipe = tmp_path / "cache", small_recipe(epochs=60)
    runs = tmp_path / "whole", tmp_path / "cut"
    environment = {"ANYCHAN_CACHE": str(cache)}

    def go(out: Path) -> subprocess.Popen[str]:
        return start_anychan("train", *options_of(recipe), "--out", out, environment=environment)

    assert end(go(runs[0]))[0] == 0
    process = go(runs[1])
    while not (runs[1] / "metrics.csv").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    for file in cache.glob("*.npy"):
        os.truncate(file, 200)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGBUS
    assert end(go(runs[1]))[0] == 0
    assert_same(*runs)


def test_printing_to_a_full_disk_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "anychan", "models"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"anychan: standard output: {FULL}\n")
