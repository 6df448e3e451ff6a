import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from anychan.errors import ConfigError
from anychan.training.processes import own_rows, whole
from anychan.training.sync_batch_norm import SyncBatchNorms, SyncedBatchNorm2d

COUNT = 65


def network() -> nn.Sequential:
    torch.manual_seed(0)
    counted = nn.BatchNorm2d(4, affine=False, momentum=None)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), counted)


def images() -> Tensor:
    x = torch.randn(COUNT, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last)


def found(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients and statistics after two steps' forward passes and one backward."""
    for _ in range(2):
        output = whole(model(x).flatten(1), COUNT)
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    gradients = {f"gradient {name}": value.grad for name, value in model.named_parameters() if value.grad is not None}
    return {"output": output.detach(), **gradients, **dict(model.named_buffers())}


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = SyncBatchNorms().apply(network())
    results = found(model, images()[own_rows(COUNT)])
    for name, value in results.items():
        if name.startswith("gradient"):  # as DistributedDataParallel averages them
            dist.all_reduce(value)
            value /= 2
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_have_the_statistics_of_the_whole_batch(tmp_path: Path) -> None:
    spawn(process, (str(tmp_path),), nprocs=2)
    exact = found(network().double(), images().double())
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert results.keys() == exact.keys()
        largest = max(float(value.abs().max()) for name, value in exact.items() if name.startswith("gradient"))
        for name, value in exact.items():
            scale = largest if name.startswith("gradient") else float(value.abs().max())  # some gradients are 0
            assert float((results[name] - value).abs().max()) < 1e-4 * scale, name


def test_norm_of_another_kind_is_refused() -> None:
    class Other(nn.BatchNorm2d):
        pass

    with pytest.raises(ConfigError, match="the network has a Other, whose statistics cannot be shared by processes"):
        SyncBatchNorms().apply(nn.Sequential(nn.BatchNorm2d(3), Other(3)))


def test_norms_change_their_class_and_nothing_else() -> None:
    model = network()
    before, state = list(model.modules()), copy.deepcopy(model.state_dict())
    SyncBatchNorms().apply(model)
    assert [type(module) for module in model] == [nn.Conv2d, SyncedBatchNorm2d, nn.ReLU, SyncedBatchNorm2d]
    SyncBatchNorms().revert(model)
    assert list(model.modules()) == before
    assert [type(module) for module in model] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.BatchNorm2d]
    torch.testing.assert_close(model.state_dict(), state)
    torch.testing.assert_close(model(images()), network()(images()))
