"""What each change gives: the ladder from WideCNN4 to ours, and the ablations. Tables of docs/shallow.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from results_file import select
from shallow_claims import Rows, chosen_widths, difference, figure, main_rows
from shallow_rows import SCALES
from shallow_systems import ABLATIONS, LADDER, Step
from shallow_tables import accuracy_cell, load_rows

from anychan.report.tables import markdown_table

__all__ = ["STEP_TABLES"]


def _steps(steps: Sequence[Step], title: str, *, over_first: bool) -> str:
    """A row a step that was trained: accuracy, and the gain over the first step or over the one before."""
    rows = load_rows()
    chosen, seeds = chosen_widths(rows), range(SCALES["cpu"].ladder_seeds)
    before: Rows = []
    lines = []
    for step in steps:
        system = chosen.get(step.system, step.system)
        found = [row for row in main_rows(rows, system, step.recipe, step.setting) if row["seed"] in seeds]
        if not found:
            continue
        gain = ""
        if before:
            gain = "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in difference(found, before)))
        setting = SCALES["cpu"].settings[step.setting]
        size = {"size": setting.size, "classes": setting.classes}
        cost = next(iter(select(rows, kind="cost", system=system, **size)), None)
        counts = [f"{cost['params']:,}", f"{cost['macs']:,}"] if cost else ["", ""]
        by_seed = ", ".join(f"{100 * figure(row)['accuracy']:.1f}" for row in found)
        lines.append([step.title, accuracy_cell(found), by_seed, gain, *counts])
        if not (over_first and before):
            before = found
    return markdown_table([title, "test", "by seed", "gain, points", "parameters", "MACs"], lines)


STEP_TABLES: dict[str, Callable[[], str]] = {
    "shallow_ladder": lambda: _steps(LADDER, "change", over_first=False),
    "shallow_ablations": lambda: _steps(ABLATIONS, "network", over_first=True),
}
