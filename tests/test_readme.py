"""What the README says is run here: its Python, its commands (on small data), its links."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

from anychan.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RGB_SPLIT = ROOT / "tests" / "fixtures" / "rgb_split"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python() -> None:
    text = "\n".join(blocks("python"))
    examples = doctest.DocTestParser().get_doctest(text, {}, "README", "README.md", 0)
    assert len(examples.examples) >= 6
    found = doctest.DocTestRunner().run(examples)
    assert found.failed == 0


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As they stand, but for the data (three classes of drawings) and one epoch."""
    monkeypatch.chdir(ROOT)
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("anychan ")]
    assert [shlex.split(line)[1] for line in lines] == ["train", "evaluate"]
    small = "--data.num_classes 3 --train.epochs 1 --train.warmup_epochs 0"
    for line in lines:
        line = line.replace("path/to/tiny-imagenet-50.zip", str(RGB_SPLIT)).replace("runs/", f"{tmp_path}/")
        words = shlex.split(line)[1:]
        assert main(words + (shlex.split(small) if words[0] == "train" else [])) == 0
    assert "saved batch-norm statistics" in " ".join(capsys.readouterr().out.split())


def test_links() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)", README):
        assert f"\n{target}:" in makefile, target
