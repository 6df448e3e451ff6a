"""How samples lie in files: one file a sample, or one file a channel, which the files' names give away."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from anychan.presets import PRESETS

__all__ = ["Layout", "channel_layouts", "natural_order"]

# the surest first: a known sensor's band, a numbered channel, a polarisation, a numbered letter
_TOKEN = re.compile(r"[^-_. ]+")
_SURE = re.compile(r"(?<![a-z])(?:ch|channel|band)\d+", re.IGNORECASE)
_LESS_SURE = re.compile(r"(?<![a-z0-9])[cwd]\d+(?!\d)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+\Z")


@dataclass(frozen=True)
class Layout:
    """Samples with one file for each channel.

    Args:
        texts: what stands for the channel in the files' names, a channel each.
        samples: a sample's name → its files in the order of `texts`.
        pattern: of the names, as `channels.yaml` writes it; `None` where they differ in more than sample and channel.
    """

    texts: tuple[str, ...]
    samples: dict[str, tuple[str, ...]]
    pattern: str | None


def natural_order(text: str) -> list[tuple[bool, int, str]]:
    """A sort key under which ch2 comes before ch10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text) if part]


def channel_layouts(files: Sequence[str]) -> list[Layout]:
    """Group files whose names differ in one part only, where that part looks like a channel.

    Class names, dates and running numbers are no channels: the part must be a band of a sensor that anychan knows, a
    numbered `ch`, `channel`, `band`, `c`, `w` or `d`, or a word at the name's end.

    Args:
        files: names of single-channel images.

    Returns:
        A layout for each set of channels that samples have, the most samples first; none where no sample has two, or a
        file's name holds no such part.
    """
    slots = {file: list(_slots(file)) for file in files}
    groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)  # (before, after) → channel's text → file
    for file, found in slots.items():
        for before, text, after in found:
            groups[before, after][text] = file
    kinds: dict[tuple[str, ...], dict[tuple[str, str], dict[str, str]]] = defaultdict(dict)
    for found in slots.values():
        keys = [(before, after) for before, _, after in found]
        if not keys:
            return []
        key = next((key for key in keys if len(groups[key]) > 1), keys[0])  # alone: a sample that lacks the others
        kinds[tuple(sorted(groups[key], key=natural_order))][key] = groups[key]
    if not any(len(texts) > 1 for texts in kinds):
        return []
    layouts = []
    for texts, samples in kinds.items():
        keys = sorted(samples)
        files_of = [tuple(samples[key][text] for text in texts) for key in keys]
        layouts.append(Layout(texts, dict(zip(_names(keys), files_of, strict=True)), _pattern(keys)))
    return sorted(layouts, key=lambda layout: -len(layout.samples))


def _slots(file: str) -> Iterator[tuple[str, str, str]]:
    """Where a name may say its channel, the surest first: what stands before it, the text, what stands after."""
    path = PurePosixPath(file)
    start = len(file) - len(path.name)
    stem = path.stem
    tokens = list(_TOKEN.finditer(stem))
    known = [token for token in tokens if any(_is_band(token[0], sensor) for sensor in PRESETS)]
    words = [token for token in tokens[-1:] if len(tokens) > 1 and _WORD.match(token[0])]
    for match in (*reversed(known), *_SURE.finditer(stem), *words, *_LESS_SURE.finditer(stem)):
        yield file[: start + match.start()], match[0], file[start + match.end() :]


def _is_band(text: str, sensor: str) -> bool:
    return any(channel.answers_to(text) >= 2 for channel in PRESETS[sensor])


def _names(keys: Sequence[tuple[str, str]]) -> list[str]:
    """The samples' names: their files' names without the channel, or with `*` for it where two would be the same."""
    short = []
    for before, after in keys:
        head, tail = before.rstrip("-_. /"), PurePosixPath(f"x{after}").stem[1:]
        short.append(f"{head}{tail}" if head else tail.lstrip("-_. "))
    return short if len(set(short)) == len(short) else [f"{before}*{after}" for before, after in keys]


def _pattern(keys: Sequence[tuple[str, str]]) -> str | None:
    """One pattern for the ends of all paths: `{sample}` is what differs, on one side of the channel, or else `*`."""
    befores = {before.rpartition("/")[2] for before, _ in keys}
    afters = {after for _, after in keys}
    suffixes = {PurePosixPath(f"x{after}").suffix for after in afters}
    if len(suffixes) > 1 or (len(befores) > 1 and "" in befores):
        return None
    joint = _same(re.search(r"[-_. ]*\Z", before) for before in befores)
    if len(afters) == 1:
        return f"{'' if befores == {''} else '{sample}' + joint}{{channel}}{afters.pop()}"
    if len(befores) == 1:
        return f"{befores.pop()}{{channel}}{_same(re.match(r'[-_. ]*', a) for a in afters)}{{sample}}{suffixes.pop()}"
    return f"*{joint}{{channel}}*{suffixes.pop()}"


def _same(matches: Iterable[re.Match[str] | None]) -> str:
    """The text of all matches where it is one, else nothing."""
    texts = {match[0] for match in matches if match is not None}
    return texts.pop() if len(texts) == 1 else ""
