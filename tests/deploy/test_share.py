import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from anychan.cli import main
from anychan.deploy.card import FOLDER
from anychan.deploy.share import share_run
from anychan.errors import ConfigError, HubError, RunError
from anychan.models.pretrained import model_digest
from anychan.recipe import ModelConfig, Recipe
from anychan.report.finish import finish_run
from anychan.training.fit import fit
from tests.hub_server import TOKEN, hub_server
from tests.runs import RGB_SPLIT, run_anychan, small_recipe


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, as the command leaves it."""
    folder = tmp_path_factory.mktemp("tested") / "run"
    fit(small_recipe(), folder, finish=finish_run)
    return folder


@pytest.fixture(scope="module")
def run(tested: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, evaluated."""
    folder = Path(shutil.copytree(tested, tmp_path_factory.mktemp("shared") / "run"))
    assert main(["evaluate", str(folder)]) == 0
    return folder


@pytest.fixture
def run_copy(tested: Path, tmp_path: Path) -> Path:
    """A finished run, to change at will."""
    return Path(shutil.copytree(tested, tmp_path / "run"))


@pytest.fixture(scope="module")
def shared(run: Path) -> Path:
    """What is shared of it."""
    assert share_run(run, run.parent / "out", license="mit").url is None
    return run.parent / "out"


def test_a_linked_picture_is_not_given_away(run: Path, tmp_path: Path) -> None:
    run_copy = Path(shutil.copytree(run, tmp_path / "run"))
    (tmp_path / "secret").write_text("secret")
    (run_copy / "subsets.png").unlink()
    (run_copy / "subsets.png").symlink_to(tmp_path / "secret")
    names = ("README.md", "contract.json", "model.safetensors", "recipe.yaml")
    assert share_run(run_copy, tmp_path / "out").files == names


def test_files(run: Path, shared: Path) -> None:
    names = ["README.md", "contract.json", "model.safetensors", "recipe.yaml", "subsets.png"]
    assert sorted(path.name for path in shared.iterdir()) == names
    assert model_digest(shared) == model_digest(run)
    assert (shared / "subsets.png").read_bytes() == (run / "subsets.png").read_bytes()
    assert [path.name for path in shared.parent.iterdir() if path.name.startswith(".")] == []
    assert shared.stat().st_mode & 0o055  # others may read it, as any new folder here
    report = json.loads((run / "subsets.json").read_text())["subsets"]
    text = (shared / "README.md").read_text()
    assert text.count(" to ") > len(report) == 7
    for row in report:
        accuracy = f"{100 * row['accuracy']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        assert f"| {'+'.join(row['channels'])} | {accuracy} |" in text
    assert "license: mit" in text


def test_no_path_of_this_machine(run: Path, shared: Path) -> None:
    recipe = Recipe.load(run / "recipe.yaml")
    assert recipe.data.path == str(RGB_SPLIT)
    assert Recipe.load(shared / "recipe.yaml") == small_recipe("rgb_split")
    folders = {str(RGB_SPLIT.parent), str(run.parent), str(Path.home()), "/tmp", "/home"}
    for path in shared.iterdir():
        content = path.read_bytes()
        for folder in folders - {"/"}:
            assert folder.encode() not in content, (path.name, folder)


