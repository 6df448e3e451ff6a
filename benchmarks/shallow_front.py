"""The README's table of shallow networks, from `shallow-cpu.json`, and a sentence about `shallow-gpu.json`."""

from __future__ import annotations

from report_rows import REPORT_ROWS, TEST_IMAGES
from report_tables import printed_ratio, printed_text
from shallow_claims import Rows, best, chosen_widths, main_rows
from shallow_costs import fastest_row
from shallow_rows import SCALES
from shallow_systems import RESNETS
from shallow_tables import accuracy_cell, depth_cell, load_rows, ratio_cell

from anychan.report.tables import markdown_table

__all__ = ["front"]

# title → the report's row, and the network here; the first of each report is what its others are compared with
REPORTS = {
    "report 1: ResNet34": ("report1/resnet34", "resnet34_7x7"),
    "report 1: Simple2LayerCNN": ("report1/simple_2layer_cnn", "simple_2layer_cnn"),
    "report 1: Simple4LayerCNN": ("report1/simple_4layer_cnn", "simple_4layer_cnn"),
    "report 1: SE2LayerCNN": ("report1/se_2layer_cnn", "se_2layer_cnn"),
    "report 2: ResNet34": ("report2/resnet34", "resnet34_7x7"),
    "report 2: WideCNN4": ("report2/wide_cnn4", "wide_cnn4"),
}


def front() -> str:
    """Report 1's task B and report 2's Table II beside the same networks here, the best ResNet34, and ours."""
    rows = load_rows()
    rival, chosen = best(rows, RESNETS), chosen_widths(rows)
    lines = []
    for title, (name, system) in REPORTS.items():
        report = name.partition("/")[0]
        printed, theirs = ({"printed": REPORT_ROWS[row].to_dict()} for row in (name, f"{report}/resnet34"))
        ratio = "1" if name.endswith("resnet34") else printed_ratio(printed, theirs)
        lines.append([title, printed_text(printed), ratio, accuracy_cell(main_rows(rows, system, report))])
        lines[-1] += _best_cells(rows, system, rival)
    ours = {"ResNet34 given everything": rival[0]["system"]} if rival else {}
    ours |= {f"**ours: `{system}`**": system for system in chosen.values()}
    for title, system in ours.items():
        report = accuracy_cell(main_rows(rows, system, "report2"))
        lines.append([title, "", "", report, *_best_cells(rows, system, rival)])
    titles = ["network", "in the report", "over its ResNet34", "here, that recipe", "here, best recipe"]
    titles += ["over the best ResNet34", "layers", "one image"]
    return "\n\n".join(filter(None, (markdown_table(titles, lines), _note(rival), _gpu())))


def _note(rival: Rows) -> str:
    main, images = SCALES["cpu"].settings["main"], f", n = {rival[0]['test']['n']}" if rival else ""
    return (
        f"Test accuracy in %, 95 % intervals: n = {TEST_IMAGES} in the reports; here {main.classes} classes of Tiny "
        f"ImageNet at {main.size}×{main.size} pixels (40×40 where a network needs 37){images}. The networks below the "
        "reports' have report 2's recipe in the fourth column. Each network's best recipe is chosen on validation "
        "images; the reports' were trained for 40 epochs at most, the best ResNet34 and ours for 100 or more. "
        "Layers: of features, and of the classifier. One image: ms, one thread, the fastest of three engines."
    )


def _gpu() -> str:
    """The best ResNet34 and ours at the GPU's scale, in a sentence."""
    rows, main = load_rows("gpu"), SCALES["gpu"].settings["main"]
    rival = best(rows, RESNETS)
    if not rival:
        return ""
    ours = []
    for system in chosen_widths(rows).values():
        found = best(rows, [system])
        ours.append(f"`{system}` has {accuracy_cell(found)}, {ratio_cell(found, rival)} of that")
    return (
        f"On a GPU, with {main.classes} classes at {main.size}×{main.size} pixels, n = {rival[0]['test']['n']:,}, the "
        f"ResNet34 given everything has {accuracy_cell(rival)}; {'; '.join(ours)}."
    )


def _best_cells(rows: Rows, system: str, rival: Rows) -> list[str]:
    """Accuracy by the best recipe, its ratio to the rival, layers, and time of one image."""
    found, timed = best(rows, [system]), fastest_row(rows, system, threads=1)
    time = f"{timed['p50_ms']:.2f}" if timed else ""
    return [accuracy_cell(found), ratio_cell(found, rival), depth_cell(rows, system), time]
