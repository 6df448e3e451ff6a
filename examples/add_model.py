"""A network of your own: this file is the `anychan` command, and knows `two_convs` too.

python examples/add_model.py train --model.name two_convs --data.path path/to/data --out runs/two-convs
"""

import sys

from torch import nn

import anychan as ac
from anychan.cli import main
from anychan.models.base import Network, StemFactory, pooled_head
from anychan.nn.stems import StemConv2d


def two_convs(stem: StemFactory, *, num_channels: int, num_classes: int, width: int = 32) -> Network:
    """A 5×5 and a 3×3 convolution; `width` is an option, as in `--model.options '{"width": 64}'`."""
    first = StemConv2d(num_channels, width, 5, stride=2, padding=2, bias=False)  # over all channels; stem() folds it
    body = nn.Sequential(
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
    )
    return Network(stem(first), body, pooled_head(2 * width, num_classes))


ac.register_model("two_convs", two_convs, size=32, num_classes=50)

if __name__ == "__main__":
    sys.exit(main())
