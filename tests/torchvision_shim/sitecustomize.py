"""Lets the default torchvision wheel import beside a CPU-only PyTorch 2.13. For tests; put this folder on PYTHONPATH.

Its compiled operators do not load there, and torchvision then fails at import because it registers shape rules for two
of them that nobody defined. Python imports this file at every start, in subprocesses too, and it defines those two
without an implementation. Never install torchvision beside the other packages of the environment: torchmetrics imports
it wherever it finds it, and fails with it where this file is not on the path.
"""

from torch.library import Library

# Kept at module level, because the definitions go when the object does.
LIBRARY = Library("torchvision", "DEF")
LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
