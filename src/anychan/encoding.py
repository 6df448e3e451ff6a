"""What a channel's stored numbers mean: unit, scale and offset, and the number that stands for "no data"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from anychan.errors import ChannelError

__all__ = ["Encoding", "fits_type", "no_data_row"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """value = scale × stored number + offset, in `unit`; the words are those of GDAL.

    Sentinel-2's reflectance from processing baseline 04.00 on is (number − 1000) / 10000: scale 0.0001, offset −0.1.

    Args:
        unit: of the value, such as `"reflectance"`; `None` where nobody says.
        scale: above 0.
        offset: in `unit`.
        no_data: the stored number that stands for a pixel without a value; may be NaN.

    Raises:
        ChannelError: for a scale that is not above 0, an offset that is not finite, or something that is no number.
    """

    unit: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    no_data: float | None = None

    def __post_init__(self) -> None:
        for key in ("scale", "offset", "no_data"):
            value = getattr(self, key)
            if not (isinstance(value, int | float) and not isinstance(value, bool)) and (key, value) != (
                "no_data",
                None,
            ):
                raise ChannelError(f"{key} is {value!r}, but it must be a number{_advice(value)}")
        if not (self.unit is None or isinstance(self.unit, str)):
            raise ChannelError(f"unit is {self.unit!r}, but it must be text")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ChannelError(f"scale is {self.scale}, but it must be above 0")
        if not math.isfinite(self.offset):
            raise ChannelError(f"offset is {self.offset}, but it must be finite")
        if self.no_data is not None and math.isnan(self.no_data):
            object.__setattr__(self, "no_data", math.nan)  # the same object, so that equal encodings compare equal

    def missing(self, numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Where stored numbers of any shape stand for no data."""
        if self.no_data is None or not fits_type(self.no_data, numbers.dtype):
            return np.zeros(numbers.shape, np.bool_)
        found: npt.NDArray[np.bool_] = np.isnan(numbers) if math.isnan(self.no_data) else numbers == self.no_data
        return found

    def convert(self, numbers: npt.NDArray[Any], other: Encoding) -> npt.NDArray[Any]:
        """The same values as another encoding stores them, in the same number type.

        As `convert_data` does it; no data becomes the other encoding's no data.

        Args:
            numbers: stored in this encoding, any shape.
            other: how to store them.

        Raises:
            ChannelError: as `convert_data`, or for no data that the other encoding cannot tell.
        """
        if self == other:
            return numbers
        missing = self.missing(numbers)
        if missing.any() and other.no_data is None:
            raise ChannelError(f"{self.no_data:g} stands for no data here, but nothing does there")
        if missing.any() and not fits_type(other.no_data, numbers.dtype):
            raise ChannelError(f"{other.no_data:g} stands for no data there, which {numbers.dtype} cannot hold")
        values = self.convert_data(numbers, other, missing)
        return np.where(missing, other.no_data, values).astype(numbers.dtype) if missing.any() else values  # type: ignore[arg-type]

    def convert_data(
        self, numbers: npt.NDArray[Any], other: Encoding, missing: npt.NDArray[np.bool_]
    ) -> npt.NDArray[Any]:
        """The same values as another encoding stores them, in the same number type, where there is data.

        Integers are rounded and cut at their type's ends. A value that would then stand for no data takes the number
        beside it.

        Args:
            numbers: stored in this encoding, any shape.
            other: how to store them.
            missing: of that shape, where there is no data, whatever the numbers are there and become.

        Raises:
            ChannelError: for another unit, or a number that stands for no data there and of which nobody says here
                that it does not.
        """
        if self.unit != other.unit:
            raise ChannelError(f"its unit is {self.unit or 'not given'} here and {other.unit or 'not given'} there")
        if self.no_data is None and (other.missing(numbers) & ~missing).any():
            raise ChannelError(
                f"it holds {other.no_data:g}, which means no data elsewhere; state its no_data ({other.no_data:g}, or "
                "another number) in channels.yaml"
            )
        values = numbers
        if not self.same_values(other):
            values = (numbers.astype(np.float64) * self.scale + (self.offset - other.offset)) / other.scale
            if np.issubdtype(numbers.dtype, np.integer):
                limits = np.iinfo(numbers.dtype)
                values = np.clip(np.rint(values), limits.min, limits.max)
            values = values.astype(numbers.dtype)
        clash = other.missing(values) & ~missing
        if clash.any():
            values = np.where(clash, _beside(values[clash][0]), values)
        return values

    def same_values(self, other: Encoding) -> bool:
        """Whether equal numbers mean equal values, no data apart."""
        return (self.unit, self.scale, self.offset) == (other.unit, other.scale, other.offset)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or YAML, those that are not the default; NaN as `"nan"`."""
        found = {key: value for key, value in asdict(self).items() if value != getattr(Encoding(), key)}
        if self.no_data is not None and math.isnan(self.no_data):
            found["no_data"] = "nan"
        return found

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Encoding:
        """The inverse of `to_dict`.

        Raises:
            ChannelError: for a key or value that cannot be.
        """
        for key in values:
            if key not in {field.name for field in fields(cls)}:
                raise ChannelError(f"there is no {key!r}; there are {', '.join(field.name for field in fields(cls))}")
        if str(values.get("no_data")).casefold() == "nan":
            values = {**values, "no_data": math.nan}
        return cls(**values)


def no_data_row(no_data: Sequence[float | None], dtype: np.dtype[Any]) -> npt.NDArray[np.float64]:
    """(C,) the numbers that stand for no data, to compare pixels of a type with; NaN, equal to none, for none.

    float32 has no 1e20, but a number near it, which is what the pixels hold.
    """
    row = np.array([np.nan if number is None else number for number in no_data], np.float64)
    with np.errstate(over="ignore"):
        return row.astype(dtype).astype(np.float64) if dtype.kind == "f" else row


def _advice(value: Any) -> str:
    """How to write a number that YAML reads as text, as it does 1e-4; empty for anything else."""
    try:
        number = float(value) if isinstance(value, str) and "e" in value.casefold() else math.nan
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    forms = np.format_float_positional(number, trim="0"), np.format_float_scientific(number, trim="0", exp_digits=1)
    return f"; write {' or '.join(forms)}"


def _beside(number: Any) -> Any:
    """The next number of a numpy scalar's type: above, or below the highest."""
    if isinstance(number, np.floating):
        return np.nextafter(number, type(number)(-np.inf if number >= np.finfo(number).max else np.inf))
    return number - 1 if number == np.iinfo(number).max else number + 1


def fits_type(number: float | None, dtype: np.dtype[Any]) -> bool:
    """Whether pixels of a number type can have this number at all."""
    if number is None:
        return False
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # 3.4028235e+38 is float32's largest number, rounded up
            return not math.isfinite(number) or bool(np.isfinite(dtype.type(number)))
    if dtype.kind not in "iu" or not float(number).is_integer():
        return False
    return bool(np.iinfo(dtype).min <= number <= np.iinfo(dtype).max)
