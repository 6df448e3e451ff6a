"""What a network is like inside, found out by running it: its first convolution, its last linear layer, its sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from anychan.errors import ConfigError
from anychan.nn.stems import StemConv2d

__all__ = ["Anatomy", "examine"]

SIZES = (224, 32, 64, 28, 96, 128, 256, 299, 384)  # pixels to try where a backbone does not say what it takes
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Anatomy:
    """What `examine` found out about a backbone.

    Args:
        entry: path of its first convolution.
        head: path of the linear layer that gives its logits, or `None` where something else does.
        num_outputs: number of logits.
        min_size: the smallest height and width.
        size_step: heights and widths are multiples of it.
        fixed_size: the only height and width, where there is but one.
    """

    entry: str
    head: str | None
    num_outputs: int
    min_size: int
    size_step: int
    fixed_size: tuple[int, int] | None


def examine(backbone: nn.Module, *, size: int | tuple[int, int] | None = None) -> Anatomy:
    """Find a backbone's first convolution, its last linear layer and the sizes that it takes, by running it.

    It runs in eval mode on PyTorch's meta device: nothing is computed, and the backbone stays as it is.

    Args:
        backbone: images (N, C, H, W) → logits (N, K).
        size: height and width that it takes; default: what it says of itself, or else the first of some usual ones.

    Raises:
        ConfigError: when it does not run, when its first layer is not one ordinary convolution on the image itself, or
            when its output is not logits.
    """
    copy, name = _on_meta(backbone).eval(), type(backbone).__name__
    problem: Exception | None = None
    for image in _images(copy, size):
        try:
            trace = _Trace(copy, image)
        except Exception as error:  # whatever the backbone raises
            problem = problem or error
            continue
        path, conv = trace.entry(copy, name)
        if not isinstance(trace.output, Tensor) or trace.output.ndim != 2:
            raise ConfigError(f"{name} gives {_shape(trace.output)}, but adapt needs logits (N, classes)")
        with torch.no_grad():
            trained = copy.train()(image)
        if not isinstance(trained, Tensor):
            raise ConfigError(f"{name} gives {_shape(trained)} in training; build it without auxiliary outputs")
        step, smallest, fixed = _sizes(copy.eval(), image, cast(Any, conv.stride)[0])
        return Anatomy(path, trace.head(copy), trace.output.shape[1], smallest, step, fixed)
    asked = f"images of {size}" if size else "images of any usual size"
    raise ConfigError(f"{name} does not run on {asked} ({problem}); name a height and width that it takes as size=")


def _images(backbone: nn.Module, size: int | tuple[int, int] | None) -> Iterator[Tensor]:
    """Images to try: of each size with 3 channels, and with as many as any convolution takes."""
    convs = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    dtype = convs[0].weight.dtype if convs else None
    for side in _candidates(backbone, size):
        for count in dict.fromkeys([3, *(conv.in_channels for conv in convs)]):
            yield torch.empty(2, count, *side, device="meta", dtype=dtype)


def _shape(output: Any) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else f"a {type(output).__name__}"


def _on_meta(module: nn.Module) -> nn.Module:
    """A copy without values: deepcopy takes what stands in its memo for copied already."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return deepcopy(module, memo)


def _candidates(backbone: nn.Module, size: int | tuple[int, int] | None) -> list[tuple[int, int]]:
    if size is not None:
        return [(size, size) if isinstance(size, int) else size]
    own = [getattr(module, key, None) for module in backbone.modules() for key in ("img_size", "image_size")]
    found = [(side, side) if isinstance(side, int) else tuple(side) for side in own if isinstance(side, int | tuple)]
    return [*(side for side in found if len(side) == 2), *((side, side) for side in SIZES)]


