"""The report by the installed command, and in a real browser."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from anychan.cli import main
from tests.browser import Browser
from tests.runs import RGB_SPLIT, copy_of, options_of, run_anychan, small_recipe

EVIL = "<script>alert(1)</script>"
SECTIONS = ["training", "subsets", "worth", "sensor", "confusion", "mistakes", "cost", "recipe", "origin"]
VOID = {"meta", "link", "img", "br", "wbr", "path", "line", "rect", "circle", "polyline"}


class Page(HTMLParser):
    """Elements of a page, which must be closed in the order in which they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of data with a class and files of evil names, the first evaluated."""
    folder = tmp_path_factory.mktemp("report")
    data = copy_of(RGB_SPLIT, folder)
    (data / "classes.txt").write_text(f"0 {EVIL}\n1 square\n2 stripe\n")
    (data / "images" / "circle" / "circle_6.jpg").rename(data / "images" / "circle" / '"><img src=x>.jpg')
    split = data / "test.txt"
    split.write_text(split.read_text().replace("circle_6.jpg", '"><img src=x>.jpg'))
    for name, options in (("<b>any<b>", ["--train.channel_sampling", "uniform"]), ("plain", [])):
        recipe = options_of(small_recipe(data, epochs=1, lr=1e-5))
        assert main(["train", *recipe, *options, "--out", str(folder / name)]) == 0
    assert main(["evaluate", str(folder / "<b>any<b>")]) == 0
    return folder / "<b>any<b>", folder / "plain"


@pytest.fixture(scope="module")
def page(runs: tuple[Path, Path]) -> Path:
    """The report of both, by the installed command."""
    path = runs[0].parent / "report.html"
    code, out, err = run_anychan("report", *runs, "--out", path)
    assert (code, out, err) == (0, f"written: {path}\n", "")
    return path


def test_page_is_whole_and_asks_nobody(page: Path) -> None:
    found = Page(page.read_text())
    assert page.stat().st_size < 300_000
    assert not [tag for tag, _ in found.tags if tag in ("script", "iframe", "object", "form")]
    assert set(re.findall(r"url\(|@import|https?:", page.read_text())) == set()
    assert all(source.startswith("data:") for source in found.values("src"))
    links = [link for link in found.values("href") if link != "data:,"]
    assert {link.removeprefix("#") for link in links} <= set(found.values("id"))
    assert len(set(found.values("id"))) == len(found.values("id"))
    assert all(attributes.get("alt") for tag, attributes in found.tags if tag == "img")
    ids = set(found.values("id"))
    assert {"comparison", *(f"run-{number}-{name}" for number in (1, 2) for name in SECTIONS)} <= ids
    assert [tag for tag, _ in found.tags if tag in ("h1", "h2")] == ["h1", "h2", "h2", "h2"]
    assert "<b>any<b>" in found.text


def test_names_stay_text(page: Path) -> None:
    found = Page(page.read_text())
    assert EVIL in found.text
    assert '"><img src=x>.jpg' in found.text
    assert [source for source in found.values("src") if not source.startswith("data:image/png")] == []


def test_what_is_not_there_is_told(page: Path, runs: tuple[Path, Path]) -> None:
    text = Page(page.read_text()).text
    assert text.count(f"Subsets of the channels were not evaluated yet. Run anychan evaluate {runs[1]}") == 3
    assert "Shapley values in points of accuracy" in text  # of the first run


def test_one_run_has_its_report_in_its_folder(runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "run"))
    assert main(["report", str(run)]) == 0
    found = Page((run / "report.html").read_text())
    assert "comparison" not in found.values("id")
    assert [tag for tag, _ in found.tags if tag in ("h1", "h2")] == ["h1", *["h2"] * len(SECTIONS)]


# how far each text's luminance is from what is painted below it (WCAG 2.2, contrast ratio)
CONTRAST = """(() => {
  const colour = text => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const light = rgb => { const [r, g, b] = rgb.map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = node => { const [r, g, b, alpha] = colour(getComputedStyle(node).backgroundColor);
    if (alpha == 1 || !node.parentElement) return alpha ? [r, g, b] : [255, 255, 255];
    const below = ground(node.parentElement);
    return [r, g, b].map((value, i) => alpha * value + (1 - alpha) * below[i]); };
  return [...document.querySelectorAll("p, dd, dt, th, td, h1, h2, h3, a, summary, code, li, b, span")]
    .filter(node => node.innerText).map(node => {
      const both = [light(colour(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => b - a);
      return [(both[0] + 0.05) / (both[1] + 0.05), node.outerHTML.slice(0, 80)]; });
})()"""
HIDDEN = """[...document.querySelectorAll("section, article, figure, img, h1, h2, h3")].filter(node => {
  const box = node.getBoundingClientRect();
  return !node.closest("details") && (box.width < 20 || box.height < 15 || box.left < 0 ||
    (box.right > innerWidth && !node.closest(".scroll")));
}).map(node => node.outerHTML.slice(0, 80))"""
CUT = """[...document.querySelectorAll(".chart svg")].flatMap(svg => [...svg.querySelectorAll("text")].filter(text => {
  const box = text.getBoundingClientRect(), all = svg.getBoundingClientRect();
  return box.left < all.left - 1 || box.right > all.right + 1 || box.bottom > all.bottom + 1;
}).map(text => text.textContent))"""


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_page_in_a_browser(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.complaints(), browser.requests()
    browser.show(page, width=width, dark=dark)
    assert browser.complaints() == []
    asked = [address for address in browser.requests() if not address.startswith("data:")]
    assert asked == [page.as_uri()]
    resources = browser.ask("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in resources if not name.startswith("data:")] == []
    assert browser.ask("innerWidth") == width
    assert browser.ask("document.documentElement.scrollWidth") == width
    assert browser.ask(HIDDEN) == []
    assert browser.ask(CUT) == []
    assert browser.ask("[...document.images].every(image => image.complete && image.naturalWidth >= 16)")
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", ground)[0]) < 64) == dark
    contrasts = browser.ask(CONTRAST)
    assert len(contrasts) > 100
    assert [entry for entry in contrasts if entry[0] < 4.5] == []
    wide = "[...document.querySelectorAll('.scroll')].filter(node => node.scrollWidth > node.clientWidth).length"
    assert (browser.ask(wide) > 0) == (width == 390)  # tables scroll by themselves there


@pytest.mark.browser
def test_browser_test_sees_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    """A page that asks a server, is too wide, hides a section and speaks to the console."""
    style = "<style>body { width: 900px } p { color: #999; background: #aaa }</style>"
    bad = "<p>faint</p><section></section><img src='http://127.0.0.1:9/x.png'><script>console.error('no')</script>"
    (tmp_path / "bad.html").write_text(f"<!doctype html>{style}{bad}")
    browser.complaints(), browser.requests()
    browser.show(tmp_path / "bad.html", width=390, dark=False)
    assert any("no" in text for text in browser.complaints())
    assert "http://127.0.0.1:9/x.png" in browser.requests()
    assert browser.ask("document.documentElement.scrollWidth") > 390
    assert len(browser.ask(HIDDEN)) >= 1
    assert browser.ask(CONTRAST)[0][0] < 4.5
