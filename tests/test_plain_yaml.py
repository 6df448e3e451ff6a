import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from anychan.plain_yaml import MOST_CHARACTERS, parse_plain, read_plain


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", None),
        ("a: {b: [1, -2.5, x, null, true]}\n1: 0x1f", {"a": {"b": [1, -2.5, "x", None, True]}, 1: 31}),
        ("[" * 32 + "]" * 32, None),
        ("{a: 1, b: {a: 1}, 'c': {a: 2}}", {"a": 1, "b": {"a": 1}, "c": {"a": 2}}),
        ("99999999999999999999", 10**20 - 1),
    ],
)
def test_plain_values(text: str, values: Any) -> None:
    assert parse_plain(text) == (yaml.safe_load(text) if values is None else values)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: &a [1]\nb: *a", 2, "aliases are not read; write the values out"),
        ("a:\n  <<: {b: 1}\n  c: !!python/name:os.system x", 3, "could not determine a constructor for the tag"),
        ("\n" + "[" * 33 + "]" * 33, 2, "values are nested more than 32 deep"),
        ("{" * 99_999, 1, "values are nested more than 32 deep"),
        ("{a: 1, a: 2}", 1, "the key 'a' is there twice"),
        ("a: 100000000000000000000", 1, "a number is too long"),
        ("a: 2020-99-99", None, "month must be in 1..12"),
        ("a: \x01", None, "special characters are not allowed"),
        ("#" * (MOST_CHARACTERS + 1), None, "it has more than 262,144 characters"),
    ],
)
def test_all_else_is_refused(text: str, line: int | None, problem: str) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        parse_plain(text)
    assert str(caught.value.problem).startswith(problem)
    assert (caught.value.problem_mark and caught.value.problem_mark.line + 1) == line


def test_many_keys_take_no_longer_than_as_many_values() -> None:
    assert len(parse_plain("\n".join(f"{number}: 1" for number in range(20_000)))) == 20_000


def test_no_more_is_read_than_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("é" * (MOST_CHARACTERS + 9), encoding="utf-8")
    assert read_plain(path) == "é" * (MOST_CHARACTERS + 1)
    path.write_bytes(b"\x80")
    with pytest.raises(UnicodeDecodeError, match=re.escape("0x80")):
        read_plain(path)
