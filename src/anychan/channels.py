"""Channels have names: `Channel`, `ChannelSet`, and the sensors that are known by name.

A channel's identity is `sensor:name`, because bare names lie: Landsat 8's B2 is blue, Landsat 5's B2 is green.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from anychan.errors import ChannelError

__all__ = ["Channel", "ChannelSet", "parse_channels"]

_METRE = 1e9  # nm


@dataclass(frozen=True, slots=True)
class Channel:
    """One named channel of one sensor.

    Args:
        name: the sensor's own name for it, such as `"B08"`.
        sensor: the sensor that it belongs to, such as `"sentinel2"`.
        aliases: other names for the same channel, such as `("B8",)`.
        common_name: the name that sensors share, such as `"nir"` (those of the STAC EO extension).
        wavelength_nm: centre wavelength in nanometres, where it has one.
        width_nm: full width of the band in nanometres, where it is known.

    Raises:
        ChannelError: for a name or sensor that is empty or not text, a wavelength or width that is not above 0, or a
            wavelength below 100 nm: nobody's images are made there, and 0.49 is one in µm.
    """

    name: str
    sensor: str
    aliases: tuple[str, ...] = ()
    common_name: str | None = None
    wavelength_nm: float | None = None
    width_nm: float | None = None

    def __post_init__(self) -> None:
        for part in (self.name, self.sensor):
            # a YAML file gives numbers for names such as 1
            if not isinstance(part, str) or not part or part != part.strip() or ":" in part or "," in part:
                raise ChannelError(
                    f"channel name {self.name!r} of sensor {self.sensor!r}: give both, text without ':' or ','"
                )
        for text in (*self.aliases, *(() if self.common_name is None else (self.common_name,))):
            if not isinstance(text, str):
                raise ChannelError(f"channel {self.identity!r}: {text!r} is no other name for it; put quotes around it")
        for key in ("wavelength_nm", "width_nm"):
            value = getattr(self, key)
            if value is not None and not (isinstance(value, int | float) and 0 < value <= _METRE):
                raise ChannelError(
                    f"channel {self.identity!r}: {key} is {value!r}, but it must be above 0 nm and at most 1e9"
                )
        if self.wavelength_nm is not None and self.wavelength_nm < 100:
            raise ChannelError(
                f"channel {self.identity!r}: wavelength_nm is {self.wavelength_nm:g}, which looks like µm; write "
                f"{1000 * self.wavelength_nm:g}"
            )

    @property
    def identity(self) -> str:
        """`sensor:name`, equal for two channels only if they are the same channel."""
        return f"{self.sensor}:{self.name}"

    def answers_to(self, query: str) -> int:
        """How well a query fits: 4 identity, 3 name, 2 alias, 1 common name, 0 not at all (case is ignored)."""
        asked = query.strip().casefold()
        if asked == self.identity.casefold():
            return 4
        if asked == self.name.casefold():
            return 3
        if asked in (alias.casefold() for alias in self.aliases):
            return 2
        return int(self.common_name is not None and asked == self.common_name.casefold())


class ChannelSet:
    """Channels in a fixed order, no identity twice.

    `|`, `&` and `-` work by identity and keep the left side's order. Two channels of one identity that differ in
    wavelength or width are an error, never a silent choice.

    Args:
        channels: the channels, in order.
        source: where the wavelengths come from.

    Raises:
        ChannelError: for an empty set, or an identity that is there twice.

    Example:
        >>> rgb = ChannelSet([Channel(n, "rgb") for n in "RGB"])
        >>> rgb.select(["B", "R"]).names
        ('B', 'R')
        >>> (rgb - rgb.select(["G"])).names
        ('R', 'B')
    """

    def __init__(self, channels: Iterable[Channel], *, source: str = "") -> None:
        self._channels = tuple(channels)
        self.source = source
        if not self._channels:
            raise ChannelError("a channel set needs at least one channel")
        self._positions: dict[str, int] = {}
        for position, channel in enumerate(self._channels):
            if self._positions.setdefault(channel.identity, position) != position:
                raise ChannelError(f"channel {channel.identity!r} is there twice; name each channel once")

    @property
    def names(self) -> tuple[str, ...]:
        """The channels' names, in order."""
        return tuple(channel.name for channel in self)

    @property
    def identities(self) -> tuple[str, ...]:
        """The channels' identities (`sensor:name`), in order."""
        return tuple(channel.identity for channel in self)

    @property
    def labels(self) -> tuple[str, ...]:
        """What to call each channel in a table: its name, or its identity where two sensors' names would clash."""
        return self.names if len(set(self.names)) == len(self) else self.identities

    @property
    def label(self) -> str:
        """The channels for a table or a file: `"B04+B03"`."""
        return "+".join(self.labels)

    def index(self, query: str | Channel) -> int:
        """Position of the channel that answers to a name, alias, common name, identity or `Channel`.

        Raises:
            ChannelError: when no channel answers, or several answer equally well.
        """
        text = query.identity if isinstance(query, Channel) else query
        if text in self._positions:  # nothing fits better, and hundreds of channels are not asked one by one
            return self._positions[text]
        fits = [channel.answers_to(text) for channel in self]
        best = max(fits)
        found = [position for position, fit in enumerate(fits) if fit == best]
        if best == 0:
            raise ChannelError(
                f"channel {text!r} is not one of {', '.join(self.names)}; name one of these, or adapt the model"
            )
        if len(found) > 1:
            candidates = ", ".join(self[position].identity for position in found)
            raise ChannelError(f"channel {text!r} could be any of {candidates}; write it as sensor:name")
        return found[0]

    def indices(self, queries: Iterable[str | Channel]) -> tuple[int, ...]:
        """Positions of several channels, in the order asked for.

        Raises:
            ChannelError: for an unknown channel, one asked for twice, or none at all.
        """
        if isinstance(queries, str):
            queries = queries.split(",")
        positions = tuple(self.index(query) for query in queries)
        if not positions:
            raise ChannelError(f"no channel was named; name at least one of {', '.join(self.names)}")
        for position, times in Counter(positions).items():
            if times > 1:
                raise ChannelError(f"channel {self[position].name!r} is asked for twice; name each channel once")
        return positions

    def select(self, queries: Iterable[str | Channel]) -> ChannelSet:
        """The channels that were asked for, in that order (see `indices`)."""
        return ChannelSet((self[i] for i in self.indices(queries)), source=self.source)

    def subsets(self) -> Iterator[ChannelSet]:
        """All 2^C - 1 subsets that are not empty, the smallest first, each in this set's order."""
        for size in range(1, len(self) + 1):
            for chosen in combinations(self, size):
                yield ChannelSet(chosen, source=self.source)

    def to_list(self) -> list[dict[str, Any]]:
        """The channels as plain values for JSON or YAML; keys without a value are left out."""
        return [{k: v for k, v in asdict(channel).items() if v not in (None, ())} for channel in self]

    def _matching(self, other: ChannelSet) -> dict[str, Channel]:
        theirs = {channel.identity: channel for channel in other}
        for ours in self:
            twin = theirs.get(ours.identity, ours)
            if (twin.wavelength_nm, twin.width_nm) != (ours.wavelength_nm, ours.width_nm):
                raise ChannelError(
                    f"channel {ours.identity!r} is centred at {ours.wavelength_nm} nm ({ours.width_nm} nm wide) in one "
                    f"set and at {twin.wavelength_nm} nm ({twin.width_nm} nm wide) in the other; rename one of them"
                )
        return theirs

    def _kept(self, channels: list[Channel], otherwise: str) -> ChannelSet:
        if not channels:
            raise ChannelError(otherwise)
        return ChannelSet(channels, source=self.source)

    def __or__(self, other: ChannelSet) -> ChannelSet:
        self._matching(other)
        mine = set(self.identities)
        return ChannelSet([*self, *(c for c in other if c.identity not in mine)], source=self.source)

    def __and__(self, other: ChannelSet) -> ChannelSet:
        theirs = self._matching(other)
        return self._kept([c for c in self if c.identity in theirs], f"{self} and {other} share no channel")

    def __sub__(self, other: ChannelSet) -> ChannelSet:
        theirs = self._matching(other)
        return self._kept([c for c in self if c.identity not in theirs], f"{self} less {other} leaves no channel")

    def __le__(self, other: ChannelSet) -> bool:
        return set(self.identities) <= set(self._matching(other))

    def __contains__(self, query: object) -> bool:
        text = query.identity if isinstance(query, Channel) else query
        return isinstance(text, str) and any(channel.answers_to(text) for channel in self)

    def __getitem__(self, position: int) -> Channel:
        return self._channels[position]

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._channels)

    def __len__(self) -> int:
        return len(self._channels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChannelSet) and self._channels == other._channels

    def __hash__(self) -> int:
        return hash(self._channels)

    def __repr__(self) -> str:
        return f"ChannelSet({', '.join(self.identities)})"


