"""One target in a process of its own: python fuzz/harness.py TARGET [--plant] [options of libFuzzer] CORPUS

`benchmarks/trust.py --only fuzz` runs all of them. An input that failed is written to the working folder, and read once
by: python fuzz/harness.py TARGET FILE
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["anychan"]):
    from targets import TARGETS

    from anychan.errors import AnychanError

    SEEDS = TARGETS[sys.argv[1]].seeds()  # what they import, too

SECONDS = 5  # of the processor: the clock on the wall also counts what else the machine does


def main(arguments: list[str]) -> None:
    """Write the seeds into the corpus folder, if it is one, and fuzz."""
    target, plant = TARGETS[arguments[1]], "--plant" in arguments
    options = [argument for argument in arguments[2:] if argument != "--plant"]
    corpus = Path(options[-1])
    if corpus.is_dir():
        for number, seed in enumerate(SEEDS):
            (corpus / f"seed-{number}").write_bytes(seed)

    def read(data: bytes) -> None:
        began = time.process_time()
        try:
            found = target.read(data)
        except AnychanError:
            found = None
        taken = time.process_time() - began
        if taken > SECONDS:
            raise TimeoutError(f"{taken:.1f} seconds for one file")
        if plant and found is not None and target.planted(found):
            raise RuntimeError("the planted bug")

    limits = [f"-max_len={target.longest}", "-timeout=120", "-rss_limit_mb=1024", "-detect_leaks=0"]
    atheris.Setup([arguments[0], *limits, *options], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
