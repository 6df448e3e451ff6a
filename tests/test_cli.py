import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from anychan import __version__
from anychan.cli import main
from anychan.errors import ConfigError, DataError
from anychan.recipe import Recipe
from tests.command import Command
from tests.runs import options_of, small_recipe

VERBS = ["train", "evaluate", "compare", "report", "data", "profile", "models", "predict", "share", "demo"]
SEVEN = ["R+G+B", "R+G", "R+B", "G+B", "R", "G", "B"]


@pytest.mark.parametrize(
    "arguments", [["--help"], *([verb, "--help"] for verb in VERBS), ["data", "describe", "--help"]], ids=" ".join
)
def test_help_is_complete_and_light(arguments: list[str]) -> None:
    code = (
        "import atexit, sys; from anychan.cli import main\n"
        "heavy = ('torch', 'pytorch_lightning', 'matplotlib', 'tifffile', 'PIL')\n"
        "atexit.register(lambda: print('loaded', [name for name in heavy if name in sys.modules]))\n"
        f"main({arguments!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert done.stdout.startswith("usage: anychan")
    if arguments == ["--help"]:
        assert all(f"\n    {verb} " in done.stdout for verb in VERBS)


def test_every_recipe_key_is_an_option_with_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command("train", "--help")
    assert left.value.code == 0
    text = capsys.readouterr().out
    for section, entries in Recipe().to_dict().items():
        if isinstance(entries, dict):
            for key in entries:
                (line, *rest) = text.split(f"  --{section}.{key} ")[1].splitlines()
                assert "(type: " in " ".join([line, *rest[:6]]), key
    assert "what to do with grey photographs" in re.sub(r"\s+", " ", text)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"anychan {__version__}\n"


def test_printed_config_is_accepted(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command("train", *options_of(small_recipe(epochs=1)), "--out", tmp_path / "printed", "--print_config")
    assert left.value.code == 0
    (tmp_path / "recipe.yaml").write_text(capsys.readouterr().out)
    code, _, err = command("train", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert code == 0, err
    assert Recipe.load(tmp_path / "run" / "recipe.yaml") == small_recipe(epochs=1)


def test_config_is_printed_as_yaml(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = small_recipe(epochs=7, flip=True, seed=4)
    with pytest.raises(SystemExit):
        command("train", *options_of(recipe), "--out", tmp_path / "run", "--print_config")
    values = yaml.safe_load(capsys.readouterr().out)
    values.pop("out", None)
    assert Recipe.from_dict(values) == recipe
    assert list(tmp_path.iterdir()) == []


def test_debug_raises(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model is called 'resnet7'"):
        main(["profile", "resnet7", "--debug"])
    with pytest.raises(DataError, match="no data was named"):
        main(["--debug", "train", "--out", str(tmp_path / "run")])


def test_interruption_has_its_own_code(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("anychan.profiling.macs.catalog_profiles", interrupt)
    assert command("models") == (130, "", "anychan: interrupted\n")
