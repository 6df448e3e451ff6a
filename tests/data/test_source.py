import os
import re
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anychan.data.source import FolderSource, Source, ZipSource, open_source
from anychan.errors import DataError
from tests.runs import RGB_SPLIT, write_tree

FILES: dict[str, bytes | str] = {
    "a/x.png": b"one",
    "b/y z.png": b"two",
    "train.txt": "é\n",
    ".git/x.png": b"-",
    "a/.x.png": b"-",
}


def zipped(folder: Path, path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("empty")
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "data", FILES)


@pytest.fixture(params=["folder", "zip"])
def source(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Source:
    return open_source(folder if request.param == "folder" else zipped(folder, tmp_path / "data.zip"))


def test_names_are_sorted_and_leave_out_hidden_files(source: Source) -> None:
    assert source.names() == ["a/x.png", "b/y z.png", "train.txt"]


def test_files_are_read_whole(source: Source) -> None:
    assert [source.read(name) for name in source.names()] == [b"one", b"two", "é\n".encode()]
    assert source.read_text("train.txt") == "é\n"


def test_absent_file_is_named(source: Source) -> None:
    reason = "the file cannot be read (No such file or directory)"
    if isinstance(source, ZipSource):
        reason = "there is no such file in the zip"
    for use in (source.read, source.fingerprint, source.read_text):
        with pytest.raises(DataError, match=re.escape(f"{source.path}/c.png: {reason}")):
            use("c.png")


def test_text_must_be_utf8(tmp_path: Path) -> None:
    write_tree(tmp_path, {"train.txt": b"\xff\xfe"})
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/train.txt: the file is not UTF-8 text")):
        FolderSource(tmp_path).read_text("train.txt")


def test_folder_and_zip_hold_the_same(tmp_path: Path) -> None:
    a, b = open_source(RGB_SPLIT), open_source(str(zipped(RGB_SPLIT, tmp_path / "data.zip")))
    assert a.names() == b.names()
    assert len(a.names()) == 28
    assert [a.read(name) for name in a.names()] == [b.read(name) for name in b.names()]


@pytest.mark.parametrize("method", ["read", "fingerprint"])
@pytest.mark.parametrize("way", ["dots", "absolute", "link"])
def test_nothing_outside_the_folder_is_read(folder: Path, tmp_path: Path, way: str, method: str) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (folder / "link.png").symlink_to(secret)
    name = {"dots": "../secret.png", "absolute": str(secret), "link": "link.png"}[way]
    use: Callable[[str], object] = getattr(FolderSource(folder), method)
    message = f"{folder}: {name!r} lies outside the data's folder, so it is not read"
    with pytest.raises(DataError, match=re.escape(message)):
        use(name)


def test_fingerprint_of_a_file_follows_size_time_and_place(folder: Path, tmp_path: Path) -> None:
    source, file = FolderSource(folder), folder / "a" / "x.png"
    first = source.fingerprint("a/x.png")
    assert source.fingerprint("a/x.png") == first
    before = file.stat()
    file.write_bytes(b"other length")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    longer = source.fingerprint("a/x.png")
    write_tree(folder, {"a/x.png": b"one"})
    newer = source.fingerprint("a/x.png")
    moved = FolderSource(Path(shutil.copytree(folder, tmp_path / "copy"))).fingerprint("a/x.png")
    assert len({first, longer, newer, moved, source.fingerprint("train.txt")}) == 5


def test_fingerprint_in_a_zip_follows_content_alone(folder: Path, tmp_path: Path) -> None:
    first = ZipSource(zipped(folder, tmp_path / "1.zip"))
    moved = ZipSource(zipped(folder, tmp_path / "2.zip", zipfile.ZIP_STORED))
    write_tree(folder, {"a/x.png": b"uno"})
    changed = ZipSource(zipped(folder, tmp_path / "3.zip"))
    assert first.fingerprint("a/x.png") == moved.fingerprint("a/x.png")
    assert first.fingerprint("a/x.png") != changed.fingerprint("a/x.png")
    assert first.fingerprint("b/y z.png") == changed.fingerprint("b/y z.png")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_entry_is_named(tmp_path: Path, method: int) -> None:
    content = bytes(range(256)) * 8
    path = zipped(write_tree(tmp_path / "data", {"x.png": content}), tmp_path / "data.zip", method)
    whole = path.read_bytes()
    start = whole.index(b"x.png") + len(b"x.png")
    path.write_bytes(whole[:start] + bytes(byte ^ 255 for byte in whole[start : start + 40]) + whole[start + 40 :])
    with pytest.raises(DataError, match=re.escape(f"{path}/x.png: the zip's entry cannot be read (")):
        ZipSource(path).read("x.png")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a\\..\\x", "C:/x", "a/" * 64 + "x"])
def test_entries_that_lead_out_of_the_zip_are_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(DataError, match=r"a.zip: the zip's entry '.*' leads out of it, or too deep"):
        ZipSource(tmp_path / "a.zip")


def test_an_entry_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x", "2")
    with pytest.raises(DataError, match=r"a.zip: the zip's entry 'x' is there twice; zip the files anew"):
        ZipSource(tmp_path / "a.zip")


@pytest.mark.parametrize(("name", "size"), [("x.png", 130), ("train.txt", 17)])
def test_zip_bombs_are_not_unpacked(tmp_path: Path, name: str, size: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as file:
        for _ in range(size):
            file.write(bytes(2**20))
    source = ZipSource(tmp_path / "a.zip")
    with pytest.raises(DataError, match=rf"{name}: .* bytes say that they become {size * 2**20:,} in memory"):
        source.read_text(name)


def test_entries_are_unpacked_no_further_than_they_say(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.png", bytes(64 * 2**20))
    data = bytearray(path.read_bytes())
    for at in (22, data.index(b"PK\1\2") + 24):  # the two places of the size
        data[at : at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(DataError, match=re.escape(f"{path}/x.png: the zip's entry cannot be read (Bad CRC-32")):
        ZipSource(path).read("x.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_become_large_at_one_stroke_are_refused(tmp_path: Path, method: int) -> None:
    path = zipped(write_tree(tmp_path / "data", {"x.png": b"x"}), tmp_path / "a.zip", method)
    message = (
        f"{path}: the entry 'x.png' is packed by method {method} of zips, which is not read; zip it anew, by deflate"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        ZipSource(path)


@pytest.mark.parametrize(("change", "message"), [((6, 1), "is encrypted")])
def test_entries_that_cannot_be_unpacked_are_named(tmp_path: Path, change: tuple[int, int], message: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "1")
    data, (at, value) = bytearray((tmp_path / "a.zip").read_bytes()), change
    data[at] = data[data.index(b"PK\1\2") + at + 2] = value
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataError, match=rf"a.zip/x: the zip's entry cannot be read \(.*{message}"):
        ZipSource(tmp_path / "a.zip").read("x")


def test_what_is_no_plain_file_is_not_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")  # it would be waited for
    (folder / "loop.png").symlink_to("loop.png")
    for name, message in [
        ("pipe.png", "pipe.png: the file cannot be read (it is no plain file)"),
        ("loop.png", "cannot be"),
        ("a\0b.png", "'a\\x00b.png' cannot be the name of a file (embedded null byte)"),
    ]:
        for method in (FolderSource(folder).read, FolderSource(folder).fingerprint):
            with pytest.raises(DataError, match=re.escape(message)):
                method(name)


def test_folders_of_macos_are_hidden(tmp_path: Path) -> None:
    files = {"__MACOSX/a/x.png": b"-", "a/x.png": b"one"}
    assert ZipSource(zipped(write_tree(tmp_path / "data", files), tmp_path / "data.zip")).names() == ["a/x.png"]


def test_threads_may_read_one_zip(tmp_path: Path) -> None:
    files = {f"{number}.bin": bytes([number]) * 5000 for number in range(60)}
    source = ZipSource(zipped(write_tree(tmp_path / "data", dict(files)), tmp_path / "data.zip"))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.read, files)) == list(files.values())


def test_unusable_paths(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_text("hello")
    (tmp_path / "short.zip").write_bytes(zipped(RGB_SPLIT, tmp_path / "whole.zip").read_bytes()[:-100])
    cases = {
        "": "no data was named; give a folder or zip with --data.path",
        str(tmp_path / "absent"): f"{tmp_path}/absent: there is no such folder or zip; give --data.path",
        str(tmp_path / "no.zip"): f"{tmp_path}/no.zip: the zip cannot be read (File is not a zip file)",
        str(tmp_path / "short.zip"): f"{tmp_path}/short.zip: the zip cannot be read (File is not a zip file)",
    }
    for path, message in cases.items():
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            open_source(path)
