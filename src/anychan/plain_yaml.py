"""YAML from strangers: plain values and nothing that grows, repeats or runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["MOST_CHARACTERS", "parse_plain", "read_plain"]

MOST_CHARACTERS = 2**18  # YAML is read slowly
_DEEPEST = 32
_MOST_DIGITS = 20  # neither a float nor a message can hold any number


class _PlainLoader(yaml.SafeLoader):
    """YAML's plain values, without aliases: a few of them, nested, are billions of values."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases are not read; write the values out", event)
        if self.depth >= _DEEPEST:
            raise _refused(f"values are nested more than {_DEEPEST} deep", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        if len(node.value) > _MOST_DIGITS:
            raise _refused("a number is too long", node)
        return super().construct_yaml_int(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        names: set[tuple[str, str]] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in names:
                raise _refused(f"the key {key.value[:80]!r} is there twice", key)
            names.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)


def _refused(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def parse_plain(text: str) -> Any:
    """The values of a YAML document that holds no aliases, object tags, keys that are there twice or deep nesting.

    Raises:
        yaml.MarkedYAMLError: for any other text; its `problem` is set, its `problem_mark` where the line is known.
    """
    if len(text) > MOST_CHARACTERS:
        raise yaml.MarkedYAMLError(problem=f"it has more than {MOST_CHARACTERS:,} characters")
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError:
        raise
    except Exception as error:  # control characters, and dates and numbers that cannot be
        raise yaml.MarkedYAMLError(problem=getattr(error, "reason", None) or str(error)) from None


def read_plain(path: Path) -> str:
    """As much of a text file as `parse_plain` takes, and one character.

    Raises:
        OSError: when it cannot be read.
        UnicodeDecodeError: when it is not UTF-8.
    """
    with path.open(encoding="utf-8") as file:
        return file.read(MOST_CHARACTERS + 1)
