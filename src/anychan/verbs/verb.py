"""One verb of the command line, or several under one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jsonargparse import ArgumentParser, Namespace

__all__ = ["Verb", "group"]


class Verb(NamedTuple):
    """What it does, one sentence for `--help`, and what it takes."""

    run: Callable[[Namespace], None]
    purpose: str
    add_options: Callable[[ArgumentParser], None]


def group(purpose: str, verbs: Mapping[str, Verb]) -> Verb:
    """A verb that is several, as `anychan data describe` is one of `anychan data`."""

    def add_options(parser: ArgumentParser) -> None:
        inner = parser.add_subcommands(required=True, dest="subcommand")
        for name, verb in verbs.items():
            options = type(parser)(description=verb.purpose, allow_abbrev=False)
            inner.add_subcommand(name, options, help=verb.purpose)
            verb.add_options(options)

    def run(options: Namespace) -> None:
        verbs[options.subcommand].run(options[options.subcommand])

    return Verb(run, purpose, add_options)
