import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from anychan.errors import RunError
from anychan.training.checkpoint_io import (
    SafeCheckpointIO,
    checksum,
    newest_whole,
    read_checkpoint,
    write_checkpoint,
)

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text())
KEYS = st.one_of(st.text(), st.integers(), st.tuples(st.integers(), st.text()))
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(KEYS, inner), st.dictionaries(st.text(), inner)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Equal in value and type, all the way down: 1, 1.0 and True are three things here."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def round_trip(value: dict[Any, Any], path: Path) -> dict[str, Any]:
    write_checkpoint(value, path)
    return read_checkpoint(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6).view(2, 3),
        torch.tensor(3.5),
        torch.empty(0, 4),
        torch.tensor([True, False]),
        torch.tensor([1.5, float("inf")], dtype=torch.bfloat16),
        torch.tensor([7, 65535], dtype=torch.uint16),
        torch.arange(6.0).view(2, 3).T,
        torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.arange(10)[2:5],
        torch.nn.Parameter(torch.ones(2)).data,
    ],
    ids=lambda tensor: f"{tensor.dtype}-{tuple(tensor.shape)}-{tuple(tensor.stride())}",
)
def test_tensors_come_back(tensor: torch.Tensor, tmp_path: Path) -> None:
    assert same(round_trip({"x": tensor}, tmp_path / "a.ckpt")["x"], tensor)


def test_what_lightning_saves_comes_back(tmp_path: Path) -> None:
    weight = torch.arange(6.0)
    value: dict[Any, Any] = {
        "epoch": 3,
        "state_dict": {"a": weight, "view": weight[2:], "again": weight, "grad": torch.nn.Parameter(weight)},
        "optimizer_states": [
            {"state": {0: {"step": torch.tensor(4.0)}, 1: {}}, "param_groups": [{"betas": (0.9, 0.9)}]}
        ],
        "loops": {"fit_loop": {"state_dict": {}, "progress": {"current": {"ready": 4}}, "flag": True, "none": None}},
        "folder": tmp_path,
        "best": -math.inf,
        (1, "b"): [[], (), {}],
    }
    found = round_trip(value, tmp_path / "a.ckpt")
    parameter = found["state_dict"].pop("grad")
    assert not parameter.requires_grad
    assert torch.equal(parameter, value["state_dict"].pop("grad").data)
    assert same(found["folder"], tmp_path)
    assert same(found, value)


