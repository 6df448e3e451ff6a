"""How large a file may become in memory: a decompression bomb is a few bytes that say that they are billions."""

from __future__ import annotations

from anychan.errors import DataError

__all__ = ["SMALL_BYTES", "check_size"]

SMALL_BYTES = 128 * 2**20  # an RGB photograph of 44 million pixels; decoders hold four copies of one
_TIMES = 8  # real images and arrays above the limit shrink less than this


def check_size(size: int, stored: int, where: str, *, small: int = SMALL_BYTES, times: int = _TIMES) -> None:
    """Refuse what becomes large in memory, and much larger than it is on disk.

    Args:
        size: bytes in memory, as the file's header says before anything is decoded.
        stored: bytes on disk.
        where: the file, for the message.
        small: so many bytes are always allowed.
        times: or so many times `stored`.

    Raises:
        DataError: when it is both.
    """
    if size > max(small, times * stored):
        raise DataError(
            f"{where}: {stored:,} bytes say that they become {size:,} in memory, as those of a decompression bomb do; "
            f"write it in parts of {small:,} bytes or less, or less compressed"
        )
