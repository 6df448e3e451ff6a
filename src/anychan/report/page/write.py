"""`anychan report`: run folders → one HTML file, which asks nobody for anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.markup import escape

from anychan import __version__
from anychan.errors import ConfigError, RunError
from anychan.files import replacing
from anychan.report.compare import run_names
from anychan.report.page.chart import Absent
from anychan.report.page.comparison import compare_pages
from anychan.report.page.curves import COLOURS
from anychan.report.page.run import read_run
from anychan.report.tables import working
from anychan.training.run_folder import RunFolder

__all__ = ["report_path", "write_page"]


def report_path(runs: Sequence[str], out: str | None) -> Path:
    """Where the report goes: to `out`; else into the folder of a single run, or here.

    Raises:
        ConfigError: for a file that does not end in .html, is a folder, or lies in no folder.
    """
    if out is None:
        return Path(runs[0], "report.html") if len(runs) == 1 else Path("report.html")
    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out is {out}, but it must end in .html")
    if path.is_dir():
        raise ConfigError(f"--out is {out}, but that is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ConfigError(f"--out is {out}, but there is no folder {path.parent}; make it, or write elsewhere")
    return path


def write_page(runs: Sequence[str], *, out: str | None = None, data_path: str | None = None) -> Path:
    """Write the report of one run, or of several with their comparison.

    Args:
        runs: run folders.
        out: the file; see `report_path`.
        data_path: where the data lies now, if it moved.

    Returns:
        The file.

    Raises:
        ConfigError: for an `out` that cannot be.
        RunError: for a folder that is no run or is named twice, or when the file cannot be written.
    """
    path = report_path(runs, out)
    folders = [RunFolder(run) for run in runs]
    names = run_names([folder.path for folder in folders])
    for folder in folders:
        folder.load_recipe()  # before anything takes long
    with working("reading runs") as status:
        read = [
            read_run(name, folder, data_path=data_path, tell=lambda text: status.update(escape(text)))
            for name, folder in zip(names, folders, strict=True)
        ]
        compared = compare_pages([folder.path for folder in folders]) if len(runs) > 1 else None
    text = _environment().get_template("page.html").render(runs=read, compared=compared, version=__version__)
    try:
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path}: the report cannot be written there ({error.strerror})") from None
    return path


def _environment() -> Environment:
    """Templates whose every value is escaped, and in which a misspelt name is an error."""
    loader = PackageLoader("anychan.report.page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["zip"] = zip
    environment.tests["absent"] = lambda value: isinstance(value, Absent)
    environment.globals["colours"] = COLOURS
    return environment
