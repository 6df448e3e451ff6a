"""An image classified together with its mirror image, left to right: twice the work, often a little more right."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["with_flips"]


def with_flips(classify: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A classifier whose softmax is the mean of a classifier's softmax of each image and of its mirror image.

    Probabilities are averaged and not logits: the mean stays a distribution, of which the confidence is read.

    Args:
        classify: images (N, C, H, W) → logits (N, K).

    Returns:
        Images → logarithms of the mean probabilities (N, K), in float32.

    Source: horizontal reflections at test time, Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional
    Neural Networks (NeurIPS), §4.1, who average over crops too.
    """

    def averaged(images: Tensor) -> Tensor:
        images = images.float() if images.dtype == torch.uint16 else images  # PyTorch cannot flip uint16
        both = (classify(each).float().log_softmax(1) for each in (images, images.flip(3)))
        return torch.logaddexp(*both) - math.log(2)

    return averaged
