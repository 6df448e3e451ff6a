"""A stem of your own: this file is the `anychan` command, and knows the stem `nearest` too.

python examples/add_stem.py train --model.stem nearest --data.path path/to/data --out runs/nearest
"""

import sys

import torch
from torch import Tensor
from torch.nn.functional import one_hot

import anychan as ac
from anychan.cli import main
from anychan.nn.fill import Fill


class NearestFill(Fill):
    """An absent channel takes the value of the nearest present one, in the order of the model's channels."""

    def affine(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (N, C) of 0 and 1 → M (N, C, C) and b (N, C) of x_all = M x_present + b, in normalised values."""
        place = torch.arange(self.num_channels, device=present.device)
        distance = (place[:, None] - place).abs() + self.num_channels * (1 - present[:, None, :])  # (N, C, C)
        matrix = one_hot(distance.argmin(-1), self.num_channels).to(present.dtype)
        return matrix, torch.zeros_like(present)


ac.register_stem("nearest", NearestFill)

if __name__ == "__main__":
    sys.exit(main())