def parse_channels(
    spec: str | Sequence[str | Mapping[str, Any]],
    presets: Mapping[str, ChannelSet],
    *,
    sensor: str = "custom",
) -> ChannelSet:
    """Read a channel set from a recipe, a channels file or the command line.

    Args:
        spec: a preset's name (`"sentinel2"`); or a list, or one text with commas, of identities of preset channels
            (`"sentinel2:B04"`), names of new channels (`"DNA"`), or mappings with `Channel`'s fields.
        presets: the known sensors by name.
        sensor: the sensor of new channels that name none.

    Raises:
        ChannelError: for an unknown preset, channel or field.
    """
    if isinstance(spec, str):
        if spec.casefold() in presets:
            return presets[spec.casefold()]
        if ":" not in spec and "," not in spec:
            known = ", ".join(presets)
            raise ChannelError(f"no sensor is called {spec!r}; name one of {known}, or list the channels by name")
        spec = spec.split(",")
    return ChannelSet(_parse_one(item, presets, sensor) for item in spec)


def _parse_one(item: str | Mapping[str, Any], presets: Mapping[str, ChannelSet], sensor: str) -> Channel:
    if isinstance(item, str):
        owner, _, name = item.strip().rpartition(":")
        if owner.casefold() in presets:
            known = presets[owner.casefold()]
            return known[known.index(name)]
        if owner:
            raise ChannelError(
                f"channel {item.strip()!r}: no sensor is called {owner!r}; name one of {', '.join(presets)}, or write "
                "the channel as a mapping with name and sensor"
            )
        return Channel(name, sensor)
    if not isinstance(item, Mapping):
        raise ChannelError(f"channel {item!r} is neither a name nor a mapping; put quotes around numbers")
    fields = {"sensor": sensor, **item}
    unknown = sorted(set(fields) - set(Channel.__dataclass_fields__))
    if unknown or "name" not in fields:
        allowed = ", ".join(Channel.__dataclass_fields__)
        problem = f"has no field {unknown[0]!r}" if unknown else "needs a 'name'"
        raise ChannelError(f"channel {dict(item)!r} {problem}; the fields are {allowed}")
    aliases = fields.get("aliases", ())
    fields["aliases"] = (aliases,) if isinstance(aliases, str) else tuple(aliases)
    return Channel(**fields)
