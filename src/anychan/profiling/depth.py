"""Effective depth: the most weighted maps on a path from the input to the logits.

A path is cut into layers where something nonlinear stands: an activation, max pooling, layer norm, a product of two
activations. What is linear between two cuts counts as one weighted map, however many weights it has: convolution →
batch norm (in eval mode) → convolution, and parallel branches that are summed. Batch norm, layer scales and biases
alone are no weighted map; padding, average pooling, space-to-depth and reshapes have no weights. Whatever does not
depend on the image counts nothing, since it can be computed once: a folded kernel, or a generator of kernels.

Of a product of two activations, one side is the trunk and the other a gate: the one that is broadcast, or else the one
that ends in a bounded nonlinearity (sigmoid, tanh, softmax), or else the one with fewer layers. A kernel made from
activations is a gate of its convolution, and the last weights before it are the convolution's own: kernels mixed before
the convolution, or convolutions mixed after it, are one function and have one depth. Without gates the path follows the
trunk; with gates it may run through either side. The product ends the layer in both.

The classifier is what comes after global pooling: after the last step that takes an image's places together (mean,
pooling to one value, a class token, attention pooling, flattening).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise, takewhile
from math import prod
from typing import Any

from torch import fx, nn

from anychan.channels import ChannelSet
from anychan.profiling.chain import Gate, Layer, Signal, join
from anychan.profiling.graph import ForwardGraph, forward_graph, operator_name
from anychan.profiling.operators import (
    BOUNDED,
    ELEMENTWISE,
    KERNELS,
    addends,
    attended,
    factors,
    is_constant,
    is_linear,
    pools_places,
    value_shape,
)

__all__ = ["Depth", "effective_depth"]


@dataclass(frozen=True)
class Depth:
    """How many weighted maps follow each other.

    Args:
        features: on the longest path without gates, before global pooling.
        features_with_gates: the same where the path may run through gates.
        classifier: after global pooling.
        weighted_modules: weights of convolutions and matrix products, each once, wherever they stand: of an ordinary
            network the number of its modules that have such a weight.
        path: the layers of the longest path without gates.
        path_with_gates: of the longest path of all.
        gates: that the path without gates passes by.
    """

    features: int
    features_with_gates: int
    classifier: int
    weighted_modules: int
    path: tuple[Layer, ...]
    path_with_gates: tuple[Layer, ...]
    gates: tuple[Gate, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def effective_depth(model: nn.Module, input_shape: tuple[int, ...], *, channels: ChannelSet | None = None) -> Depth:
    """Measure a module's effective depth, as this file's first lines define it, in eval mode.

    It is the longest chain by dynamic programming over the graph of `torch.export`. An operator that is not known to be
    linear ends the layer, and one with weights of its own that is not known counts as one layer.

    Args:
        model: any module that takes one tensor; it is copied, not changed.
        input_shape: (N, C, H, W); N does not matter.
        channels: for an `AnyChannelModel`, the subset; `input_shape` then has its number of channels.

    Raises:
        InputShapeError: for a size that the model cannot take.
        ChannelError: for a channel that the model does not know.
        ConfigError: for a module that `torch.export` cannot trace.

    Example:
        >>> layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
        >>> depth = effective_depth(nn.Sequential(*layers), (1, 3, 8, 8))
        >>> depth.features, depth.classifier, depth.path
        (1, 1, (Layer(names=('0',), merged=(), classifier=False), Layer(names=('4',), merged=(), classifier=True)))
    """
    walk = _Walk(forward_graph(model, input_shape, channels=channels))
    logits = walk.logits()
    features = [sum(not layer.classifier for layer in chain.layers) for chain in (logits.plain, logits.gated)]
    return Depth(
        features=features[0],
        features_with_gates=features[1],
        classifier=len(logits.plain.layers) - features[0],
        weighted_modules=len(walk.weights),
        path=logits.plain.layers,
        path_with_gates=logits.gated.layers,
        gates=logits.plain.gates,
    )


class _Walk:
    """One pass over the graph, in its order, that keeps a `Signal` for each value that depends on the image.

    For each other value it keeps the names that it is made of: of the parameters of two axes or more, or else of the
    buffers and vectors.

    Args:
        graph: the graph.
    """

    def __init__(self, graph: ForwardGraph) -> None:
        self.graph = graph
        self.weights: set[str] = set()
        self.signals: dict[fx.Node, Signal] = {graph.image: Signal()}
        self.matrices: dict[fx.Node, tuple[str, ...]] = {}  # value → the parameters of two axes that it is made of
        self.vectors: dict[fx.Node, tuple[str, ...]] = {}  # value → the other parameters and buffers
        dependent = {graph.image}
        for node in graph.nodes:
            if node.op == "call_function" and not is_constant(node) and dependent & set(node.all_input_nodes):
                dependent.add(node)
        self.dependent = dependent
        self.classifier = self._find_classifier()

    def logits(self) -> Signal:
        """Of the output."""
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self._begin(node)
            elif node.op == "call_function":
                self._count_weights(node)
                if node in self.dependent:
                    self.signals[node] = self._follow(node)
                else:
                    for names in (self.matrices, self.vectors):
                        found = [name for other in node.all_input_nodes for name in names.get(other, ())]
                        names[node] = tuple(dict.fromkeys(found))
        return self.signals.get(self.graph.output, Signal())

    def _find_classifier(self) -> set[fx.Node]:
        """Back from the logits, as long as an image has one vector, to the step that took its places together."""
        found: set[fx.Node] = set()
        waiting = [self.graph.output]
        while waiting:
            node = waiting.pop()
            if node in found or node not in self.dependent or not _is_vector(node):
                continue
            found.add(node)
            before = [other for other in node.all_input_nodes if other in self.dependent]
            if not pools_places(node) and all(_is_vector(other) for other in before):
                waiting += before
        return found

    def _begin(self, node: fx.Node) -> None:
        parameter = self.graph.parameters.get(node.name)
        name = parameter or self.graph.buffers.get(node.name)
        if name is not None:
            kind = self.matrices if parameter and len(value_shape(node)) >= 2 else self.vectors
            kind[node] = (name,)

    def _count_weights(self, node: fx.Node) -> None:
        operands = factors(node)
        if operator_name(node) not in ELEMENTWISE:
            self.weights.update(name for other in operands for name in self.matrices.get(other, ()))

    def _follow(self, node: fx.Node) -> Signal:
        """Through one operator."""
        operands = factors(node)
        if attended(node):
            return self._attend(node)
        if any(operand in self.dependent for operand in operands):
            return self._multiply(node, operands)
        inputs = [other for other in node.all_input_nodes if other in self.dependent]
        merged = _sum([self.signals[other] for other in inputs])
        if operands or is_linear(node, self.dependent):
            return merged
        if self._has_weights(node):
            name = self._name(node.all_input_nodes)
            self.weights.add(name)
            merged = merged.weigh(name, classifier=node in self.classifier)
        return merged.close(bounded=operator_name(node) in BOUNDED)

    def _has_weights(self, node: fx.Node) -> bool:
        """Whether an operator that no table knows takes a parameter of two axes otherwise than element by element."""
        shapes = [value_shape(other) for other in node.all_input_nodes if self.matrices.get(other)]
        return any(not _broadcasts(shape, value_shape(node)) for shape in shapes)

    def _name(self, nodes: list[fx.Node]) -> str:
        """Of a weight made of these values: the parameter, or what the names of several have in common."""
        for kind in (self.matrices, self.vectors):
            names = [name.removesuffix(".weight") for node in nodes for name in kind.get(node, ())]
            if names:
                places = zip(*(name.split(".") for name in names), strict=False)
                shared = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, places)]
                return ".".join(shared) or "+".join(dict.fromkeys(names))
        return "constant"

    def _multiply(self, node: fx.Node, operands: list[fx.Node]) -> Signal:
        """Through a product, with weights or of several activations."""
        name, classifier = operator_name(node), node in self.classifier
        inputs = [operand for operand in operands if operand in self.dependent]
        constants = [operand for operand in operands if operand not in self.dependent]
        product = self.signals[inputs[0]]
        if "div" in name and node.args[0] not in self.dependent:  # a constant by an activation
            return product.close()
        if len(inputs) == 1 and (name not in ELEMENTWISE or self._grows(node, inputs[0], constants)):
            product = product.weigh(weight := self._name(constants), classifier=classifier)
            if not any(self.matrices.get(constant) for constant in constants):
                self.weights.add(weight)  # a buffer, say
        for before, gate in pairwise(inputs):
            sides = product, self.signals[gate]
            if name in KERNELS:
                product = _convolve(*sides, classifier=classifier)
            elif "div" in name or not self._first_is_gate(node, before, gate):
                product = _gate(*sides)
            else:
                product = _gate(*reversed(sides))
        added = [self.signals[other] for other in addends(node) if other in self.dependent]
        return _sum([product, *added]) if added else product

    def _grows(self, node: fx.Node, values: fx.Node, constants: list[fx.Node]) -> bool:
        """Whether a product element by element is an outer one, so that a sum after it is a matrix product."""
        made_of = any(self.matrices.get(constant) for constant in constants)
        return made_of and prod(value_shape(node)) > prod(value_shape(values))

    def _first_is_gate(self, node: fx.Node, first: fx.Node, second: fx.Node) -> bool:
        """Which side of a product is the gate; of two that are alike the second."""
        one, other = self.signals[first], self.signals[second]
        if operator_name(node) in ELEMENTWISE:
            smaller = [prod(value_shape(side)) < prod(value_shape(node)) for side in (first, second)]
            if smaller[0] != smaller[1]:
                return smaller[0]
        if one.bounded != other.bounded:
            return one.bounded
        return one.plain.rank < other.plain.rank

    def _attend(self, node: fx.Node) -> Signal:
        """Through attention: the values are the trunk, queries and keys the gate."""
        *gates, trunk = [self.signals[other] for other in attended(node) if other in self.dependent]
        for gate in gates:
            trunk = _gate(trunk, gate)
        return trunk


def _sum(signals: list[Signal]) -> Signal:
    if len(signals) == 1:
        return signals[0]
    return Signal(join(signal.plain for signal in signals), join(signal.gated for signal in signals))


def _gate(trunk: Signal, gate: Signal) -> Signal:
    return Signal(trunk.plain.gated_by(gate.plain), join([trunk.gated.close(), gate.gated.close()]))


def _convolve(values: Signal, kernel: Signal, *, classifier: bool) -> Signal:
    """The kernel's open layer is a bank of kernels: the convolution's own weights, which the gate only mixes."""
    if kernel.plain.open:
        for name in kernel.plain.layers[-1].names:
            values = values.weigh(name, classifier=classifier)
    return _gate(values, Signal(kernel.plain.without_open(), kernel.gated.without_open()))


def _is_vector(node: fx.Node) -> bool:
    """Whether an image's value has one axis at most; the batch has the first."""
    return sum(size > 1 for size in value_shape(node)[1:]) <= 1


def _broadcasts(shape: tuple[int, ...], onto: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(onto), strict=False)
    return len(shape) <= len(onto) and all(size in (1, other) for size, other in pairs)
