"""What the files of a folder, zip or file hold, found by looking at them: no labels, no split, no printing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.data.array_samples import ARRAY_SUFFIXES, open_array_samples
from anychan.data.channel_facts import ChannelCounter, ChannelFacts, find_flags
from anychan.data.layout import Layout, channel_layouts
from anychan.data.naming import Naming, known_count, name_channels
from anychan.data.planes import Plane, check_alike, read_file, read_sample
from anychan.data.readers import image_suffixes
from anychan.data.source import FolderSource, Source, open_source
from anychan.encoding import Encoding
from anychan.errors import ChannelError, DataError
from anychan.randomness import derive_seed

__all__ = ["Description", "describe"]

Array = npt.NDArray[Any]
_CIRRUS_NM = (1350, 1400)
_SHOWN_PIXELS = 512


@dataclass(frozen=True)
class Description:
    """What data holds.

    Args:
        path: the folder or file.
        storage: how samples are stored, in words.
        files: pattern of the names where each channel has a file of its own.
        samples: number of samples.
        looked_at: number of samples that the facts are from.
        sizes: (height, width) of a sample's first channel → number of samples.
        dtype: number type in the files.
        naming: the channels.
        labels: what to call each channel: names, or numbers where nobody says.
        file_texts: what stands for each channel in its files' names; empty where a sample is one file.
        encodings: what the files say of each channel's numbers.
        facts: of each channel.
        flags: what is wrong with each channel.
        notes: what to look into, a sentence each.
        shown: a sample's name, and its channels (H, W) each, for a picture.
    """

    path: Path
    storage: str
    files: str | None
    samples: int
    looked_at: int
    sizes: Mapping[tuple[int, int], int]
    dtype: str
    naming: Naming
    labels: tuple[str, ...]
    file_texts: tuple[str, ...]
    encodings: tuple[Encoding, ...]
    facts: tuple[ChannelFacts, ...]
    flags: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    shown: tuple[str, list[Array]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        channels: list[dict[str, Any]] = []
        fields = [{}] * len(self.labels) if self.naming.channels is None else self.naming.channels.to_list()
        for label, own, encoding, facts, flags in zip(
            self.labels, fields, self.encodings, self.facts, self.flags, strict=True
        ):
            channels.append({"label": label, **own, **encoding.to_dict(), **facts.to_dict(), "flags": list(flags)})
        return {
            "path": str(self.path),
            "storage": self.storage,
            "files": self.files,
            "samples": self.samples,
            "looked_at": self.looked_at,
            "sizes": [[*size, count] for size, count in self.sizes.items()],
            "dtype": self.dtype,
            "named": self.naming.channels is not None,
            "named_sensor": self.naming.named_sensor,
            "how": self.naming.how,
            "channels": channels,
            "notes": list(self.notes),
        }


def describe(
    path: str | Path,
    *,
    channels: str | None = None,
    sensor: str | None = None,
    wavelengths: tuple[float, float] | None = None,
    cube: str | None = None,
    samples: int = 64,
    seed: int = 0,
) -> Description:
    """Look at the images of a folder, zip or single file, among them `.npz` and `.mat`.

    Args:
        path: the folder or file.
        channels: the channels, in the files' order; default: what the files' own names say.
        sensor: whose the channels are.
        wavelengths: the first and the last centre in nm of that sensor's bands, where they are evenly spaced.
        cube: the key of a `.mat` file's scene; default: that of its only array of three axes.
        samples: look at so many samples at most, drawn from the seed.
        seed: for that.

    Raises:
        DataError: naming the file, for no images, unreadable ones, images of unlike channels or number types, a missing
            key, or an array any axis of which may be the channels'.
        ChannelError: for channels that contradict the files.
    """
    layout, storage, names, read = _samples(Path(path), channels, sensor, cube)
    rng = np.random.default_rng(derive_seed(seed, "describe"))
    picked = sorted(rng.permutation(len(names))[: max(1, samples)].tolist())
    found = _look(((names[i], read(names[i])) for i in picked), Path(path))
    own: Sequence[str | None] = [plane.name for plane in found.first] if layout is None else layout.texts
    said: dict[str, Any] = {"asked": channels, "sensor": sensor, "wavelengths": wavelengths}
    naming = name_channels(own, len(found.first), str(path), **said, choose=layout is not None)
    return _described(Path(path), layout, storage, (len(names), len(picked)), found, naming)


def _samples(
    path: Path, channels: str | None, sensor: str | None, cube: str | None
) -> tuple[Layout | None, str, list[str], Callable[[str], list[Plane]]]:
    """Which files a sample has, if each channel has one; how samples are stored; all names, and how to read one."""
    if cube is not None and path.suffix.lower() != ".mat":
        raise DataError(f"{path}: --cube names the scene of a .mat file, and this is none; leave it out")
    if path.is_file() and path.suffix.lower() in ARRAY_SUFFIXES:
        arrays = open_array_samples(path, cube=cube, channels=channels, sensor=sensor)
        return None, arrays.storage, arrays.names, arrays.read
    source, files = _open(path)
    count = known_count([], channels, sensor)
    layout = _choose_layout(source, files, channels, sensor)
    rows = {file: (file,) for file in files} if layout is None else layout.samples
    storage = "one file a sample" if layout is None else "one file a channel"
    return layout, storage, sorted(rows), lambda name: read_sample(source, rows[name], count)


def _names_its_channels(layout: Layout, channels: str | None, sensor: str | None) -> bool:
    try:
        return name_channels(layout.texts, len(layout.texts), "", asked=channels, sensor=sensor, choose=True).by_names
    except ChannelError:
        return False


def _open(path: Path) -> tuple[Source, list[str]]:
    single = path.is_file() and path.suffix.lower() in image_suffixes()
    source = FolderSource(path.parent) if single else open_source(path)
    files = [path.name] if single else [n for n in source.names() if n.lower().endswith(image_suffixes())]
    if not files:
        raise DataError(f"{path}: there is no image ({', '.join(image_suffixes())}) here")
    return source, files


def _choose_layout(source: Source, files: list[str], channels: str | None, sensor: str | None) -> Layout | None:
    """The layout with a file for each channel, `None` where each file is a sample."""
    if len(read_file(source, files[0], known_count([], channels, sensor))) > 1:
        return None
    layouts = channel_layouts(files)
    if not layouts:
        return None
    for small in layouts:
        for large in layouts:
            if set(small.texts) < set(large.texts):
                absent = next(text for text in large.texts if text not in small.texts)
                raise DataError(
                    f"{source.path}: sample {next(iter(small.samples))} has no file for channel {absent!r}, which "
                    "others have; add it, or leave the sample out"
                )
    if len(layouts) == 1:
        return layouts[0]
    fits = [layout for layout in layouts if _names_its_channels(layout, channels, sensor)]
    if len(fits) != 1 or (channels is None and sensor is None):
        kinds = " and ".join(f"{len(layout.samples)} of {', '.join(layout.texts)}" for layout in layouts)
        raise DataError(
            f"{source.path}: the files are samples of two kinds, {kinds}; say which by --sensor or --channels, or give "
            "the folder of one kind"
        )
    return fits[0]


@dataclass
class _Found:
    first: list[Plane]
    counters: list[ChannelCounter]
    sizes: Counter[tuple[int, int]]
    shown: tuple[str, list[Array]]


def _look(samples: Iterator[tuple[str, list[Plane]]], path: Path) -> _Found:
    found: _Found | None = None
    most = -1.0
    for name, planes in samples:
        if found is None:
            counters = [ChannelCounter(plane.pixels.dtype, plane.encoding) for plane in planes]
            found = _Found(planes, counters, Counter(), (name, []))
        check_alike(path, found.first, planes)
        height, width = planes[0].pixels.shape
        found.sizes[height, width] += 1
        for counter, plane in zip(found.counters, planes, strict=True):
            counter.add(plane.pixels)
        small = [plane.small(_SHOWN_PIXELS) for plane in planes]
        detail = float(np.median([_detail(plane) for plane in small]))
        if detail > most:  # show the sample with most to see
            most, found.shown = detail, (name, small)
    assert found is not None
    return found


def _detail(plane: Array) -> float:
    """Standard deviation of what is there."""
    values = plane[np.isfinite(plane)]
    return float(values.std()) if values.size else 0.0


def _described(
    path: Path, layout: Layout | None, storage: str, counts: tuple[int, int], found: _Found, naming: Naming
) -> Description:
    facts = [counter.result() for counter in found.counters]
    facts, planes = [facts[i] for i in naming.order], [found.first[i] for i in naming.order]
    texts = () if layout is None else tuple(layout.texts[i] for i in naming.order)
    numbers = tuple(str(position + 1) for position in naming.order)
    labels = naming.channels.labels if naming.channels is not None else texts or numbers
    flags = tuple(find_flags(facts, list(labels)))
    return Description(
        path=path,
        storage=storage,
        files=None if layout is None else layout.pattern,
        samples=counts[0],
        looked_at=counts[1],
        sizes=dict(found.sizes.most_common()),
        dtype=planes[0].dtype,
        naming=naming,
        labels=labels,
        file_texts=texts,
        encodings=tuple(plane.encoding for plane in planes),
        facts=tuple(facts),
        flags=flags,
        notes=tuple(_notes(naming, labels, facts)),
        shown=(found.shown[0], [found.shown[1][i] for i in naming.order]),
    )


def _notes(naming: Naming, labels: Sequence[str], facts: Sequence[ChannelFacts]) -> Iterator[str]:
    """What does not look right, though nothing contradicts it."""
    if naming.channels is None:
        return
    means = {label: one.mean for label, one in zip(labels, facts, strict=True) if one.mean > 0}
    if len(means) < 4:
        return
    usual = float(np.median(list(means.values())))
    dark = min(means, key=lambda label: means[label])
    for label, channel in zip(labels, naming.channels, strict=True):
        low, high = _CIRRUS_NM
        if low < (channel.wavelength_nm or 0) < high and means.get(label, 0) > 0.2 * usual:
            other = f"; {dark}'s is {means[dark]:.4g}" if means[dark] < 0.1 * usual else ""
            yield (
                f"{label} lies where water vapour absorbs, so it is nearly dark over most land, but its mean is "
                f"{means[label]:.4g}{other}: check the channels' order"
            )
