"""One verb of the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jsonargparse import ArgumentParser, Namespace

__all__ = ["Verb"]


class Verb(NamedTuple):
    """What it does, one sentence for `--help`, and what it takes."""

    run: Callable[[Namespace], None]
    purpose: str
    add_options: Callable[[ArgumentParser], None]
