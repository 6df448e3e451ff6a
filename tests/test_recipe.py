import re
import tracemalloc
from pathlib import Path

import pytest
import yaml

from anychan.errors import ConfigError
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig, check_recipe_file

RECIPE = Recipe(
    data=DataConfig(path="somewhere.zip", channels=["sentinel2:B04", "DNA"], num_classes=7, size=97, fit="crop"),
    model=ModelConfig(name="resnet18", stem="completion", options={"entry": "3x3"}, num_outputs=9),
    train=TrainConfig(epochs=3, lr=1e-5, channels=["DNA"], cutmix=0.5, patience=5, precision="float32"),
    seed=11,
)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_recipe_survives_a_file(tmp_path: Path) -> None:
    RECIPE.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == RECIPE


def test_file_keeps_the_order_of_the_fields(tmp_path: Path) -> None:
    RECIPE.save(tmp_path / "recipe.yaml")
    text = (tmp_path / "recipe.yaml").read_text()
    assert re.findall(r"^(\w+):", text, re.MULTILINE) == ["data", "model", "train", "seed"]
    assert re.findall(r"^  (\w+):", text, re.MULTILINE)[:3] == ["path", "channels", "num_classes"]


def test_what_is_left_out_is_the_default(tmp_path: Path) -> None:
    found = Recipe.load(write(tmp_path, "train: {epochs: 2}\n"))
    assert found == Recipe(train=TrainConfig(epochs=2))
    assert Recipe.from_dict({}) == Recipe()


def test_defaults_are_not_shared() -> None:
    first = Recipe()
    first.model.options["entry"] = "3x3"
    assert Recipe().model.options == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epoch: 2}\n", "no key is called train.epoch; did you mean train.epochs"),
        ("train: {leraning_rate: 2}\n", "no key is called train.leraning_rate; there are epochs, batch_size"),
        ("sede: 2\n", "no key is called sede; did you mean seed"),
        ("zzz: 2\n", "no key is called zzz; there are data, model, train, seed"),
        ("5: 2\n", "no key is called 5; there are data, model, train, seed"),
        ("train: 5\n", "train must be a mapping of keys, not 5"),
        ("data:\n", "data must be a mapping of keys, not None"),
        ("- data\n", "a recipe is a mapping with the keys data, model, train and seed"),
        ("", "a recipe is a mapping with the keys data, model, train and seed"),
        ("seed: 1\ntrain: {epochs: 2\nmodel: {}\n", "line 3 is not YAML (expected ',' or '}'"),
        ("seed: 1\n\tdata: {}\n", "line 2 is not YAML (found character '\\t'"),
        ("seed: \x01\n", "the recipe is not YAML (special characters are not allowed)"),
        ('seed: !!python/object/apply:os.system ["touch x"]', "line 1 is not YAML (could not determine a constructor"),
        ("seed: 1\ndata: &a {}\nmodel: *a\n", "line 3 is not YAML (aliases are not read; write the values out)"),
        (
            "model:\n  options:\n    a: &a [x, x]\n    b: [*a, *a]\n",
            "line 4 is not YAML (aliases are not read; write",
        ),
        ("model: {options: {a: " + "[" * 99_999, "line 1 is not YAML (values are nested more than 32 deep)"),
        ("seed: " + "9" * 5000, "line 1 is not YAML (a number is too long)"),
        ("seed: 2020-99-99", "the recipe is not YAML (month must be in 1..12)"),
        ("train: {epochs: 1,\n  epochs: 2}", "line 2 is not YAML (the key 'epochs' is there twice)"),
        ("train: " + "x" * 999, f"train must be a mapping of keys, not '{'x' * 79}"),
    ],
)
def test_bad_recipe_files(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(f"{path}: {message}")):
        check_recipe_file(path)


def test_unreadable_recipe_files(tmp_path: Path) -> None:
    absent, binary = tmp_path / "absent.yaml", tmp_path / "binary.yaml"
    binary.write_bytes(b"\x80\x81")
    reasons = {absent: "No such file or directory", tmp_path: "Is a directory", binary: "not a text file"}
    for path, reason in reasons.items():
        with pytest.raises(ConfigError, match=re.escape(f"{path}: the recipe cannot be read ({reason})")):
            Recipe.load(path)


def test_a_giant_recipe_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    with path.open("wb") as file:
        file.write(b"seed: 1 #")
        file.seek(100 * 2**20)
        file.write(b"x")
    tracemalloc.start()
    with pytest.raises(ConfigError, match=r"recipe.yaml: the recipe is not YAML \(it has more than 262,144 characters"):
        Recipe.load(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_options_of_a_model_are_free(tmp_path: Path) -> None:
    values = check_recipe_file(write(tmp_path, "model: {options: {anything: 1}}\n"))
    assert values == {"model": {"options": {"anything": 1}}}


def test_saved_numbers_stay_numbers(tmp_path: Path) -> None:
    RECIPE.save(tmp_path / "recipe.yaml")
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["train"]["lr"] == 1e-5


def test_every_path_is_changed() -> None:
    recipe = Recipe(
        DataConfig(path=["/a/b", "/c/d/"]),
        ModelConfig(pretrained="/e/f", init_from="/g/h"),
        TrainConfig(teacher=["/i/j", "/k/l"]),
    )
    found = recipe.map_paths(lambda path: Path(path).name)
    assert (found.data.path, found.model.pretrained, found.model.init_from) == (["b", "d"], "f", "h")
    assert found.train.teacher == ["j", "l"]
    assert recipe.map_paths(str) == recipe
    assert Recipe().map_paths(lambda path: 1 / 0) == Recipe()  # type: ignore[arg-type, return-value]
    single = Recipe(DataConfig(path="/a/b"), train=TrainConfig(teacher="/i/j"))
    assert single.map_paths(str.upper).train.teacher == "/I/J"


def test_changes_are_what_is_not_by_default() -> None:
    recipe = Recipe(DataConfig(size=64), seed=3)
    assert recipe.changes() == {"data": {"size": 64}, "model": {}, "train": {}, "seed": 3}
