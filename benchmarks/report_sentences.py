"""The sentences of docs/two-reports.md that hold figures, from `reports-cpu.json` alone."""

from __future__ import annotations

import json
from collections.abc import Callable

from report_tables import load_rows, printed_ratio, ratio_text, rows_of
from results_file import RESULTS, percent

__all__ = ["REPORT_SENTENCES"]


def pruning() -> str:
    """What pruning found."""
    row = next(row for row in load_rows() if row["row"].endswith("/pruned") and row["seed"] == 0)
    left = row["kernels_left"]
    return (
        f"Of {4 * len(left)} kernels in {len(left)} layers, {row['kernels_never_chosen']} were chosen for no training "
        f"image; without them {sum(left)} are left."
    )


def evidence() -> str:
    """How much 450 images can say."""
    wide, rival = rows_of("2B")
    first, second = (round(row["printed"]["accuracy"] * row["printed"]["n"]) for row in (wide, rival))
    rb, rgb = (next(row for row in rows_of("2A") if row["row"].endswith(f"_{name}")) for name in ("rb", "rgb"))
    more, fewer = (round(row["printed"]["accuracy"] * row["printed"]["n"]) for row in (rb, rgb))
    return (
        f"Every accuracy in both reports is a multiple of 1/{wide['printed']['n']}. Report 2's WideCNN4 is right on "
        f"{first} images and its ResNet34 on {second}: a ratio of {printed_ratio(wide, rival)}. Its "
        f"DynamicResNet12 is right on {more} images from R and B, and on {fewer} from R, G and B."
    )


def miscounted() -> str:
    """What report 1's counter did not see."""
    row, cost = rows_of("1A")[0], rows_of("1A", "cost")[0]
    ratio = cost["macs"] / row["printed"]["macs"]
    return (
        f"The report's MACs of the dynamic networks lack what its counter could not see, the generated convolution: "
        f"{row['printed']['title']} costs {ratio:.1f} times what it printed."
    )


def best_1b() -> str:
    """Report 1's best small network, there and here."""
    rows = rows_of("1B")
    rival, small = rows[0], rows[1:]
    best = max(small, key=lambda row: row["printed"]["accuracy"])
    return (
        f"Its best was {best['printed']['title']}: {printed_ratio(best, rival)} of its ResNet34. Here, after "
        f"{best['here']['epochs']} epochs, it reaches {ratio_text(best, rival)} of a ResNet34 that was trained alike "
        "and has far from converged."
    )


def halved() -> str:
    """What report 2 calls FLOPs."""
    macs = rows_of("2A")[0]["printed"]["macs"]
    return (
        f'The report prints {2 * macs / 1e9:.3f} G "FLOPs" for DynamicResNet12, two for each MAC of four convolutions '
        "a layer; they are halved here (in task B it prints MACs). Mixing the four kernels first computes the same for "
        "less: that is what the next column counts, the mixing included."
    )


def few_steps() -> str:
    """What so few steps mean for the comparison of report 2, task B."""
    wide, rival = rows_of("2B")
    here = rival["here"]
    steps = here["epochs"] * -(-here["train_images"] // here["batch_size"])
    ends = [f"{100 * row['curves'][-1]['train_accuracy']:.0f} %" for row in (rival, wide)]
    return (
        f"{here['epochs']} epochs of {here['train_images']:,} images are {steps} steps. At this learning rate that is "
        f"too few for ResNet34, which ends at {ends[0]} on its own training images (WideCNN4: {ends[1]}), so the ratio "
        "here speaks of the reduction, not of the networks."
    )


def weak() -> str:
    """Rows whose lower bound is not above twice chance."""
    rows = [row for row in load_rows() if row["kind"] == "report"]
    below = [row for row in rows if row["test"]["low"] <= 2 / row["here"]["classes"]]
    good = f"{len(rows) - len(below)} of {len(rows)} systems have a lower bound above twice chance"
    if not below:
        return f"{good}: all of them."
    lines = [f"- {row['printed']['title']}: {percent(row['test'])}" for row in below]
    return "\n".join([f"{good}. These have not:", "", *lines])


def setting() -> str:
    """Where the figures come from."""
    found = json.loads((RESULTS / "reports-cpu.json").read_text())
    minutes = sum(row["here"]["train_seconds"] for row in found["rows"] if row["kind"] in ("report", "suggestion")) / 60
    threads = sorted({str(row["here"]["threads"]) for row in found["rows"] if "here" in row})
    machine = f"{found['rows'][0]['hardware'].split(',')[0]}, PyTorch {found['versions']['torch']}"
    return (
        f"`{found['command']}`, {found['date']}, {machine}, {'/'.join(threads)} thread a row, "
        f"{minutes:.0f} minutes of training in all, two rows at a time, so half of that by the clock. The "
        "times are of a machine that also did other work: read them as orders of magnitude."
    )


REPORT_SENTENCES: dict[str, Callable[[], str]] = {
    "setting": setting,
    "evidence": evidence,
    "miscounted": miscounted,
    "best_1b": best_1b,
    "few_steps": few_steps,
    "halved": halved,
    "pruning": pruning,
    "weak": weak,
}
