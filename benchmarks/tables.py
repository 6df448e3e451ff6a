"""Write the tables and pictures of README and docs from the result files.

Tables stand between `<!-- table: NAME -->` and `<!-- end -->`.

python benchmarks/tables.py            # rewrite README.md and docs/
python benchmarks/tables.py --check    # exit 1 when a page differs
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from band_tables import BAND_PICTURES, BAND_TABLES
from band_tables import draw as draw_bands
from channel_tables import CHANNEL_PICTURES, CHANNEL_TABLES
from channel_tables import draw as draw_channels
from depth_tables import DEPTH_PICTURES, DEPTH_TABLES
from depth_tables import draw as draw_depths
from report_sentences import REPORT_SENTENCES
from report_tables import PICTURES, REPORT_TABLES, draw
from results_file import RESULTS, percent
from scale_tables import SCALE_TABLES
from shallow_front import front as shallow_front
from shallow_plots import SHALLOW_PICTURES
from shallow_plots import draw as draw_shallow
from shallow_steps import STEP_TABLES
from shallow_tables import SHALLOW_TABLES
from speed_plots import SPEED_PICTURES
from speed_plots import draw as draw_speed
from speed_tables import SPEED_TABLES
from trust_tables import TRUST_TABLES

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = (
    "channels",
    "depth",
    "hyperspectral",
    "index",
    "microscopy",
    "reliability",
    "satellite",
    "scale",
    "shallow",
    "speed",
    "two-reports",
)
PAGES = (README, *(ROOT / "docs" / f"{name}.md" for name in DOCS))
IMAGES = ROOT / "docs" / "images"


def _load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())  # type: ignore[no-any-return]


def dynamic() -> str:
    """DynamicResNet12 on every subset."""
    rows = [row for row in _load("first_light-cpu")["rows"] if row["recipe"] == "dynamic_resnet12"]
    names = [" ".join(subset["channels"]) for subset in rows[0]["subsets"]]
    lines = ["| batch-norm statistics | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for row in rows:
        lines.append(f"| {row['batch_norm']} | " + " | ".join(percent(subset) for subset in row["subsets"]) + " |")
    facts = rows[0]
    note = (
        f"{facts['model']}, {facts['classes']} classes, {facts['size']}×{facts['size']} pixels, "
        f"{facts['epochs']} epochs, "
        f"{facts['train_seconds'] / 60:.0f} minutes of training; n = {facts['subsets'][0]['n']}."
    )
    return "\n".join([*lines, "", note])


def models() -> str:
    """The catalogue."""
    from anychan.profiling.macs import catalog_profiles

    lines = ["| name | parameters | MACs | input | classes | source |", "|---|---|---|---|---|---|"]
    for row in catalog_profiles():
        size = "×".join(map(str, row["input_shape"][1:]))
        counts = f"{row['params']:,} | {row['macs']:,} | {size} | {row['num_classes']}"
        lines.append(f"| `{row['name']}` | {counts} | {row['source']} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[], str]] = {
    "dynamic": dynamic,
    "models": models,
    **BAND_TABLES,
    **CHANNEL_TABLES,
    **DEPTH_TABLES,
    **REPORT_TABLES,
    **REPORT_SENTENCES,
    **SCALE_TABLES,
    **SHALLOW_TABLES,
    **STEP_TABLES,
    **SPEED_TABLES,
    **TRUST_TABLES,
    "shallow_front": shallow_front,
}

# pictures, and what draws each of them
DRAWN: list[tuple[Iterable[str], Callable[[str, Path], object]]] = [
    (PICTURES, draw),
    (CHANNEL_PICTURES, draw_channels),
    (BAND_PICTURES, draw_bands),
    (DEPTH_PICTURES, draw_depths),
    (SHALLOW_PICTURES, draw_shallow),
    (SPEED_PICTURES, draw_speed),
]


def render(text: str) -> str:
    """A page with every table made anew."""

    def fill(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


def main() -> int:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    pages = {page: page.read_text(encoding="utf-8") for page in PAGES}
    if options.check:
        return int(any(render(text) != text for text in pages.values()))
    for page, text in pages.items():
        page.write_text(render(text), encoding="utf-8")
    for names, draw_one in DRAWN:
        for name in names:
            draw_one(name, IMAGES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
