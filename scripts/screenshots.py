"""Take the docs' pictures of `anychan report`, in Debian's Chromium, from real runs.

anychan demo --out demo-run
anychan evaluate demo-run/any-channel --shapley 50 --search greedy
python scripts/screenshots.py demo-run/any-channel demo-run/plain
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser import Browser, open_browser  # noqa: E402

from anychan.errors import AnychanError  # noqa: E402
from anychan.files import replacing  # noqa: E402
from anychan.report.page.write import write_page  # noqa: E402

WIDTH, PHONE = 1280, 390  # pixels
MOST_HEIGHT = 1540


def main(arguments: list[str] | None = None) -> int:
    """Write report-light.png, -dark.png, -phone.png and -compare.png; 2 for a user's error, told in one sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="an evaluated run's folder")
    parser.add_argument("other", type=Path, help="another run's folder, to compare with")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="the folder for the pictures")
    asked = parser.parse_args(arguments)
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            print(f"error: {program} is not installed; `make browser` installs it on Debian", file=sys.stderr)
            return 2
    try:
        with TemporaryDirectory() as folder, open_browser() as browser:
            one = write_page([str(asked.run)], out=f"{folder}/one.html")
            both = write_page([str(asked.run), str(asked.other)], out=f"{folder}/both.html")
            take(browser, one, both, asked.out)
    except AnychanError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def take(browser: Browser, one: Path, both: Path, out: Path) -> None:
    """All pictures."""
    browser.show(one, width=WIDTH, dark=False)
    save(cut(browser, "#run-1", "#run-1-subsets"), out / "report-light.png")
    browser.show(one, width=WIDTH, dark=True)
    save(cut(browser, "#run-1-worth", "#run-1-confusion"), out / "report-dark.png")
    browser.show(one, width=PHONE, dark=False)
    save(phones(browser, ["#run-1", "#run-1-sensor", "#run-1-mistakes"]), out / "report-phone.png")
    browser.show(both, width=WIDTH, dark=False)
    save(cut(browser, "header", "#comparison"), out / "report-compare.png")


def place(browser: Browser, element: str, side: str) -> float:
    """Where an element begins (`top`) or ends (`bottom`), from the page's upper end."""
    return float(browser.ask(f"document.querySelector('{element}').getBoundingClientRect().{side} + scrollY"))


def cut(browser: Browser, first: str, last: str) -> Image.Image:
    """The page from the first element to the end of the last one, if that is not too long."""
    top = max(0.0, place(browser, first, "top") - 24)
    height = min(MOST_HEIGHT, place(browser, last, "bottom") + 24 - top)
    return browser.picture(left=0, top=top, width=WIDTH, height=height)


def phones(browser: Browser, elements: list[str], *, height: int = 980, gap: int = 30) -> Image.Image:
    """Screens that begin with these elements, side by side."""
    found = Image.new("RGB", (len(elements) * (PHONE + gap) - gap, height), "white")
    for number, element in enumerate(elements):
        top = max(0.0, place(browser, element, "top") - 16)
        found.paste(browser.picture(left=0, top=top, width=PHONE, height=height), (number * (PHONE + gap), 0))
    return found


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG."""
    with replacing(path) as partial:
        picture.save(partial, "PNG", optimize=True)
    print(f"{path}: {picture.width}x{picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    raise SystemExit(main())
