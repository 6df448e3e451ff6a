"""What is asked of `anychan evaluate`: which subsets, on what, and which choices exclude each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anychan.channels import ChannelSet
from anychan.data.dataset import ImageData
from anychan.errors import ConfigError
from anychan.evaluation.choice import all_subsets, default_subsets

__all__ = ["Evaluation"]

_SAMPLE, _SEARCH_UP_TO = 64, 8


@dataclass(frozen=True)
class Evaluation:
    """What is asked of `anychan evaluate`.

    Args:
        split: the images to test on, `"test"` or `"val"`.
        channels: subsets by name; `None` is the default ones.
        all_subsets: take all.
        search: how subsets of many channels are found beyond the default ones: `"sampled"`, drawn at random, or
            `"greedy"` on the validation images (see `greedy_search`).
        search_up_to: the largest number of channels of a greedy search; `None`: 8, or all of fewer.
        sample: add so many subsets drawn at random; `None`: 64 where not all of more than 7 channels are evaluated and
            there is no greedy search.
        shapley: estimate Shapley values from so many random orders of the channels; `None`: only exact ones.
        batch_norm: `"saved"`, `"shared"` or `"own"`, as `evaluate_run_splits` takes it.
        channel_drop: report 1's test.
        flip: average each image's probabilities with those of its mirror image.
        stem: another way to cope with absent channels.
        options: changes to the network's own.
        data_path: where the data lies now, or other data.
        data_channels: the channels of the data there; `None`: as the recipe finds them.
        source: name of the source to test on, where the run was trained on several.
        allow_unknown_channels: leave channels of the data out of which the model knows nothing.
        within: accuracy that the smallest sensor may lose, 0 to 1.
        costs: channel → cost for the smallest sensor; `None` counts channels.

    Raises:
        ConfigError: for a number out of its range, or choices of subsets that exclude each other.
    """

    split: str = "test"
    channels: Sequence[str] | None = None
    all_subsets: bool = False
    search: str = "sampled"
    search_up_to: int | None = None
    sample: int | None = None
    shapley: int | None = None
    batch_norm: str = "saved"
    channel_drop: float = 0.0
    flip: bool = False
    stem: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    data_path: str | None = None
    data_channels: str | None = None
    source: str | None = None
    allow_unknown_channels: bool = False
    within: float = 0.02
    costs: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        for name, value in (("channel-drop", self.channel_drop), ("within", self.within)):
            if not 0 <= value <= 1:
                raise ConfigError(f"--{name} is {value}, but it must be between 0 and 1")
        least = {"sample": 0, "shapley": 2, "search_up_to": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                kind = {"sample": "subsets", "shapley": "random orders", "search_up_to": "channels"}[name]
                raise ConfigError(f"--{name.replace('_', '-')} is {value}, but it must be {bound} or more {kind}")
        if self.search_up_to is not None and not self._greedy:
            raise ConfigError("--search-up-to is for --search greedy, which was not given")
        self._check_choices()

    @property
    def _greedy(self) -> bool:
        return self.search == "greedy"

    @property
    def _beyond(self) -> list[str]:
        """The options that ask for more subsets than the default ones."""
        more = {"--sample": self.sample, "--shapley": self.shapley, "--search greedy": self._greedy}
        return [name for name, given in more.items() if given]

    def _check_choices(self) -> None:
        for option in self._beyond:
            if self.channels or self.all_subsets:
                other = "--channels" if self.channels else "--all-subsets"
                raise ConfigError(f"{option} and {other} were given; give one of them")
            if self.channel_drop and option != "--sample":
                raise ConfigError(f"{option} and --channel-drop were given; give one of them")
        if self._greedy and self.split != "test":
            raise ConfigError("--search greedy chooses on the validation images, so --split must be test")

    def subsets(self, known: ChannelSet) -> list[ChannelSet]:
        """The subsets that are not drawn at random.

        Raises:
            ChannelError: for a channel that the model does not know.
            ConfigError: for a sample, a search or random orders where all subsets are evaluated anyway, or too many
                channels for all.
        """
        if self.channels:
            return [known.select(names) for names in self.channels]
        if self.all_subsets:
            return all_subsets(known)
        if self.channel_drop:
            return [known]
        chosen = default_subsets(known)
        if len(chosen) == 2 ** len(known) - 1:
            for option in self._beyond:
                raise ConfigError(f"{option}: all {len(chosen)} subsets are evaluated anyway; leave it out")
        return chosen

    def drawn(self, known: ChannelSet) -> int:
        """How many subsets are drawn at random."""
        if self.sample is not None:
            return self.sample
        named = self.channels or self.all_subsets or self.channel_drop or self._greedy
        return 0 if named or len(default_subsets(known)) == 2 ** len(known) - 1 else _SAMPLE

    def searched(self, known: ChannelSet, data: ImageData) -> int:
        """Up to how many channels a greedy search goes; 0 for none.

        Raises:
            ConfigError: for more channels than there are, or without validation images.
        """
        if not self._greedy:
            return 0
        if len(data.splits["val"]) == 0:
            raise ConfigError("--search greedy chooses on validation images, but the data has none")
        if self.search_up_to is not None and self.search_up_to > len(known):
            raise ConfigError(f"--search-up-to is {self.search_up_to}, but there are {len(known)} channels")
        return min(_SEARCH_UP_TO, len(known)) if self.search_up_to is None else self.search_up_to

    def no_smallest_sensor(self, subsets: Sequence[ChannelSet], known: ChannelSet, data: ImageData) -> str | None:
        """Why no smallest sensor can be chosen, if so."""
        if self.split != "test":
            return "it is chosen on validation images and tested on test images, but only the former were asked for"
        if self.channel_drop:
            return "the images were changed by --channel-drop"
        if len(data.splits["val"]) == 0:
            return "there are no validation images to choose it on"
        if len(known) not in map(len, subsets):
            return "the full set of channels was not evaluated, so there is nothing to compare subsets with"
        return None
