import re
import shutil
from pathlib import Path

import pytest
import torch

from anychan.channels import ChannelSet
from anychan.data.batches import Batch, EvalBatches, calibration_images
from anychan.data.dataset import load_data
from anychan.errors import ConfigError, ContractError, DataError, RunError
from anychan.evaluation.accuracy import classified
from anychan.evaluation.evaluate import evaluate_subsets
from anychan.evaluation.run import evaluate_run, load_run, search_run, untrained_modules
from anychan.presets import RGB
from anychan.training.fit import build_model, fit
from anychan.training.run_folder import RunFolder
from tests.runs import RGB_SPLIT, copy_of, small_recipe


def test_run_comes_back_with_its_data(finished_run: Path) -> None:
    model, data = load_run(finished_run)
    assert not model.training
    assert model.channels == data.channels == RGB
    (row,) = evaluate_run(model, data, subsets=[RGB]).rows
    images = data.splits["test"].tensor.permute(0, 3, 1, 2)
    assert torch.equal(row.correct, model(images).argmax(1) == data.splits["test"].labels)


def test_split_and_subsets_are_those_asked_for(finished_run: Path) -> None:
    model, data = load_run(str(finished_run))
    report = evaluate_run(model, data, split="val", subsets=[RGB.select("G,R")])
    val = data.splits["val"]
    expected = classified(model.select("R,G"), [Batch(val.tensor.permute(0, 3, 1, 2)[:, :2], val.labels)])
    assert torch.equal(report.rows[0].correct, expected.correct)
    assert [row.n for row in evaluate_run(model, data).rows] == [6] * 7


def test_own_batch_norm_is_measured_on_training_images(finished_run: Path) -> None:
    model, data = load_run(finished_run)
    found = evaluate_run(model, data, batch_norm="own")
    assert found.batch_norm == "own"
    calibration = calibration_images(data.splits["train"], seed=0)
    expected = evaluate_subsets(model, EvalBatches(data.splits["test"]), calibration=calibration)
    for a, b in zip(found.rows, expected.rows, strict=True):
        assert torch.equal(a.correct, b.correct)


def test_flips_are_those_of_every_report(finished_run: Path) -> None:
    model, data = load_run(finished_run)
    found, plain = (evaluate_run(model, data, flip=flip) for flip in (True, False))
    expected = evaluate_subsets(model, EvalBatches(data.splits["test"]), flip=True)
    assert (found.flip, plain.flip) == (True, False)
    for row, other, without in zip(found.rows, expected.rows, plain.rows, strict=True):
        assert row.confidence is not None
        assert without.confidence is not None
        assert torch.equal(row.confidence, other.confidence)  # type: ignore[arg-type]
        assert not torch.equal(row.confidence, without.confidence)
    search, judge = (
        search_run(model, data, up_to=2, flip=True),
        evaluate_run(model, data, split="val", flip=True, subsets=list(RGB.subsets())),
    )
    assert list(search.accuracies) == [pytest.approx(judge.row(path.names).accuracy) for path in search.path]


def test_channel_drop_hurts_by_the_seed(finished_run: Path) -> None:
    model, data = load_run(finished_run)
    subsets: list[ChannelSet] = [RGB]
    whole = evaluate_run(model, data, subsets=subsets).rows[0]
    dropped = evaluate_run(model, data, subsets=subsets, channel_drop=1.0).rows[0]
    again = evaluate_run(model, data, subsets=subsets, channel_drop=1.0).rows[0]
    other = evaluate_run(model, data, subsets=subsets, channel_drop=1.0, seed=1).rows[0]
    assert torch.equal(dropped.correct, again.correct)
    assert dropped.accuracy < whole.accuracy
    (batch,) = EvalBatches(data.splits["test"], channel_drop=1.0, seed=1)
    assert torch.equal(other.correct, model(batch.images).argmax(1) == batch.labels)


def test_data_may_have_moved(run_copy: Path, tmp_path: Path) -> None:
    moved = copy_of(RGB_SPLIT, tmp_path)
    recipe = run_copy / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(RGB_SPLIT), "/gone"))
    with pytest.raises(DataError, match="/gone: there is no such folder or zip"):
        load_run(run_copy)
    _, data = load_run(run_copy, data_path=str(moved))
    assert len(data.splits["test"]) == 6


