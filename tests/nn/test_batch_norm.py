from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from anychan.nn.batch_norm import measure_batch_norm
from tests.builders import build_model, raw_images


def images(*values: float) -> Tensor:
    """(N, 1, 1, 2): two pixels an image."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 2)


def test_mean_over_batches_of_mean_and_variance_by_hand() -> None:
    norm = nn.BatchNorm2d(1, momentum=0.3)
    norm.running_mean, norm.running_var = torch.tensor([99.0]), torch.tensor([99.0])
    # means 3 and 10; variances, divided by one less than the pixels: (9 + 1 + 1 + 9) / 3 and 0
    measure_batch_norm(norm, [images(0, 2, 4, 6), images(10, 10, 10, 10)])
    torch.testing.assert_close(norm.running_mean, torch.tensor([6.5]))
    torch.testing.assert_close(norm.running_var, torch.tensor([10 / 3]))
    assert norm.momentum == 0.3


def test_three_batches_count_alike() -> None:
    norm = nn.BatchNorm2d(1)
    measure_batch_norm(norm, iter([images(1, 2), images(2, 3), images(30, 31)]))
    torch.testing.assert_close(norm.running_mean, torch.tensor([(1.5 + 2.5 + 30.5) / 3]))


def test_only_batch_norm_trains_meanwhile() -> None:
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(1))
    measure_batch_norm(model, [images(0, 2, 4, 6)])
    torch.testing.assert_close(model.state_dict()["1.running_mean"], torch.tensor([3.0]))


def broken_batches() -> Iterator[Tensor]:
    yield images(0, 2)
    raise OSError("the disk is gone")


def test_modes_and_momenta_come_back_after_an_error() -> None:
    frozen, trained = nn.BatchNorm2d(1, momentum=None), nn.BatchNorm2d(1, momentum=0.2)
    model = nn.Sequential(nn.Dropout(0.9), frozen, trained)
    frozen.eval()
    with pytest.raises(OSError, match="the disk is gone"):
        measure_batch_norm(model, broken_batches())
    assert [module.training for module in model] == [True, False, True]
    assert (frozen.momentum, trained.momentum) == (None, 0.2)


def test_network_without_batch_norm_reads_nothing() -> None:
    measure_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1)), broken_batches())


def test_selection_measures_its_own_statistics() -> None:
    model, x = build_model("resnet8"), raw_images(8, 9, 7)
    selection = model.select("B,R")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_batch_norm(selection, [x[:, [2, 0]]])
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert not model.training
    reference = model.select("B,R")
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    model.train()
    reference(x[:, [2, 0]])
    for name, value in selection.named_buffers(recurse=False):
        if "running" in name:
            torch.testing.assert_close(value, reference.get_buffer(name))


def test_weights_get_no_gradient() -> None:
    model = build_model("resnet8")
    measure_batch_norm(model, [raw_images(2, 9, 7)])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(not value.requires_grad for value in model.buffers())
