"""The pages under docs/: they build without a warning, and every block of code in them runs, or says that it does not.

The language of a block says which:

| language | what it is | what is done with it |
|---|---|---|
| `python` | a session (`>>>`), or a file of examples/ that is included | run as a doctest; files by test_examples.py |
| `bash` | commands, a line each, that run as they stand | run, page by page in order; see `run_line` |
| `sh` | commands that want a server, a cluster or the reader's own data | options are checked, nothing runs |
| `yaml` | a `channels.yaml` | parsed |
| `text` | output, formulas | nothing; it may not begin with a command |

Any other language fails.
"""

import doctest
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import anychan
from anychan.cli import _build_parser, main
from anychan.data.channels_file import ChannelsFile
from tests.runs import RGB_SPLIT, ROOT, Array, pam, write_tree

DOCS = ROOT / "docs"
DEMO_TILES = ROOT / "src" / "anychan" / "demo_data" / "eurosat-s2-32.zip"
PAGES = sorted(DOCS.rglob("*.md"))
LANGUAGES = ("python", "bash", "sh", "yaml", "text")
# The commands of these are run with the data of their sensors, in test_examples.py.
SENSORS = ("satellite", "microscopy", "hyperspectral")
# Python that no doctest can run, and where it is run.
ELSEWHERE = {"serve": "tests/e2e/test_serve.py"}
on_every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block; indented fences too."""
    found: list[tuple[str, list[str]]] = []
    fence = ""
    for line in text.splitlines():
        mark = re.match(r"\s*(`{3,}|~{3,})(.*)", line)
        if mark and not fence:
            fence = mark[1]
            found.append((mark[2].strip(), []))
        elif mark and mark[1] == fence and not mark[2]:
            fence = ""
        elif fence:
            found[-1][1].append(line)
    assert not fence, "a block does not end"
    return [(language, "".join(f"{line}\n" for line in lines)) for language, lines in found]


def of_language(page: Path, language: str) -> list[str]:
    return [content for found, content in blocks(page.read_text(encoding="utf-8")) if found == language]


def command_lines(contents: list[str]) -> list[str]:
    """Lines of commands, those that go on in the next one joined."""
    lines = "".join(contents).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_pages_build_without_a_warning(site: Path) -> None:
    page = (site / "two-reports" / "index.html").read_text()
    assert page.count("<table>") >= 8
    for source in re.findall(r'<img [^>]*src="([^"]+)"', page):
        assert (site / "two-reports" / source).exists()


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """Links that a reader may click are no loading; mkdocs.yml has no address of the site, so `link` is local too."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # and 404.html
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'src="(?:https?:)?//[^"]*"', text) == [], page
        assert re.findall(r'<link [^>]*href="(?:https?:)?//[^"]*"', text) == [], page
        assert "@import" not in text
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")) == [], sheet


def test_reference_has_every_public_name(site: Path) -> None:
    page = (site / "api" / "anychan" / "index.html").read_text(encoding="utf-8")
    headings = re.findall(r'<h3 id="anychan\.([A-Za-z0-9_]+)"', page)
    assert sorted(headings) == sorted(anychan.__all__)


def test_reference_gives_docstrings(site: Path) -> None:
    page = (site / "api" / "anychan" / "index.html").read_text(encoding="utf-8")
    assert "what stands in for absent channels" in page
    assert "Parameters:" in page
    assert "Raises:" in page


BROKEN = {
    "[a](nowhere.md)": "contains a link 'nowhere.md', but the target is not found",
    "[a](#nowhere)": "contains a link '#nowhere', but there is no such anchor on this page",
    "[a](other.md#nowhere)": "the doc 'other.md' does not contain an anchor '#nowhere'",
    "[a](/other.md)": "contains an absolute link '/other.md'",
    "![a](images/nowhere.png)": "contains a link 'images/nowhere.png', but the target is not found",
}


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("\n\n".join(BROKEN), tuple(BROKEN.values())),
        ('```python\n--8<-- "examples/nowhere.py"\n```', ("examples/nowhere.py",)),
    ],
    ids=["links", "files"],
)
def test_what_is_broken_fails_the_build(text: str, warnings: tuple[str, ...], tmp_path: Path) -> None:
    """With this project's own rules, on two pages."""
    ours = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    kept = {key: ours[key] for key in ("validation", "markdown_extensions")}
    config = {"site_name": "a", "plugins": [], "nav": ["index.md", "other.md"], **kept}
    pages = {"docs/index.md": f"# One\n\n{text}\n", "docs/other.md": "# Other\n"}
    write_tree(tmp_path, {"mkdocs.yml": yaml.safe_dump(config), **pages})
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert [warning for warning in warnings if warning not in done.stderr] == []


