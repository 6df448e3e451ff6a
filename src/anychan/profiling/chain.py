"""Paths from the input to a point of a network, and the four things that can happen to one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

__all__ = ["Chain", "Gate", "Layer", "Signal", "join"]


@dataclass(frozen=True)
class Layer:
    """One weighted map of a path: a chain of linear maps with nothing nonlinear between.

    Args:
        names: of the chain's weights, in order.
        merged: of the weights in parallel branches that are summed into it.
        classifier: whether it comes after global pooling.
    """

    names: tuple[str, ...]
    merged: tuple[str, ...] = ()
    classifier: bool = False


@dataclass(frozen=True)
class Gate:
    """A branch that is multiplied with the trunk.

    Args:
        source: number of the trunk's layers before the branch leaves it.
        after: number of the trunk's layers before the product.
        layers: the gate's own.
    """

    source: int
    after: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Chain:
    """A longest path to one point.

    Args:
        layers: of the path.
        open: whether the last layer is still linear: a weight that follows it is merged into it.
        gates: that the path passes by.
    """

    layers: tuple[Layer, ...] = ()
    open: bool = False
    gates: tuple[Gate, ...] = ()

    @property
    def rank(self) -> tuple[int, bool]:
        """Of two paths the one of higher rank is at least as long at every later point."""
        return len(self.layers) - self.open, self.open

    def weigh(self, name: str, *, classifier: bool) -> Chain:
        """Through a weight."""
        if not self.open:
            return replace(self, layers=(*self.layers, Layer((name,), classifier=classifier)), open=True)
        last = self.layers[-1]
        return replace(self, layers=(*self.layers[:-1], replace(last, names=(*last.names, name))))

    def close(self) -> Chain:
        """Through something nonlinear."""
        return replace(self, open=False)

    def without_open(self) -> Chain:
        """Without the layer that is still linear."""
        return replace(self, layers=self.layers[:-1], open=False) if self.open else self

    def gated_by(self, gate: Chain) -> Chain:
        """Through a product with a branch."""
        common = 0
        for ours, theirs in zip(self.layers, gate.layers, strict=False):
            if ours.names[0] != theirs.names[0]:
                break
            common += 1
        own = gate.layers[common:]
        return replace(self.close(), gates=(*self.gates, Gate(common, len(self.layers), own)) if own else self.gates)


def join(chains: Iterable[Chain]) -> Chain:
    """Where paths are summed or stacked: the longest, and the linear branches beside it merged into its last layer."""
    first, *rest = chains
    best = max([first, *rest], key=lambda chain: chain.rank)
    if not best.open:
        return best
    known = {name for layer in best.layers for name in (*layer.names, *layer.merged)}
    others = [chain.layers[-1] for chain in (first, *rest) if chain.open]
    merged = [name for layer in others for name in (*layer.names, *layer.merged) if name not in known]
    last = replace(best.layers[-1], merged=(*best.layers[-1].merged, *dict.fromkeys(merged)))
    return replace(best, layers=(*best.layers[:-1], last))


@dataclass(frozen=True)
class Signal:
    """What the walk knows of a value that depends on the image.

    Args:
        plain: the longest path to it that enters no gate.
        gated: the longest path of all.
        bounded: whether it ends in a nonlinearity such as a sigmoid, apart from linear maps without weights.
    """

    plain: Chain = Chain()
    gated: Chain = Chain()
    bounded: bool = False

    def weigh(self, name: str, *, classifier: bool) -> Signal:
        """Through a weight."""
        return Signal(self.plain.weigh(name, classifier=classifier), self.gated.weigh(name, classifier=classifier))

    def close(self, *, bounded: bool = False) -> Signal:
        """Through something nonlinear."""
        return Signal(self.plain.close(), self.gated.close(), bounded)