class _Trace(TorchDispatchMode):
    """One run that records which operators, in which modules, take the image, and what its linear layers give."""

    def __init__(self, module: nn.Module, image: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.image = image
        self.views: list[Any] = [image]
        self.uses: list[tuple[str, str, bool]] = []  # module, operator, whether it takes the image as it came
        self.calls: list[str] = []
        self.linear: dict[str, Any] = {}
        stack: list[str] = []
        self.stack = stack

        def leave(path: str, part: nn.Module, output: Any) -> None:
            stack.pop()
            self.calls.append(path)
            if isinstance(part, nn.Linear):
                self.linear[path] = output

        hooks: list[Any] = []
        for path, part in module.named_modules():
            hooks.append(part.register_forward_pre_hook(lambda _, given, path=path: stack.append(path)))
            hooks.append(part.register_forward_hook(lambda part, _, output, path=path: leave(path, part, output)))
        try:
            with torch.no_grad(), self:
                self.output: Any = module(image)
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs))
        if any(leaf is view for leaf in leaves for view in self.views):
            if func.is_view:
                self.views += tree_leaves(result)
            else:
                whole = any(leaf is self.image for leaf in leaves)
                self.uses.append((self.stack[-1], func._schema.name.removeprefix("aten::"), whole))
        return result

    def entry(self, module: nn.Module, name: str) -> tuple[str, nn.Conv2d]:
        """Path of the convolution that alone takes the image, and the convolution; or an error that says what does."""
        rule = "adapt needs one ordinary convolution (no groups, dilation or other padding than zeros) on the image"
        layers = list(dict.fromkeys(path for path, _, _ in self.uses))
        if len(layers) != 1:
            what = " and ".join(_layer(module, path) for path in layers) or "nothing"
            raise ConfigError(f"{name}: {what} take{'s' * (len(layers) < 2)} the image, but {rule}")
        (path,), conv = layers, module.get_submodule(layers[0])
        ordinary = (
            isinstance(conv, nn.Conv2d)
            and type(conv).forward in (nn.Conv2d.forward, StemConv2d.forward)
            and not parametrize.is_parametrized(conv)
            and (conv.groups, tuple(conv.dilation), conv.padding_mode) == (1, (1, 1), "zeros")
        )
        if not ordinary:
            raise ConfigError(f"{name}: its first layer is {_layer(module, path)}, but {rule}")
        if len(self.uses) > 1 or self.calls.count(path) > 1 or not self.uses[0][2]:
            raise ConfigError(f"{name}: {_layer(module, path)} takes a part of the image or runs twice, but {rule}")
        if any(hooks for key, hooks in vars(conv).items() if key in _HOOKS):
            raise ConfigError(
                f"{name}: {_layer(module, path)} has hooks, which the stem would not run; remove them first"
            )
        return path, cast(nn.Conv2d, conv)

    def head(self, module: nn.Module) -> str | None:
        """Path of the linear layer whose output is the network's."""
        fits = [path for path, output in self.linear.items() if output is self.output and self.calls.count(path) == 1]
        return fits[-1] if fits else None


def _layer(module: nn.Module, path: str) -> str:
    if not path:
        return "its own forward()"
    part = module.get_submodule(path)
    return f"{path!r} ({type(part).__name__})" if not isinstance(part, nn.Conv2d) else f"{path!r} ({part})"


def _sizes(backbone: nn.Module, image: Tensor, stride: int) -> tuple[int, int, tuple[int, int] | None]:
    """Step, smallest size and the only size, from runs on images of other sizes than the one that works."""

    def works(height: int, width: int) -> bool:
        try:
            with torch.no_grad():
                backbone(image.new_empty(*image.shape[:2], height, width))
        except Exception:  # whatever the backbone raises
            return False
        return True

    def square(step: int, steps: int) -> bool:
        return works(step * steps, step * steps)

    height, width = image.shape[2:]
    largest = max(height, width)
    for step in dict.fromkeys((1, stride)):
        top = -(-largest // step)
        if square(step, top + 1) and works(step * (2 * top + 1), step * 2 * top):
            return step, step * _smallest(partial(square, step), top), None
    return 1, min(height, width), (height, width)


def _smallest(works: Callable[[int], bool], known: int) -> int:
    """The least number that works, where all from it up to `known` do, by halving."""
    if works(1):  # as most do
        return 1
    low, high = 1, known  # low does not work, high does
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high
