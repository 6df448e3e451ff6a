from pathlib import Path

import pytest
import torch
from torch import Tensor

from anychan.channels import ChannelSet
from anychan.errors import ConfigError, InputShapeError
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model, with_changes
from anychan.models.measure import _measured_sizes, measure_subsets
from anychan.models.pretrained import load, save
from anychan.nn.batch_norm import batch_norm_buffers, measure_batch_norm
from tests.builders import build_model, mask, raw_images, subsets
from tests.runs import anonymous


def channels_of(model: AnyChannelModel, index: tuple[int, ...]) -> ChannelSet:
    return ChannelSet(model.channels[position] for position in index)


@pytest.fixture(scope="module")
def batches() -> list[Tensor]:
    torch.manual_seed(0)
    return [raw_images(6, 9, 7), raw_images(6, 9, 7)]


@pytest.fixture(scope="module")
def measured(batches: list[Tensor]) -> AnyChannelModel:
    model = build_model("resnet8", "completion")
    measure_subsets(model, batches)
    return model


def test_each_subset_has_what_a_selection_would_measure(measured: AnyChannelModel, batches: list[Tensor]) -> None:
    fresh = build_model("resnet8", "completion")
    for index in subsets(3):
        selection = fresh.select(channels_of(fresh, index))
        measure_batch_norm(selection, (images[:, list(index)] for images in batches))
        x = batches[0][:, list(index)]
        found = measured.select(channels_of(measured, index))(x)
        torch.testing.assert_close(found, selection(x), rtol=1e-12, atol=1e-12)
        shared = measured.select(channels_of(measured, index), saved=False)(x)
        assert torch.allclose(shared, found) == (len(index) == 3)
    x = batches[0]
    torch.testing.assert_close(measured(x), measured.select("R,G,B")(x), rtol=0, atol=0)
    assert measured.contract.batch_norm == "subset"
    assert not measured.training


