import pytest
import torch
from torch import nn

from anychan.nn.subset_statistics import SubsetStatistics, rule_for
from tests.builders import mask, subsets


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.BatchNorm2d(2)))


def test_up_to_sixteen_subsets_have_a_set_each() -> None:
    assert [rule_for(channels) for channels in (1, 2, 3, 4, 5, 13)] == ["subset"] * 4 + ["size"] * 2


@pytest.mark.parametrize(("rule", "rows"), [("subset", 7), ("size", 3)])
def test_rows_of_subsets_and_of_masks_agree(rule: str, rows: int) -> None:
    found = SubsetStatistics(network(), num_channels=3, rule=rule)
    assert found.num_rows == rows
    indices = [found.row(index) for index in subsets(3)]
    assert indices == found.rows(mask(3, *subsets(3))).tolist()
    assert sorted(set(indices)) == list(range(rows))
    assert found.row((2, 0)) == found.row((0, 2))
    assert found.row((1, 2, 0)) == rows - 1  # all channels are the last
    if rule == "size":
        assert found.row((1,)) == found.row((2,)) == 0


def test_a_row_is_what_was_written() -> None:
    model = network()
    found = SubsetStatistics(model, num_channels=3, rule="size")
    before = {name: value.clone() for name, value in found.read(1).items()}
    assert set(before) == {"1.running_mean", "1.running_var", "2.0.running_mean", "2.0.running_var"}
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.copy_(torch.tensor([len(name), 0.5]))
    found.write(2, model)
    assert {name: value.tolist() for name, value in found.read(2).items()} == {
        name: [len(name), 0.5] for name in before
    }
    for name, value in before.items():
        torch.testing.assert_close(found.read(1)[name], value, rtol=0, atol=0)
