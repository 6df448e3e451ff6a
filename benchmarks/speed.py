"""How fast anychan is, beside its peers, in one process and in turns; ends with exit code 1 where a promise fails.

python benchmarks/speed.py --scale cpu --data path/to/tiny-imagenet-50.zip
"""

from __future__ import annotations

import argparse
import sys
import time

import speed_conv
import speed_loop
import speed_memory
import speed_models
import speed_predict
import speed_roofline
import speed_start
from results_file import ResultFile
from speed_claims import claims

from anychan.allocator import keep_freed_memory

__all__ = ["SECTIONS", "claims", "main"]

SECTIONS = ("conv", "models", "memory", "loop", "predict")


def run(section: str, results: ResultFile, scale: str, data: str) -> None:
    """Measure one section; its rows take the place of those that were there."""
    if section == "conv":
        speed_roofline.measure(results)
        speed_conv.measure(results)
    elif section == "models":
        speed_models.measure(results)
    elif section == "memory":
        speed_memory.measure(results)
    elif section == "loop":
        speed_start.measure(results, data)
        speed_loop.measure(results, scale, data)
    else:
        speed_predict.measure(results, data)


def main() -> None:
    """Parse options, run, and name what falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--data", required=True, help="tiny-imagenet-50.zip")
    parser.add_argument("--only", choices=SECTIONS, nargs="*", default=SECTIONS, help="these sections alone")
    options = parser.parse_args()
    keep_freed_memory()  # as `anychan train` does
    results = ResultFile("speed", options.scale, claims)
    for section in options.only:
        began = time.monotonic()
        run(section, results, options.scale, options.data)
        print(f"{section}: {time.monotonic() - began:.0f} s")
    short = []
    for found in claims(results.rows):
        print(f"{found['id']} = {found['value']:.3f} ({found['op']} {found['bound']}): holds {found['holds']}")
        short += [] if found["holds"] else [found["id"]]
    if short:
        sys.exit(f"falls short: {', '.join(short)}")


if __name__ == "__main__":
    main()