@settings(max_examples=40)
@given(st.dictionaries(KEYS, NESTED))
def test_any_nesting_of_plain_values_comes_back(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "nested.ckpt"
    assert same(round_trip(value, path), value)


def test_nan_comes_back(tmp_path: Path) -> None:
    assert math.isnan(round_trip({"loss": math.nan}, tmp_path / "a.ckpt")["loss"])


def test_user_values_that_look_like_our_marks(tmp_path: Path) -> None:
    value = {"__tensor__": "0", "__tuple__": [1], "__dict__": {"__path__": "x"}}
    assert same(round_trip(value, tmp_path / "a.ckpt"), value)


def test_saved_tensors_are_copies(tmp_path: Path) -> None:
    weight = torch.ones(3)
    write_checkpoint({"x": weight}, tmp_path / "a.ckpt")
    weight.zero_()
    assert read_checkpoint(tmp_path / "a.ckpt")["x"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("value", [{1, 2}, 1j, object(), len])
def test_other_values_are_refused_and_nothing_is_written(value: object, tmp_path: Path) -> None:
    write_checkpoint({"epoch": 1}, tmp_path / "a.ckpt")
    with pytest.raises(RunError, match=rf"a checkpoint cannot hold a {type(value).__name__}; keep tensors and plain"):
        write_checkpoint({"x": [value]}, tmp_path / "a.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    assert read_checkpoint(tmp_path / "a.ckpt") == {"epoch": 1}


def test_every_bit_that_is_flipped_is_noticed(tmp_path: Path) -> None:
    """Or changes nothing: in a name that nobody reads."""
    path = tmp_path / "a.ckpt"
    saved = {"x": torch.arange(5.0), "y": torch.tensor([True, False]), "epoch": 3}
    write_checkpoint(saved, path)
    whole, noticed = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            assert same(read_checkpoint(path), saved)
        except RunError:
            noticed += 1
    assert noticed > 0.9 * len(whole)


def test_newest_whole_checkpoint_is_chosen(tmp_path: Path) -> None:
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for step in range(3):
        write_checkpoint({"step": step}, last, previous=previous)
    assert [read_checkpoint(path)["step"] for path in (last, previous)] == [2, 1]
    assert newest_whole([last, previous]) == (last, [])
    last.write_bytes(last.read_bytes()[:-1])
    path, (warning,) = newest_whole([last, previous])
    assert path == previous
    assert warning.startswith(f"warning: {last}: the checkpoint is damaged or not ours (")
    assert warning.endswith("previous.ckpt, the one before, is whole")
    last.unlink()  # as a process leaves it that is killed between two renames
    assert newest_whole([last, previous]) == (previous, [])
    previous.write_bytes(b"")
    with pytest.raises(RunError, match=r"previous.ckpt: the checkpoint is damaged or not ours"):
        newest_whole([last, previous])
    with pytest.raises(RunError, match=r"last.ckpt: there is no checkpoint here"):
        newest_whole([last])


def test_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}/file/a.ckpt: the checkpoint cannot be written (")):
        write_checkpoint({"epoch": 1}, tmp_path / "file" / "a.ckpt")


def test_absent_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}/a.ckpt: there is no checkpoint here")):
        read_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("keep", [0, 5, 40, 150, -1])
def test_cut_checkpoint_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.ckpt"
    write_checkpoint({"x": torch.arange(40.0), "epoch": 3}, path)
    path.write_bytes(path.read_bytes()[:keep])
    message = f"{path}: the checkpoint is damaged or not ours ("
    with pytest.raises(RunError, match=re.escape(message)) as caught:
        read_checkpoint(path)
    assert str(caught.value).endswith("; delete it to start anew")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "{",
        "[1]",
        "3",
        '{"__dict__": [1]}',
        '{"__tensor__": "7"}',
        '{"__set__": []}',
        '{"a": 1, "b": 2}',
        '{"__dict__": [[["x"], 1]]}',
        '{"__tensor__": "0"}',
        "[" * 100_000,
        "9" * 5000,
    ],
    ids=lambda header: str(header)[:20],
)
def test_other_safetensors_files_are_refused(tmp_path: Path, header: str | None) -> None:
    path = tmp_path / "a.ckpt"
    tensors = {"0": torch.zeros(2)}
    ours = {"anychan_checkpoint": str(header), "crc32": checksum(str(header), tensors)}
    save_file(tensors, path, metadata={"format": "pt"} if header is None else ours)
    with pytest.raises(RunError, match=re.escape(f"{path}: the checkpoint is damaged or not ours")):
        read_checkpoint(path)


def test_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "a.ckpt")
    with pytest.raises(RunError, match="the checkpoint is damaged or not ours"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_file_is_json_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write_checkpoint({"x": torch.zeros(2), "epoch": 3}, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert header["0"]["dtype"] == "F32"
    assert json.loads(header["__metadata__"]["anychan_checkpoint"])["__dict__"][1] == ["epoch", 3]
    assert len(content) == 8 + length + 8


def test_plugin_saves_loads_and_removes(tmp_path: Path) -> None:
    plugin, path = SafeCheckpointIO(), tmp_path / "new" / "a.ckpt"
    plugin.save_checkpoint({"epoch": 2}, str(path))
    assert plugin.load_checkpoint(str(path), weights_only=True) == {"epoch": 2}
    plugin.remove_checkpoint(str(path))
    plugin.remove_checkpoint(str(path))
    assert list(path.parent.iterdir()) == []