def test_blocks_are_found() -> None:
    text = "```python\na\n```\nb\n- c\n\n  ~~~\n  d\n  ~~~\n````sh\n```\n````\n"
    assert blocks(text) == [("python", "a\n"), ("", "  d\n"), ("sh", "```\n")]


@on_every_page
def test_every_block_is_of_a_known_language(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [language for language, _ in blocks(text) if language not in LANGUAGES] == []
    assert not re.search(r"\n\n    (?:>>> |\$ |anychan )", text), "code that is indented only, in no fence"
    for content in of_language(page, "text"):
        assert not re.match(r"(?:\$ )?(?:anychan|python|pip|make|torchrun) ", content), content


@on_every_page
def test_python_runs(page: Path) -> None:
    sessions = []
    for content in of_language(page, "python"):
        if included := re.fullmatch(r'--8<-- "(examples/(\w+)\.py)"\n', content):
            assert f'load_example("{included[2]}")' in (ROOT / "tests" / "test_examples.py").read_text()
        elif content.startswith(">>> "):
            sessions.append(content)
        else:
            assert f"docs/{page.name}" in (ROOT / ELSEWHERE[page.stem]).read_text()
    examples = doctest.DocTestParser().get_doctest("\n".join(sessions), {}, page.name, str(page), 0)
    assert doctest.DocTestRunner().run(examples).failed == 0


@on_every_page
def test_yaml_says_channels(page: Path) -> None:
    for content in of_language(page, "yaml"):
        assert len(ChannelsFile.parse(content, page.name).channels) >= 2


@on_every_page
def test_commands_for_the_reader_have_their_options(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands around them, such as `torchrun`; comments and shell variables are the reader's."""
    monkeypatch.chdir(ROOT)
    for line in command_lines(of_language(page, "sh")):
        words = shlex.split(line, comments=True)
        if "anychan" in words[:-1]:
            words = ["recipes/quickstart.yaml" if word == "recipe.yaml" else word for word in words]
            _build_parser().parse_args(words[words.index("anychan") + 1 :])
        for script in (word for word in words if word.endswith(".py")):
            assert (ROOT / script).is_file(), line


def pam_copies(folder: Path) -> Path:
    """The drawings' files as PAM, with their split files."""
    for split in RGB_SPLIT.glob("*.txt"):
        write_tree(folder, {split.name: re.sub(r"\.(?:png|jpe?g)\b", ".pam", split.read_text())})
    for image in (path for path in RGB_SPLIT.rglob("*.*") if path.suffix != ".txt"):
        pixels: Array = np.asarray(Image.open(image).convert("RGB"))
        write_tree(folder, {str(image.relative_to(RGB_SPLIT).with_suffix(".pam")): pam(pixels)})
    return folder


def run_line(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`anychan …`, or `python examples/NAME.py …`, in this process; training for one epoch."""
    program, *words = words
    script = words.pop(0) if program == "python" else ""
    words += ["--train.epochs", "1", "--train.warmup_epochs", "0"] if words[0] == "train" else []
    if not script:
        assert program == "anychan"
        assert main(words) == 0
        return
    monkeypatch.setattr(sys, "argv", [script, *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert ended.value.code == 0


@pytest.mark.usefixtures("own_parts")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem not in (*SENSORS, "quickstart")], ids=lambda page: page.stem
)
def test_commands_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, but for the data (three classes of drawings), the size and one epoch."""
    monkeypatch.chdir(ROOT)
    for line in command_lines(of_language(page, "bash")):
        if "path/to/pam" in line and not (tmp_path / "pam-data").exists():
            pam_copies(tmp_path / "pam-data")
        line = line.replace("path/to/data", str(RGB_SPLIT)).replace("path/to/pam", str(tmp_path / "pam-data"))
        run_line(shlex.split(line.replace("runs/", f"{tmp_path}/")), monkeypatch)


def test_quick_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, but for the size, one epoch, few subsets, and the demo, which test_demo.py sees to.

    What the page names is there at the end. test_newcomer.py runs the page as it stands.
    """
    monkeypatch.chdir(tmp_path)
    page = DOCS / "quickstart.md"
    first, *lines = command_lines(of_language(page, "bash"))
    assert first == "anychan demo --out first"
    write_tree(tmp_path / "first", {"tiles.zip": DEMO_TILES.read_bytes(), "demo.png": b""})
    assert [line.split()[1] for line in lines] == ["train", "evaluate", "report", "predict"]
    for line in lines:
        less = ["--sample", "2"] if line.startswith("anychan evaluate") else []
        run_line([*shlex.split(line.replace("--data.size 32", "--data.size 8")), *less], monkeypatch)
    named = set(re.findall(r"`(first/[\w./-]+)`", page.read_text()))
    assert len(named) >= 4
    assert {name for name in named if not (tmp_path / name).exists()} == set()
    assert len((tmp_path / "first" / "classes.csv").read_text().splitlines()) == 201