def test_every_path_of_a_recipe_loses_its_folder(run_copy: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(run_copy / "recipe.yaml")
    recipe.data.path, recipe.train.teacher = ["/secret/a.zip", "/secret/b/"], ["/secret/t1", "/secret/t2"]
    for start in ("init_from", "pretrained"):
        recipe.model = ModelConfig(recipe.model.name)
        setattr(recipe.model, start, f"/secret/{start}.safetensors")
        recipe.save(run_copy / "recipe.yaml")
        share_run(run_copy, tmp_path / start)
        for name in ("README.md", "recipe.yaml"):
            text = (tmp_path / start / name).read_text()
            assert "secret" not in text
            assert all(part in text for part in ("a.zip", "t2", f"{start}.safetensors"))


def code(shared: Path, language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", (shared / "README.md").read_text(), re.DOTALL)[0]  # type: ignore[no-any-return]


def test_python_of_the_card_runs_in_a_second_process(shared: Path) -> None:
    text = code(shared, "python").replace(FOLDER, str(shared))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() in ("circle", "square", "stripe")


def test_commands_of_the_card_run(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--data.size", "16", "--train.epochs", "1", "--train.batch_size", "4"]
    lines = code(shared, "bash").replace(FOLDER, str(shared)).replace("path/to/images", str(RGB_SPLIT)).splitlines()
    assert [line.split()[:2] for line in lines] == [["anychan", "predict"], ["anychan", "train"]]
    for line in lines:
        words = line.split()[1:]
        assert main(words + (small if words[0] == "train" else [])) == 0
    assert len((tmp_path / "classes.csv").read_text().splitlines()) == 1 + 24
    assert json.loads((tmp_path / "fine-tuned" / "run.json").read_text())["init_from"]["head"]["carried"] is True


def test_to_a_server(run: Path, tmp_path: Path) -> None:
    """The command uploads exactly the folder that it makes."""
    quiet = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = ["share", run, "--out", tmp_path / "tiles", "--push", "someone/tiles", "--private"]
    with hub_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {**quiet, "HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN}.items():
            patch.setenv(name, value)
        exit_code, out, err = run_anychan(*command)
        assert exit_code == 0, err
        made = {path.name: path.read_bytes() for path in (tmp_path / "tiles").iterdir()}
        assert server.files["someone/tiles"] == made
        assert server.created[-1]["visibility"] == "private"
        assert f"uploaded: {server.url}/someone/tiles/commit/" in out
        assert 'from_pretrained("someone/tiles")' in made["README.md"].decode()


def test_run_that_was_not_evaluated(run_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    files = share_run(run_copy, tmp_path / "empty").files
    assert files == ("README.md", "contract.json", "model.safetensors", "recipe.yaml")
    text = (tmp_path / "empty" / "README.md").read_text()
    assert "### By channels" not in text
    assert "subsets.png" not in text


def test_what_cannot_be_shared(run: Path, run_copy: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("x")
    out = tmp_path / "out"
    for given in (taken, taken / "mine"):
        with pytest.raises(RunError, match=re.escape(f"{given}: this is not empty; give another folder with --out")):
            share_run(run, given)
    with pytest.raises(RunError, match=r"mine/out: the folder cannot be made \("):
        share_run(run, taken / "mine" / "out")
    with pytest.raises(
        ConfigError, match="--license is 'My licence', but it must be an identifier of the Hub, such as"
    ):
        share_run(run, out, license="My licence")
    with pytest.raises(RunError, match="this is no run folder"):
        share_run(taken, out)
    result = run_copy / "run.json"
    values = json.loads(result.read_text())
    result.write_text(json.dumps({key: value for key, value in values.items() if key != "test"}))
    with pytest.raises(
        RunError, match=r"run\.json: the file is of an older anychan, or of a run that was never tested"
    ):
        share_run(run_copy, out)
    result.write_text("{")
    with pytest.raises(RunError, match=r"run\.json: the file is damaged; make it anew by `anychan train`"):
        share_run(run_copy, out)
    result.unlink()
    with pytest.raises(RunError, match="the run is not finished; the same `anychan train` command goes on with it"):
        share_run(run_copy, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "taken"]


def test_nothing_stays_of_an_upload_that_failed(run: Path, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="a b/c: the Hub does not take the model"):
        share_run(run, tmp_path / "out", push="a b/c")
    assert list(tmp_path.iterdir()) == []


def test_sources_have_a_table_each(tmp_path: Path) -> None:
    recipe = small_recipe(epochs=1)
    for name in ("left", "right"):
        shutil.copytree(RGB_SPLIT, tmp_path / name)
        (tmp_path / f"{name}.channels.yaml").write_text("channels: [rgb:R, rgb:G, rgb:B]\n")
        (tmp_path / name / "channels.yaml").write_text("channels: [rgb:R, rgb:G, rgb:B]\n")
    recipe.data.path = [str(tmp_path / "left"), str(tmp_path / "right")]
    fit(recipe, tmp_path / "run", finish=finish_run)
    assert main(["evaluate", str(tmp_path / "run"), "--source", "right", "--channels", "R,G"]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--source", "right"]) == 0
    share_run(tmp_path / "run", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "### By channels, source right\n" in text
    assert "source left" not in text
    assert "Source left: 12 training images, channels R, G, B." in text


def test_picture_is_one(shared: Path) -> None:
    with Image.open(shared / "subsets.png") as image:
        assert image.format == "PNG"