def test_what_stands_for_no_data_elsewhere_is_none_to_the_model(finished_run: Path, tmp_path: Path) -> None:
    moved = copy_of(RGB_SPLIT, tmp_path)
    (moved / "channels.yaml").write_text("channels: [rgb:R, {channel: rgb:G, no_data: 0}, rgb:B]")
    plain, _ = load_run(finished_run)
    model, data = load_run(finished_run, data_path=str(moved))
    assert not model.training
    assert [encoding.no_data for encoding in model.contract.encodings] == [None, 0, None]
    images = data.splits["test"].tensor.permute(0, 3, 1, 2).float()
    images[:, :, :4] = 0
    assert plain.contract.statistics is not None
    filled = images.clone()
    filled[:, 1] = images[:, 1].where(images[:, 1] != 0, float(plain.contract.statistics.mean[1]))
    with torch.no_grad():
        torch.testing.assert_close(model(images), plain(filled))
        assert not torch.allclose(model(images), plain(images))


def test_other_data_is_refused(run_copy: Path, tmp_path: Path) -> None:
    moved = copy_of(RGB_SPLIT, tmp_path)
    (moved / "classes.txt").write_text("0 circle\n1 stripe\n2 square\n")
    with pytest.raises(ContractError, match=r"the data's classes \('circle', 'stripe', 'square'\) are not the model's"):
        load_run(run_copy, data_path=str(moved))


def test_unfinished_run_is_refused(run_copy: Path) -> None:
    (run_copy / "model.safetensors").unlink()
    message = f"{run_copy}: the run is not finished; the same `anychan train` command goes on with it"
    with pytest.raises(RunError, match=f"^{re.escape(message)}$"):
        load_run(run_copy)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}: this is no run folder, there is no recipe.yaml")):
        load_run(tmp_path)
    RunFolder(tmp_path / "new").open(small_recipe())
    with pytest.raises(RunError, match="the run is not finished"):
        load_run(tmp_path / "new")


def test_damaged_contract_is_refused(run_copy: Path) -> None:
    shutil.copy(run_copy / "recipe.yaml", run_copy / "contract.json")
    with pytest.raises(ContractError, match=re.escape(f"{run_copy}/contract.json: the contract is not JSON")):
        load_run(run_copy)


def test_parts_that_training_never_reached_are_named(tmp_path: Path) -> None:
    recipe = small_recipe(epochs=1, optimizer="adam", weight_decay=0.0)
    recipe.model.name = "dynamic_cnn_v1"
    fit(recipe, tmp_path / "run")
    model, data = load_run(tmp_path / "run")
    assert untrained_modules(model, data, recipe) == ["stem.conv.generators.0", "stem.conv.generators.1"]


def test_generators_that_were_fed_are_trained(tmp_path: Path) -> None:
    recipe = small_recipe(
        stem="generator_per_count", epochs=4, optimizer="adam", channel_sampling="uniform", monitor="val_loss"
    )
    recipe.model.name = "dynamic_cnn_v1"
    fit(recipe, tmp_path / "run")
    model, data = load_run(tmp_path / "run")
    assert untrained_modules(model, data, recipe) == []


def test_fresh_models_are_untrained_as_a_whole() -> None:
    recipe = small_recipe()
    data = load_data(recipe.data, seed=0)
    assert untrained_modules(build_model(recipe, data), data, recipe) == [""]


def test_nothing_is_compared_where_pretrained_weights_are_gone(finished_run: Path, tmp_path: Path) -> None:
    model, data = load_run(finished_run)
    recipe = small_recipe(epochs=6)
    recipe.model.pretrained = str(tmp_path / "gone.safetensors")
    assert untrained_modules(model, data, recipe) == []
    (tmp_path / "gone.safetensors").touch()
    with pytest.raises(ConfigError, match=r"model\.pretrained is for networks of timm and torchvision"):
        untrained_modules(model, data, recipe)
