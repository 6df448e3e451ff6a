"""The Lightning task: loss, metrics, optimizer and channels of a step. What it calls works without a trainer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import Metric, SumMetric
from torchmetrics.classification import MulticlassAccuracy

from anychan.data.augment import cut_mix, mix_up, shrink
from anychan.data.batches import Augment, Batch, EvalBatches, TrainBatches
from anychan.data.dataset import ImageData
from anychan.models.base import AnyChannelModel
from anychan.randomness import derive_seed
from anychan.recipe import Recipe, TrainConfig
from anychan.training.losses import distillation_loss, never_hurt_loss, soft_label_loss
from anychan.training.parameter_groups import fix_frozen_statistics, parameter_groups
from anychan.training.processes import own_rows, rank, whole
from anychan.training.sampling import Subset, make_sampler, sandwich
from anychan.training.soft_labels import make_soft_labels

__all__ = ["ClassificationTask", "class_weights", "learning_rate_factor", "make_optimizer", "size_of_epoch"]


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Weights inverse to each class's number of images, 1 on average over images; 0 for a class without any."""
    counts = torch.bincount(labels, minlength=num_classes).float()
    weights = torch.where(counts > 0, 1 / counts.clamp(min=1), 0)
    return weights * len(labels) / (weights * counts).sum()


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The recipe's optimizer over all parameters that train."""
    parameters = parameter_groups(model, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, config.lr, weight_decay=config.weight_decay)


def learning_rate_factor(step: int, *, steps: int, warmup: int, floor: float = 0.0) -> float:
    """Linear from 0 over `warmup` steps, then a cosine from 1 to `floor` at `steps`, which stays."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    passed = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * passed))


def size_of_epoch(sizes: Sequence[int], epoch: int, *, epochs: int) -> int:
    """The size of this epoch, 0 for the first, where equal shares of all epochs take each of the sizes in turn."""
    return sizes[epoch * len(sizes) // epochs]


_SUMS = "epoch_so_far"  # of a checkpoint: the metrics' sums


class _Mixed(NamedTuple):
    """A step's images, whom they were mixed with (`None` for nobody), and the share that is their own."""

    images: Tensor
    partners: Tensor | None
    share: float

    def targets(self, labels: Tensor, outputs: int) -> Tensor:
        """(N, K): the shares of each image's classes."""
        own = functional.one_hot(labels, outputs).float()
        return own if self.partners is None else self.share * own + (1 - self.share) * own[self.partners]


def _metrics(outputs: int, *, sync: bool) -> dict[str, Metric]:
    """Sums, because MeanMetric drops NaN, or, told not to, its weights (torchmetrics 1.9).

    "disable" and validate_args=False, because their checks wait for a GPU in every step.
    """
    return {
        "loss": SumMetric(nan_strategy="disable", sync_on_compute=sync),
        "images": SumMetric(nan_strategy="disable", sync_on_compute=sync),
        "accuracy": MulticlassAccuracy(outputs, average="micro", validate_args=False, sync_on_compute=sync),
    }


