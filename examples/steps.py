"""What the three examples share: their options, and `anychan` as one would type it in a shell."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from anychan.cli import main

__all__ = ["FEW_EPOCHS", "anychan", "parse_options"]

FEW_EPOCHS = ["--train.epochs", "2", "--train.warmup_epochs", "0"]


def parse_options(purpose: str | None, **data: str) -> argparse.Namespace:
    """The options of an example; its folder is made.

    Args:
        purpose: for `--help`, the example's docstring.
        data: name of an option that takes a file of data → its help.
    """
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, text in data.items():
        parser.add_argument(f"--{option}", type=Path, help=text)
    parser.add_argument(
        "--out", type=Path, default=Path("runs") / name, help=f"the folder to make; default: runs/{name}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="train for seconds, to see that all runs; it learns little"
    )
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    return asked


def anychan(*words: object) -> None:
    """Show a command and run it in this process; leave with its exit code if it fails."""
    texts = [str(word) for word in words]
    print(f"\n$ anychan {shlex.join(texts)}", flush=True)
    if code := main(texts):
        sys.exit(code)
