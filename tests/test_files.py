import errno
import json
import os
import re
from pathlib import Path

import pytest

from anychan.errors import StorageError
from anychan.files import check_plain, read_json, replacing, write_json


def test_json_comes_back_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, None]})
    assert read_json(path) == {"a": [1, None]}
    for text, message in (("{", "Expecting"), ("[" * 100_000, "nested too deeply"), ("9" * 5000, "Exceeds the limit")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_json(path)


def test_no_device_or_pipe_is_read(tmp_path: Path) -> None:
    link, pipe = tmp_path / "link.json", tmp_path / "pipe.json"
    link.symlink_to("/dev/zero")
    os.mkfifo(pipe)
    for path in (link, pipe, tmp_path):
        with pytest.raises(OSError, match=f"it is no plain file: '{path}'"):
            read_json(path)
    write_json(tmp_path / "a.json", 1)
    link.unlink()
    link.symlink_to(tmp_path / "a.json")  # as the Hub's cache of downloads has them
    check_plain(link)
    assert read_json(link) == 1


def test_target_is_absent_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "result.csv"
    with replacing(target) as partial:
        partial.write_text("half")
        assert not target.exists()
        partial.write_text("whole")
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_old_file_stays_after_any_error(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "result.csv"
    target.write_text("old")

    def write() -> None:
        with replacing(target) as partial:
            partial.write_text("new")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        write()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_left_over_partial_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt.partial").write_text("of a run that was killed")
    with replacing(tmp_path / "a.txt") as partial, partial.open("w") as file:
        file.write("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


def test_file_gets_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "a.txt") as partial:
        partial.unlink()
        os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_content_is_on_the_disk_before_the_name_and_then_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.txt"
    synced: list[tuple[int, int, bool]] = []
    sync = os.fsync

    def spy(descriptor: int) -> None:
        sync(descriptor)
        status = os.fstat(descriptor)
        synced.append((status.st_ino, status.st_size, target.exists()))

    monkeypatch.setattr(os, "fsync", spy)
    with replacing(target) as partial:
        partial.write_text("whole")
    (content, size, named), (folder, _, named_then) = synced
    assert (content, size, named) == (target.stat().st_ino, 5, False)
    assert (folder, named_then) == (tmp_path.stat().st_ino, True)


def test_a_refusal_of_the_system_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "absent" / "a.txt"
    told = f"{file}: the file cannot be written (No such file or directory)"
    with pytest.raises(StorageError, match=f"^{re.escape(told)}$"), replacing(file):
        pytest.fail("there is nowhere to write")


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), RuntimeError("I/O error: No space left on device (os error 28)")],
    ids=["Python's", "of a library in Rust"],
)
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, error: Exception) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(StorageError, match=r"cannot be written \(No space left"), replacing(target):
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_cannot_be_read_meanwhile_is_another_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"image\.png"), replacing(tmp_path / "a.txt"):
        (tmp_path / "image.png").read_bytes()


def test_json_is_indented_and_ends_a_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, None], "b": "é"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.startswith('{\n "a": [')
    assert text.endswith("}\n")
    assert json.loads(text) == {"a": [1, None], "b": "é"}


def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == "1\n"
    assert list(tmp_path.iterdir()) == [path]