def test_ragged_batch_takes_each_images_own(measured: AnyChannelModel) -> None:
    rows = [*subsets(3), (0, 2), (1,)]
    x, present = raw_images(len(rows), 9, 7), mask(3, *rows)
    poisoned = x.where(present[:, :, None, None], torch.nan)
    logits, maps = measured(poisoned, present=present), measured(poisoned, present=present, features=True)
    torch.testing.assert_close(measured.forward_features(poisoned, present=present), maps, rtol=0, atol=0)
    for number, index in enumerate(rows):
        selection, one = measured.select(channels_of(measured, index)), x[number : number + 1, list(index)]
        torch.testing.assert_close(logits[number : number + 1], selection(one), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(maps[number : number + 1], selection.forward_features(one), rtol=1e-9, atol=1e-9)
    unlike = measured(poisoned, present=present, saved=False)
    assert (unlike - logits).abs().max() > 1e-3


def test_training_a_ragged_batch_is_one_pass(measured: AnyChannelModel, batches: list[Tensor]) -> None:
    model = build_model("resnet8", "completion")
    measure_subsets(model, batches)
    x, present = raw_images(4, 9, 7), mask(3, (0,), (0, 1, 2), (1, 2), (0,))
    plain = build_model("resnet8", "completion").train()
    plain.load_state_dict({name: v for name, v in model.state_dict().items() if "subset_statistics" not in name})
    logits = model.train()(x, present=present)
    torch.testing.assert_close(logits, plain(x, present=present), rtol=0, atol=0)
    logits.sum().backward()


def test_statistics_are_saved_with_the_weights(batches: list[Tensor], tmp_path: Path) -> None:
    model = build_model("resnet8", "completion").float()
    measure_subsets(model, batches)
    save(model, tmp_path)
    again = load(tmp_path)
    assert again.contract.batch_norm == "subset"
    for index in subsets(3):
        x = raw_images(2, 9, 7)[:, list(index)].float()
        pair = [each.select(channels_of(each, index))(x) for each in (model, again)]
        torch.testing.assert_close(pair[0], pair[1], rtol=0, atol=0)


def test_another_stem_starts_without_them(measured: AnyChannelModel) -> None:
    other = with_changes(measured, stem="mean")
    assert (other.contract.batch_norm, other.subset_statistics) == ("shared", None)
    x = raw_images(2, 9, 7)
    torch.testing.assert_close(other(x), measured(x), rtol=1e-12, atol=1e-12)
    same = with_changes(measured)
    torch.testing.assert_close(same.select("G")(x[:, 1:2]), measured.select("G")(x[:, 1:2]))


def test_above_sixteen_subsets_a_size_has_a_set() -> None:
    model = create_model("resnet8", channels=anonymous(5), num_classes=3, stem="present_mean").eval()
    images = [torch.rand(40, 5, 6, 6) * 255 for _ in range(2)]
    measure_subsets(model, images, seed=1)
    assert model.contract.batch_norm == "size"
    assert model.subset_statistics is not None
    found = [model.subset_statistics.read(row)["body.bn1.running_mean"] for row in range(5)]
    assert all((found[row] - found[row + 1]).abs().max() > 1e-5 for row in range(4))
    one, other = (model.select(channels)(images[0][:, :2]) for channels in ("c0,c1", "c3,c4"))
    assert not torch.allclose(one, other)
    buffers = batch_norm_buffers(model.select("c0,c1")), batch_norm_buffers(model)
    full = {name: value for name, value in buffers[1].items() if "running" in name}
    for name, value in full.items():
        torch.testing.assert_close(value, model.subset_statistics.read(4)[name], rtol=0, atol=0)
    present = mask(5, (0, 1), (2, 4), (3,), (0, 1, 2, 3, 4))
    logits = model(images[0][:4], present=present)
    for number, index in enumerate([(0, 1), (2, 4), (3,), (0, 1, 2, 3, 4)]):
        alone = model.select(channels_of(model, index))(images[0][number : number + 1, list(index)])
        torch.testing.assert_close(logits[number : number + 1], alone, rtol=1e-4, atol=1e-4)


def test_of_many_channels_sixteen_numbers_are_measured() -> None:
    for channels in (5, 13, 16):
        assert _measured_sizes(channels, channels) == {row: [row] for row in range(channels)}
    for channels in (17, 40, 156, 369, 4000):
        found = _measured_sizes(channels, channels)
        assert len(found) <= 16
        assert (min(found), max(found)) == (0, channels - 1)
        assert sorted(row for rows in found.values() for row in rows) == list(range(channels))
        for row, alike in found.items():
            assert row in alike
            for other in alike:  # by ratio, nothing that was measured is nearer
                mine = max(other + 1, row + 1) / min(other + 1, row + 1)
                assert all(mine <= max(other + 1, size + 1) / min(other + 1, size + 1) for size in found)


def test_numbers_that_no_image_has_take_the_largest() -> None:
    assert _measured_sizes(6, 4) == {0: [0], 1: [1], 2: [2], 3: [3, 4, 5]}
    found = _measured_sizes(369, 40)
    assert max(found) == 39
    assert found[39][-1] == 368


def test_numbers_between_take_what_the_nearest_has(tmp_path: Path) -> None:
    model = create_model("resnet8", channels=anonymous(40), num_classes=3, stem="mean").eval()
    calls: list[int] = []
    hook = model.stem.register_forward_hook(lambda _, args, __: calls.append(args[0].shape[1]))
    measure_subsets(model, [torch.rand(8, 40, 6, 6) * 255])
    hook.remove()
    assert model.subset_statistics is not None
    measured = _measured_sizes(40, 40)
    assert sorted(set(calls)) == [row + 1 for row in measured]
    read = [model.subset_statistics.read(row)["body.bn1.running_mean"] for row in range(40)]
    for row, alike in measured.items():
        assert all(torch.equal(read[other], read[row]) for other in alike)
    assert len({tuple(values.tolist()) for values in read}) == len(measured)
    save(model, tmp_path)  # a row for each number, as ever
    x = torch.rand(2, 40, 6, 6) * 255
    for count in (1, 17, 39):
        subset = model.channels.names[:count]
        pair = [each.select(subset)(x[:, :count]) for each in (model, load(tmp_path))]
        torch.testing.assert_close(pair[0], pair[1], rtol=0, atol=0)


def test_sets_of_a_size_follow_the_seed() -> None:
    images = [torch.rand(40, 5, 6, 6) * 255]
    rows = []
    for seed in (0, 0, 1):
        torch.manual_seed(2)
        model = create_model("resnet8", channels=anonymous(5), num_classes=3, stem="mean")
        torch.rand(seed + 3)
        measure_subsets(model, images, seed=seed)
        assert model.subset_statistics is not None
        rows.append(model.subset_statistics.read(1)["body.bn1.running_mean"])
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


def test_measured_again_is_measured_anew(measured: AnyChannelModel, batches: list[Tensor]) -> None:
    model = build_model("resnet8", "completion")
    measure_subsets(model, [images * 3 for images in batches])
    measure_subsets(model, batches)
    x = batches[0][:, 1:2]
    torch.testing.assert_close(model.select("G")(x), measured.select("G")(x), rtol=1e-12, atol=1e-12)


def test_images_may_come_from_a_generator(measured: AnyChannelModel, batches: list[Tensor]) -> None:
    model = build_model("resnet8", "completion")
    measure_subsets(model, (images for images in batches))
    for channels, index in (("R", [0]), ("R,G,B", [0, 1, 2])):
        x = batches[0][:, index]
        torch.testing.assert_close(model.select(channels)(x), measured.select(channels)(x), rtol=1e-12, atol=1e-12)


def test_no_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are no images to measure batch-norm statistics on; give batches of"):
        measure_subsets(build_model("resnet8"), [])


@pytest.mark.parametrize("again", [False, True])
def test_failed_measurement_leaves_the_model_as_it_was(batches: list[Tensor], again: bool) -> None:
    model = build_model("resnet8", "completion")
    if again:
        measure_subsets(model, batches)
    before, contract = {name: value.clone() for name, value in model.state_dict().items()}, model.contract
    with pytest.raises(InputShapeError):
        measure_subsets(model, [batches[0], batches[1][..., :0]])
    assert model.contract == contract
    assert list(model.state_dict()) == list(before)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_without_batch_norm_there_is_nothing_to_measure(batches: list[Tensor]) -> None:
    model = build_model("dynamic_cnn_v1")
    for name in ("body", "head"):
        setattr(model, name, torch.nn.Sequential(*(m for m in getattr(model, name) if not batch_norm_buffers(m))))
    measure_subsets(model, batches)
    assert (model.contract.batch_norm, model.subset_statistics) == ("shared", None)
