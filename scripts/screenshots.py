"""Take the docs' pictures of `anychan report` and `anychan serve demo`, in Debian's Chromium, from real runs.

anychan demo --out demo-run
anychan evaluate demo-run/any-channel --shapley 50 --search greedy
python scripts/screenshots.py demo-run/any-channel demo-run/plain
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser import Browser, open_browser  # noqa: E402

from anychan.deploy.serve import page_server  # noqa: E402
from anychan.errors import AnychanError  # noqa: E402
from anychan.files import replacing  # noqa: E402
from anychan.report.page.write import write_page  # noqa: E402

WIDTH, PHONE = 1280, 390  # pixels
MOST_HEIGHT = 1540
EXAMPLE, OFF = 1, (7, 10)  # a forest, and bands that are switched off: B08 and B11


def main(arguments: list[str] | None = None) -> int:
    """Write report-light.png, -dark.png, -phone.png, -compare.png and serve.png; 2 for a user's error."""
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
            save(served(browser), asked.out / "serve.png")
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


def served(browser: Browser) -> Image.Image:
    """The page of the package's model: an example, then two of its bands switched off."""
    wait = WebDriverWait(browser.driver, 60)
    with page_server("demo", port=7861) as page:
        browser.show(str(page.local_url), width=WIDTH, dark=False)
        wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, ".gallery-item"))[EXAMPLE].click()
        wait.until(lambda driver: "From all" in driver.find_element(By.ID, "change").text)
        for number in OFF:
            browser.driver.find_elements(By.CSS_SELECTOR, "#channels input[type=checkbox]")[number].click()
            wait.until(lambda driver: "Now" in driver.find_element(By.ID, "change").text)
        time.sleep(2)  # until the last answer's pictures are there
        return browser.picture(left=0, top=0, width=WIDTH, height=place(browser, "#pictures", "bottom") + 24)


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