class ClassificationTask(pl.LightningModule):
    """Trains an `AnyChannelModel` by a recipe.

    Args:
        model: the network.
        recipe: how to train it.
        data: its images.

    Raises:
        AnychanError: one of its kinds, for a teacher that cannot teach on this data (see `make_soft_labels`).
    """

    def __init__(self, model: AnyChannelModel, recipe: Recipe, data: ImageData) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.data = data
        config, outputs = recipe.train, model.contract.outputs
        weights = class_weights(data.labels("train"), outputs) if config.class_weights == "balanced" else None
        self.fixed = None if config.channels is None else data.channels.indices(config.channels)
        # by the channels of a batch: each source has a sampler for its own
        self.samplers = {
            splits["train"].index: make_sampler(config, data.source(name).channels)
            for name, splits in data.sources.items()
        }
        self.loss = nn.CrossEntropyLoss(weights, label_smoothing=config.label_smoothing)
        self.augment = Augment(config.crop_padding, config.flip, config.channel_drop, config.crop_scale)
        self.soft_labels = make_soft_labels(recipe, data, self.train_dataloader())
        # of several processes, each has all logits in training, and those of its own images in validation
        self.metrics = nn.ModuleDict(
            {
                f"{split}_{name}": metric
                for split in ("fit", "val")
                for name, metric in _metrics(outputs, sync=split == "val").items()
            }
        )

    def train_dataloader(self) -> TrainBatches:
        """The current epoch's batches; the trainer asks anew each epoch."""
        return TrainBatches(
            self.data.parts("train"),
            batch_size=self.recipe.train.batch_size,
            augment=self.augment,
            seed=self.recipe.seed,
            epoch=self.current_epoch,
            ahead=torch.cuda.is_available(),
            # by number, because another thread, which makes batches ahead, would take the first
            device=f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu",
        )

    def prepare_teachers(self) -> list[str]:
        """Make the recipe's teachers ready, and tell a line of each (see `SoftLabels.prepare`)."""
        if self.soft_labels is None:
            return []
        return self.soft_labels.prepare(epochs=self.recipe.train.epochs, images=self.data.count("train"))

    def val_dataloader(self) -> EvalBatches:
        """The validation images, all their channels."""
        return EvalBatches(self.data.parts("val"))

    def channels_of_step(self, step: int, held: Subset | None = None) -> list[Subset | None]:
        """Which of a batch's channels each pass of this step of the current epoch takes; `None` for all.

        Args:
            step: number of the batch.
            held: positions of the batch's channels among the data's; `None` for all.
        """
        sampler = self.samplers[held]
        if sampler is None:
            return [self.fixed]
        seed = derive_seed(self.recipe.seed, "channels", self.current_epoch, step)
        generator, passes = torch.Generator().manual_seed(seed), self.recipe.train.sandwich
        if not passes:
            return [sampler(generator)]
        count = len(self.data.channels) if held is None else len(held)
        return [*sandwich(sampler, generator, num_channels=count, count=passes)]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch on this step's channels, of all its images in each of several processes."""
        mixed, taught = self._mix(batch, batch_idx), None
        if self.soft_labels is not None:
            taught = self.soft_labels(mixed.images, batch.held, epoch=self.current_epoch, step=batch_idx)
        # what little uses torch's global state (dropout) starts from the step's own seed, also if a teacher was loaded
        torch.manual_seed(derive_seed(self.recipe.seed, "step", self.current_epoch, batch_idx) + rank())
        passes = self.channels_of_step(batch_idx, batch.held)
        count = len(batch.labels)
        images = self._resized(mixed.images[own_rows(count)])
        logits = [whole(self._logits(images, columns, batch.held), count) for columns in passes]
        loss = self._step_loss(logits, batch.labels, mixed, taught)
        self._count("fit", loss.detach(), logits[0].detach(), batch.labels)
        return loss

    def _step_loss(self, logits: list[Tensor], labels: Tensor, mixed: _Mixed, taught: Tensor | None) -> Tensor:
        """Mean over the passes; those after the first are subsets of it, which it teaches as far as the recipe says."""
        config, first = self.recipe.train, logits[0]
        loss = self._first_loss(first, labels, mixed, taught)
        for fewer in logits[1:]:
            hard = self._hard_loss(fewer, labels, mixed) if config.distill < 1 else 0.0
            soft = distillation_loss(fewer, first) if config.distill else 0.0
            loss = loss + (1 - config.distill) * hard + config.distill * soft
            if config.never_hurt:
                loss = loss + config.never_hurt * never_hurt_loss(first, fewer, mixed.targets(labels, first.shape[1]))
        return loss / len(logits)

    def _first_loss(self, logits: Tensor, labels: Tensor, mixed: _Mixed, taught: Tensor | None) -> Tensor:
        """Of the first or only pass: what teachers say is for it."""
        if taught is None:
            return self._hard_loss(logits, labels, mixed)
        share = self.recipe.train.teacher_weight
        hard = self._hard_loss(logits, labels, mixed) if share < 1 else 0.0
        return (1 - share) * hard + share * soft_label_loss(logits, taught, temperature=self.recipe.train.temperature)

    def _hard_loss(self, logits: Tensor, labels: Tensor, mixed: _Mixed) -> Tensor:
        loss: Tensor = self.loss(logits, labels)
        if mixed.partners is not None:
            loss = mixed.share * loss + (1 - mixed.share) * self.loss(logits, labels[mixed.partners])
        return loss

    def _mix(self, batch: Batch, step: int) -> _Mixed:
        config = self.recipe.train
        generator = torch.Generator().manual_seed(derive_seed(self.recipe.seed, "cutmix", self.current_epoch, step))
        drawn = torch.rand(1, generator=generator)
        if drawn < config.cutmix:
            # to float first, as in _logits
            images = batch.images if batch.images.dtype == torch.uint8 else batch.images.float()
            return _Mixed(*cut_mix(images, generator=generator))
        if drawn < config.cutmix + config.mixup:
            return _Mixed(*mix_up(batch.images.float(), generator=generator))
        return _Mixed(batch.images, None, 1.0)

    def _resized(self, images: Tensor) -> Tensor:
        """Images at the size of the epoch."""
        config = self.recipe.train
        if config.progressive_sizes is None:
            return images
        return shrink(images, size_of_epoch(config.progressive_sizes, self.current_epoch, epochs=config.epochs))

    def _logits(self, images: Tensor, columns: Subset | None, held: Subset | None) -> Tensor:
        """Of some columns of images, which hold some of the model's channels; `None` for all."""
        if columns is None:
            return self.model(images, index=held)  # type: ignore[no-any-return]
        # to float first: PyTorch cannot index uint16 on a GPU
        index = columns if held is None else tuple(held[column] for column in columns)
        return self.model(images.float()[:, list(columns)], index=index)  # type: ignore[no-any-return]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what an epoch has counted so far."""
        checkpoint[_SUMS] = {name: metric.metric_state for name, metric in self._counts().items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The inverse of `on_save_checkpoint`."""
        for name, metric in self._counts().items():
            for state, value in checkpoint.get(_SUMS, {}).get(name, {}).items():
                setattr(metric, state, value.to(metric.device))

    def _counts(self) -> dict[str, Metric]:
        return {name: metric for name, metric in self.metrics.items() if name.startswith("fit")}  # type: ignore[misc]

    def on_train_start(self) -> None:
        """As at an epoch's start, which is in the past where training goes on in the middle of one."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Frozen batch norms stay in eval mode, whatever mode the rest is in."""
        fix_frozen_statistics(self.model, self.recipe.train.freeze)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch with all its channels, or the recipe's; the validation loss is the plain cross-entropy."""
        rows = own_rows(len(batch.labels))
        images, labels = batch.images[rows], batch.labels[rows]
        if len(labels):
            logits = self._logits(images, self.fixed, batch.held)
            self._count("val", functional.cross_entropy(logits.float(), labels), logits, labels)

    def _count(self, split: str, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.metrics[f"{split}_loss"].update(loss * len(labels))  # type: ignore[operator]
        # ones, because a number would be copied to a GPU, which waits for it
        self.metrics[f"{split}_images"].update(torch.ones(len(labels), device=labels.device))  # type: ignore[operator]
        self.metrics[f"{split}_accuracy"].update(logits, labels)  # type: ignore[operator]

    def epoch_metrics(self, split: str) -> tuple[float, float]:
        """Mean loss and accuracy over the images counted since the last call; `split` is `"fit"` or `"val"`."""
        loss, images, accuracy = (self.metrics[f"{split}_{name}"] for name in ("loss", "images", "accuracy"))
        found = float(loss.compute() / images.compute()), float(accuracy.compute())  # type: ignore[operator]
        for metric in (loss, images, accuracy):
            metric.reset()  # type: ignore[operator]
        return found

    def on_validation_epoch_end(self) -> None:
        """Publish the epoch's metrics, those of training too: callbacks at the epoch's end come before its own hook."""
        for split, shown_as in (("fit", "train"), ("val", "val")):
            loss, accuracy = self.epoch_metrics(split)
            self.log_dict({f"{shown_as}_loss": loss, f"{shown_as}_accuracy": accuracy})

    def configure_optimizers(self) -> Any:
        """Optimizer, and a schedule by step where the recipe has one."""
        config = self.recipe.train
        optimizer = make_optimizer(self.model, config)
        if config.schedule == "none":
            return optimizer
        per_epoch = len(self.train_dataloader())
        steps = (config.epochs - config.cooldown_epochs) * per_epoch
        warmup, floor = round(config.warmup_epochs * per_epoch), config.min_lr / config.lr
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, steps=steps, warmup=warmup, floor=floor)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
