"""What `anychan data describe` prints, draws and writes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from anychan.data.channels_file import CHANNELS_FILE, ChannelsFile
from anychan.data.describe import Description
from anychan.errors import ChannelError, DataError
from anychan.files import replacing
from anychan.report.tables import print_table

__all__ = ["describe_lines", "describe_table", "plot_channels", "print_description", "write_channels_file"]

_MOST_ROWS, _MOST_PANELS = 40, 36
_DPI, _WIDTH_INCHES, _PANEL_INCHES = 100, 15.6, 3.9  # a screen's width; a single panel is not as wide
_STRETCH = (2, 98)


def print_description(found: Description) -> None:
    """Print the table and the sentences to standard output."""
    print_table(describe_table(found))
    for line in describe_lines(found):
        print(line)


def describe_table(found: Description) -> Table:
    """A row for each channel, in stored numbers; of very many those with flags and some evenly spaced ones."""
    table = Table(title=f"{found.path}: stored numbers of {found.looked_at:,} of {_samples(found)}")
    table.add_column("channel", no_wrap=True)
    for title in ("nm", "min", "0.1 %", "mean", "99.9 %", "max", "std", "no data"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("flags")
    channels = found.naming.channels
    for position in _rows(found):
        facts, wavelength = found.facts[position], channels[position].wavelength_nm if channels else None
        numbers = (facts.minimum, facts.low, facts.mean, facts.high, facts.maximum, facts.std)
        table.add_row(
            found.labels[position],
            "" if wavelength is None else f"{wavelength:.0f}",
            *(_number(value) for value in numbers),
            _share(facts.no_data),
            ", ".join(found.flags[position]),
        )
    return table


def _rows(found: Description) -> list[int]:
    count = len(found.labels)
    if count <= _MOST_ROWS:
        return list(range(count))
    flagged = [position for position in range(count) if found.flags[position]]
    return sorted({*_evenly(count, _MOST_ROWS // 2), *flagged[: _MOST_ROWS // 2]})


def _evenly(count: int, wanted: int) -> list[int]:
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, wanted))})


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.4g}"


def _share(share: float) -> str:
    return "" if share == 0 else f"{100 * share:.1f} %" if share >= 0.001 else "< 0.1 %"


def describe_lines(found: Description) -> Iterator[str]:
    """How the samples are stored, who names the channels, and what to look into."""
    count = len(found.labels)
    pattern = "" if found.files is None else f", named {found.files} (guessed from the names)"
    yield f"{_samples(found)}, {found.storage}{pattern}, {found.dtype}, {_sizes(found)}"
    if len(rows := _rows(found)) < count:
        yield f"{len(rows)} of {count} channels are listed: evenly spaced ones and those with flags; --json has all"
    yield f"channels: {found.naming.how}" if found.naming.channels else found.naming.how
    flagged = sum(map(bool, found.flags))
    if flagged:
        yield f"{flagged} of {count} channels have flags; leave out those that say nothing"
    unsaid = [label for label, facts in zip(found.labels, found.facts, strict=True) if facts.not_finite > 0]
    if unsaid:
        yield f"NaN or infinity in {', '.join(unsaid)}: if it means no data, add `no_data: nan` to {CHANNELS_FILE}"
    yield from (f"look into it: {note}" for note in found.notes)


def _samples(found: Description) -> str:
    return "1 sample" if found.samples == 1 else f"{found.samples:,} samples"


def _sizes(found: Description) -> str:
    by_channel = {facts.sizes[0] for facts in found.facts}
    if len(by_channel) > 1 and len(found.sizes) == 1:
        pixels = ", ".join(f"{height}x{width}" for height, width in sorted(by_channel))
        return f"channels of {pixels} pixels"
    sizes = [f"{height}x{width}" for height, width in found.sizes]
    more = f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else ""
    return f"{', '.join(sizes[:3])}{more} pixels"


def plot_channels(found: Description, path: Path) -> list[int]:
    """A panel for each channel of one sample, stretched from its 2nd to its 98th percentile; no data is blue.

    Args:
        found: what was found.
        path: the picture to write.

    Returns:
        The positions drawn: of more than 36 channels, evenly spaced ones.
    """
    name, planes = found.shown
    drawn = _evenly(len(planes), _MOST_PANELS)
    columns = _columns(len(drawn))
    rows, inches = -(-len(drawn) // columns), min(_PANEL_INCHES, _WIDTH_INCHES / columns)
    some = "" if len(drawn) == len(planes) else f", {len(drawn)} of {len(planes)} channels"
    figure = Figure(figsize=(columns * inches, rows * (inches + 0.35) + 0.5), dpi=_DPI, layout="constrained")
    figure.suptitle(f"{name}{some}\n2nd to 98th percentile of each channel".replace("$", r"\$"), wrap=True)
    for position, axes in zip(drawn, np.ravel(figure.subplots(rows, columns, squeeze=False)), strict=False):
        _draw(axes, planes[position])
        flags = ", ".join(found.flags[position])
        axes.set_title(f"{found.labels[position]}{': ' + flags if flags else ''}".replace("$", r"\$"), fontsize=11)
        if flags:
            axes.title.set_color("#D55E00")
    for axes in figure.axes:
        axes.set_axis_off()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_visible(False)  # or the layout measures ticks that nobody sees: half of the time
    with replacing(path) as partial:
        figure.savefig(partial, format=path.suffix[1:] or "png")
    return drawn


def _columns(panels: int) -> int:
    """Those that leave the fewest places empty, the more the better: 6 panels are 3 × 2, 13 are 5 × 3."""
    if panels <= 4:
        return panels
    return min((3, 4, 5) if panels <= 16 else (5, 6), key=lambda columns: (-panels % columns, -columns))


def _draw(axes: Axes, plane: npt.NDArray[Any]) -> None:
    there = plane[np.isfinite(plane)]
    low, high = np.percentile(there, _STRETCH) if there.size else (0.0, 1.0)
    colours = colormaps["gray"].with_extremes(bad="#56B4E9")
    blocky = max(plane.shape) < 128  # small images keep their pixels
    axes.imshow(
        np.ma.masked_invalid(plane),
        cmap=colours,
        vmin=low,
        vmax=high if high > low else low + 1,
        interpolation="nearest" if blocky else "antialiased",
    )


def write_channels_file(found: Description, path: Path) -> None:
    """Write what is known as `channels.yaml`, with comments on what may be edited.

    Raises:
        ChannelError: when nobody says which channels there are.
        DataError: when the files' names have no common pattern, or the file cannot be written.
    """
    channels = found.naming.channels
    if channels is None:
        raise ChannelError(f"{found.path}: {found.naming.how}")
    if found.file_texts and found.files is None:
        raise DataError(
            f"{found.path}: each channel has a file of its own, but the names differ in more than sample and channel; "
            "give them one form, as sample_channel.tif"
        )
    texts = [
        None if channel.answers_to(text) >= 2 else text
        for channel, text in zip(channels, found.file_texts or channels.names, strict=True)
    ]
    file = ChannelsFile(
        channels,
        found.encodings,
        found.files,
        found.naming.named_sensor,
        tuple(texts) if found.file_texts and any(texts) else (),
    )
    try:
        file.save(path, header="".join(f"# {line}\n" for line in _header(found)))
    except OSError as error:
        raise DataError(f"{path}: the file cannot be written ({error.strerror}); give another by --out") from None


def _header(found: Description) -> Iterator[str]:
    yield "What these images hold, as `anychan data describe` found it; edit it where you know better."
    yield f"channels: in the files' order ({found.naming.how})."
    yield "  A channel may be a mapping: {name: DNA, sensor: my-microscope, wavelength_nm: 461}."
    if found.files is not None:
        yield "files: guessed from the names; {sample} and {channel} stand for what differs, * for anything."
    yield "unit, scale, offset: value = scale × stored number + offset. no_data: the number that means no data."
    yield "  They may stand here for all channels, or in a channel's own entry. What the files do not say is left out."
    if any(facts.not_finite > 0 for facts in found.facts):
        yield "no_data: nan   # there are NaN or infinity; remove the first # if they mean no data"
