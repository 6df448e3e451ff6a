"""The contract: what a saved model says of itself, checked at every door.

A model's weights mean nothing without the channels they were trained on, their order, the statistics that
normalise them, the classes and the rule by which images were resized. All of that is one JSON file,
`contract.json`, beside `model.safetensors`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.channels import ChannelSet, parse_channels
from anychan.encoding import Encoding
from anychan.errors import ContractError
from anychan.files import read_json, write_json

__all__ = ["CONTRACT_FORMAT", "FILTERS", "ChannelStatistics", "Contract", "ResizeRule"]

CONTRACT_FORMAT = 1
MOST_BYTES = 32 * 2**20  # of the file: a covariance of 900 channels; as objects, it is twenty times that
MOST_PIXELS = 16_384  # of a side of the model's images
FITS = ("squash", "crop")
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
BATCH_NORMS = ("shared", "subset", "size")
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """Mean and covariance of the training pixels, a channel each, in raw sensor values.

    Args:
        mean: (C,) float64.
        covariance: (C, C) float64, population form (divided by the number of pixels).
        pixels: (C, C) number of pixels in which both channels were seen; 0 marks a pair never seen together, whose
            covariance is then NaN, or what a prior says (see `anychan.data.prior`).

    Raises:
        ContractError: when the shapes do not agree.
    """

    mean: FloatArray
    covariance: FloatArray
    pixels: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        channels = len(self.mean)
        if self.covariance.shape != (channels, channels) or self.pixels.shape != (channels, channels):
            raise ContractError(
                f"statistics of {channels} channels need a {channels}x{channels} covariance and pixel count, "
                f"not {self.covariance.shape} and {self.pixels.shape}"
            )

    @property
    def std(self) -> FloatArray:
        """(C,) standard deviations."""
        return np.sqrt(np.diag(self.covariance))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes null."""
        rows = [[None if np.isnan(value) else float(value) for value in row] for row in self.covariance]
        return {"mean": self.mean.tolist(), "covariance": rows, "pixels": self.pixels.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ChannelStatistics:
        """The inverse of `to_dict`."""
        rows = [[np.nan if value is None else value for value in row] for row in values["covariance"]]
        return cls(
            np.array(values["mean"], np.float64),
            np.array(rows, np.float64),
            np.array(values["pixels"], np.int64),
        )


@dataclass(frozen=True)
class ResizeRule:
    """How an image becomes the model's input size.

    Args:
        size: height and width in pixels.
        fit: `"squash"` ignores the aspect ratio (as both reports do); `"crop"` resizes the shorter side and keeps
            the centre.
        filter: `"nearest"`, `"bilinear"`, `"bicubic"` or `"lanczos"`, Pillow's antialiased filters.

    Raises:
        ContractError: for another size, fit or filter.
    """

    size: int
    fit: str = "squash"
    filter: str = "bilinear"

    def __post_init__(self) -> None:
        for name, allowed in (("fit", FITS), ("filter", FILTERS)):
            if getattr(self, name) not in allowed:
                raise ContractError(f"resize {name} is {getattr(self, name)!r}, but it is one of {', '.join(allowed)}")
        if not (isinstance(self.size, int) and 1 <= self.size <= MOST_PIXELS):
            raise ContractError(f"resize size is {self.size!r}, but it is one of 1 to {MOST_PIXELS:,} pixels")


@dataclass(frozen=True, eq=False)
class Contract:
    """What a saved model says of itself.

    Args:
        model: name in the catalogue.
        options: the model's own options, such as `{"entry": "3x3"}`.
        stem: how the model copes with missing channels, such as `"mean"`.
        channels: the channels it knows, in its order.
        offset: (C,) raw value that is taken off each channel before the stem.
        scale: (C,) raw values that make one unit after normalisation.
        classes: class names, by label.
        resize: how images reach the input size; `None` for a model that was not trained on images yet.
        statistics: of the training images; `None` as for `resize`.
        grey: what a grey photograph means to an RGB model: `"refuse"` or `"repeat"`.
        dtype: number type of the training images, such as `"uint8"`: raw values of another type mean something else.
        stem_options: the stem's own numbers, such as completion's `{"ridge": 0.01}`.
        num_outputs: number of logits, where it is more than the classes, as report 2's 100 for 50 classes.
        batch_norm: whose statistics are saved beside the model's own: `"subset"`: each subset's; `"size"`: each number
            of channels'; `"shared"`: nobody's.
        interpolated: identities of channels that were never trained, whose kernels come from wavelengths alone.
        untrained: identities of channels that were never trained, whose weights are as they were drawn.
        encodings: what each channel's raw values mean, and which of them means no data.
    """

    model: str
    options: dict[str, Any]
    stem: str
    channels: ChannelSet
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    classes: tuple[str, ...]
    resize: ResizeRule | None = None
    statistics: ChannelStatistics | None = None
    grey: str = "refuse"
    dtype: str | None = None
    stem_options: dict[str, float] = field(default_factory=dict)
    num_outputs: int | None = None
    batch_norm: str = "shared"
    interpolated: tuple[str, ...] = ()
    untrained: tuple[str, ...] = ()
    encodings: tuple[Encoding, ...] = ()

    def __post_init__(self) -> None:
        if not self.encodings:
            object.__setattr__(self, "encodings", (Encoding(),) * len(self.channels))

    @property
    def training_mean(self) -> tuple[float, ...]:
        """(C,) raw mean of the training pixels, what stands in for pixels without data; untrained, the offset."""
        return self.offset if self.statistics is None else tuple(self.statistics.mean.tolist())

    @property
    def outputs(self) -> int:
        """Number of logits; those beyond the classes mean nothing."""
        return len(self.classes) if self.num_outputs is None else self.num_outputs

    def replace_options(self, **options: Any) -> Contract:
        """The same contract with some of the model's options set."""
        return dataclasses.replace(self, options={**self.options, **options})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": CONTRACT_FORMAT,
            "model": self.model,
            "options": self.options,
            "stem": self.stem,
            "channels": self.channels.to_list(),
            "channels_source": self.channels.source,
            "offset": list(self.offset),
            "scale": list(self.scale),
            "classes": list(self.classes),
            "resize": None if self.resize is None else vars(self.resize),
            "statistics": None if self.statistics is None else self.statistics.to_dict(),
            "grey": self.grey,
            "dtype": self.dtype,
            "stem_options": self.stem_options,
            "num_outputs": self.num_outputs,
            "batch_norm": self.batch_norm,
            "interpolated": list(self.interpolated),
            "untrained": list(self.untrained),
            "encodings": [encoding.to_dict() for encoding in self.encodings],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, where: str = "contract") -> Contract:
        """Read a contract, checking every field.

        Args:
            values: what `to_dict` gave.
            where: the file's name, for errors.

        Raises:
            ContractError: for another format, or a field that is missing or malformed.
        """
        if not isinstance(values, dict) or values.get("format") != CONTRACT_FORMAT:
            found = values.get("format") if isinstance(values, dict) else None
            raise ContractError(f"{where}: contract format {found!r} is not the known format {CONTRACT_FORMAT}")
        try:
            channels = ChannelSet(parse_channels(values["channels"], {}), source=values["channels_source"])
            contract = cls(
                model=str(values["model"]),
                options=dict(values["options"]),
                stem=str(values["stem"]),
                channels=channels,
                offset=tuple(float(value) for value in values["offset"]),
                scale=tuple(float(value) for value in values["scale"]),
                classes=tuple(str(name) for name in values["classes"]),
                resize=None if values["resize"] is None else ResizeRule(**values["resize"]),
                statistics=(
                    None if values["statistics"] is None else ChannelStatistics.from_dict(values["statistics"])
                ),
                grey=str(values["grey"]),
                dtype=None if values["dtype"] is None else str(values["dtype"]),
                stem_options={str(key): float(value) for key, value in values["stem_options"].items()},
                # these are absent in contracts from before there were such things
                num_outputs=None if values.get("num_outputs") is None else int(values["num_outputs"]),
                batch_norm=str(values.get("batch_norm", "shared")),
                interpolated=tuple(str(identity) for identity in values.get("interpolated", ())),
                untrained=tuple(str(identity) for identity in values.get("untrained", ())),
                encodings=tuple(Encoding.from_dict(encoding) for encoding in values.get("encodings", ())),
            )
        except KeyError as error:
            raise ContractError(f"{where}: the contract lacks {error}") from None
        except (ArithmeticError, AttributeError, TypeError, ValueError) as error:  # ChannelError is one of them
            raise ContractError(f"{where}: the contract is malformed ({error})") from None
        contract.check(where)
        return contract

    def check(self, where: str) -> None:
        """See that what it says of its channels and batch norm can be.

        Args:
            where: what begins the errors.

        Raises:
            ContractError: when it cannot.
        """
        if self.batch_norm not in BATCH_NORMS:
            raise ContractError(
                f"{where}: batch_norm is {self.batch_norm!r}, but it is one of {', '.join(BATCH_NORMS)}"
            )
        if len(self.offset) != len(self.channels) or len(self.scale) != len(self.channels):
            raise ContractError(
                f"{where}: offset and scale must have one value for each of {len(self.channels)} channels"
            )
        if len(self.encodings) != len(self.channels):
            raise ContractError(f"{where}: there must be one encoding for each of {len(self.channels)} channels")
        for kind in ("interpolated", "untrained"):
            for identity in getattr(self, kind):
                if identity not in self.channels.identities:
                    raise ContractError(f"{where}: {kind} channel {identity!r} is not one of the channels")

    def save(self, path: Path) -> None:
        """Write the contract as JSON, whole or not at all."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Contract:
        """Read a contract file.

        Raises:
            ContractError: when the file is absent, is not JSON, or is not a contract.
        """
        try:
            if (size := path.stat().st_size) > MOST_BYTES:
                raise ContractError(f"{path}: the contract has {size:,} bytes, but {MOST_BYTES:,} are the most")
            values = read_json(path)
        except (FileNotFoundError, NotADirectoryError):
            raise ContractError(f"{path}: there is no contract here; name the folder of a saved model") from None
        except OSError as error:
            raise ContractError(f"{path}: the contract cannot be read ({error.strerror})") from None
        except ContractError:
            raise
        except ValueError as error:  # no text or JSON, too long a number, too deep a nesting
            raise ContractError(f"{path}: the contract is not JSON ({error})") from None
        return cls.from_dict(values, where=str(path))
