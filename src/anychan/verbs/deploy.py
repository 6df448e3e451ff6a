"""`anychan demo`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from anychan.verbs.verb import Verb

__all__ = ["VERBS"]


def _demo_options(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, default="demo-run", help="the folder to make")


def _demo(options: Namespace) -> None:
    from anychan.deploy.demo import run_demo

    run_demo(Path(options.out))


VERBS = {
    "demo": Verb(_demo, "Train on the satellite tiles inside the package, and compare.", _demo_options),
}
