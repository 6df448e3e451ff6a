"""Batch norm over the images of all processes. (PyTorch's own, `SyncBatchNorm`, has no CPU version.)"""

from __future__ import annotations

from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from anychan.errors import ConfigError
from anychan.training.processes import size, total

__all__ = ["SyncBatchNorms", "SyncedBatchNorm2d"]


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """In training mode, mean and variance are those of the whole batch, whoever holds its images.

    Two sums are shared, first the values', then the squared distances' from the mean: one, of values and squares, would
    lose digits where the mean is large.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape and number type."""
        if size() == 1 or not self.training:
            return super().forward(x)
        values, dims = x.float(), (0, 2, 3)
        count = total(values.new_tensor(float(values.numel() // self.num_features)))
        mean = total(values.sum(dims)) / count
        centred = values - mean.view(-1, 1, 1)
        var = total(centred.square().sum(dims)) / count
        if self.track_running_stats:
            self._track(mean.detach(), var.detach() * count / (count - 1))
        scale = (var + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        found = centred * scale.view(-1, 1, 1)
        return (found if self.bias is None else found + self.bias.view(-1, 1, 1)).to(x.dtype)

    def _track(self, mean: Tensor, var: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for kept, found in ((self.running_mean, mean), (self.running_var, var)):
            assert kept is not None
            kept.lerp_(found, share)


class SyncBatchNorms(LayerSync):
    """Lets a Lightning trainer turn a model's batch norms into synchronised ones, and back in the end.

    Each stays the same object, with its parameters and statistics, and only changes its class.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Before training.

        Raises:
            ConfigError: for a batch norm of another kind, which would keep statistics of its own in each process.
        """
        for part in model.modules():
            if isinstance(part, _BatchNorm) and type(part) is not nn.BatchNorm2d:
                raise ConfigError(
                    f"the network has a {type(part).__name__}, whose statistics cannot be shared by processes; train "
                    "it in one"
                )
        return _changed(model, nn.BatchNorm2d, SyncedBatchNorm2d)

    def revert(self, model: nn.Module) -> nn.Module:
        """After it."""
        return _changed(model, SyncedBatchNorm2d, nn.BatchNorm2d)


def _changed(model: nn.Module, old: type[nn.Module], new: type[nn.Module]) -> nn.Module:
    for module in model.modules():
        if type(module) is old:
            module.__class__ = new
    return model
