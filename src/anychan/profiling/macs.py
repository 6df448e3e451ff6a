"""Parameters and MACs of a model, and what the count leaves out; its effective depth, if asked for.

One MAC is one multiply-add. Convolutions, matrix products (attention's two among them) and linear layers are counted,
by `torch.utils.flop_counter` (FLOPs // 2), one image in eval mode. Everything else falls in one of two kinds: free
(reshapes, views: no arithmetic) or uncounted, and the uncounted operators are listed with the values they write, so
that nothing reads as 0 without saying so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from anychan.channels import ChannelSet
from anychan.models.catalog import CATALOG, create_model
from anychan.profiling.depth import Depth, effective_depth
from anychan.profiling.graph import meta_copy

__all__ = ["Profile", "catalog_profiles", "profile"]

# No arithmetic: they move, name or allocate values.
_FREE = frozenset(
    [
        "_reshape_alias",
        "_to_copy",
        "_unsafe_view",
        "alias",
        "arange",
        "as_strided",
        "cat",
        "clone",
        "constant_pad_nd",
        "detach",
        "diag_embed",
        "empty",
        "empty_like",
        "expand",
        "fill",
        "full",
        "index",
        "index_select",
        "lift_fresh",
        "new_ones",
        "new_zeros",
        "ones",
        "ones_like",
        "permute",
        "scalar_tensor",
        "select",
        "slice",
        "split",
        "squeeze",
        "stack",
        "t",
        "transpose",
        "unbind",
        "unsqueeze",
        "view",
        "zeros",
        "zeros_like",
    ]
)


@dataclass(frozen=True)
class Profile:
    """What a forward pass of one image costs.

    Args:
        params: trainable and other parameters.
        macs: multiply-adds of convolutions, matrix products and linear layers.
        uncounted: operator → values it writes, for operators with arithmetic that `macs` leaves out.
        input_shape: (1, C, H, W).
        num_classes: number of logits.
        depth: weighted maps on the longest path; `None` where it was not asked for.
    """

    params: int
    macs: int
    uncounted: dict[str, int]
    input_shape: tuple[int, ...]
    num_classes: int
    depth: Depth | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without a depth that was not asked for."""
        values = {**asdict(self), "input_shape": list(self.input_shape)}
        if self.depth is None:
            del values["depth"]
        return values


class _Uncounted(TorchDispatchMode):
    """Adds up the values written by operators that are neither counted nor free."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.written: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::").removesuffix("_")
        if func.overloadpacket not in flop_registry and name not in _FREE:
            first = next((leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)), None)
            self.written[name] += 0 if first is None else first.numel()
        return result


def profile(
    model: nn.Module, input_shape: tuple[int, ...], *, channels: ChannelSet | None = None, depth: bool = False
) -> Profile:
    """Count one forward pass on PyTorch's meta device: nothing is computed, so any size is quick.

    Args:
        model: any module that takes one tensor; it is copied, not changed.
        input_shape: (1, C, H, W).
        channels: for an `AnyChannelModel`, the subset to profile; `input_shape` then has its number of channels.
        depth: also measure the effective depth, which takes a second or more.

    Raises:
        InputShapeError: for a size that the model cannot take.
        ChannelError: for a channel that the model does not know.
        ConfigError: with `depth`, for a module that `torch.export` cannot trace.
    """
    call: Callable[[Tensor], Tensor] = meta_copy(model, channels)
    with torch.no_grad(), _Uncounted() as uncounted, FlopCounterMode(display=False) as counter:
        num_classes = call(torch.empty(input_shape, device="meta")).shape[-1]
    return Profile(
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=counter.get_total_flops() // 2,
        uncounted=dict(uncounted.written.most_common()),
        input_shape=tuple(input_shape),
        num_classes=num_classes,
        depth=effective_depth(model, input_shape, channels=channels) if depth else None,
    )


def catalog_profiles() -> list[dict[str, Any]]:
    """Name, parameters, MACs, input shape and classes of every network, at its source's size and class count."""
    rows = []
    for name, spec in CATALOG.items():
        with torch.device("meta"):
            model = create_model(name, num_classes=spec.num_classes)
        found = profile(model, (1, 3, spec.size, spec.size)).to_dict()
        rows.append({"name": name, "source": spec.source, "stem": spec.stem, **found})
    return rows
