import random
from collections.abc import Iterator

import pytest

from anychan.profiling.chain import Chain, Gate, Layer, Signal, join


def layer(*names: str, merged: tuple[str, ...] = ()) -> Layer:
    return Layer(names, merged)


def chain(*steps: str) -> Chain:
    """`a` is a weight, `|` something nonlinear."""
    found = Chain()
    for step in steps:
        found = found.close() if step == "|" else found.weigh(step, classifier=False)
    return found


def test_weights_with_nothing_between_are_one_layer() -> None:
    assert chain("a", "b", "|", "|", "c").layers == (layer("a", "b"), layer("c"))
    assert chain("a", "|").without_open() == chain("a", "|")
    assert chain("a", "|", "b", "c").without_open() == chain("a", "|")


def test_a_layer_belongs_where_it_begins() -> None:
    both = Chain().weigh("a", classifier=False).weigh("b", classifier=True)
    assert both.layers == (Layer(("a", "b"), classifier=False),)


def test_an_open_layer_is_worth_less_than_one_that_was_closed() -> None:
    """Both have two layers, but only the second goes on to three by the next weight."""
    assert join([chain("a", "|", "b"), chain("c", "|", "d", "|")]) == chain("c", "|", "d", "|")
    assert join([chain("a", "|"), chain("b", "|", "c")]).layers == chain("b", "|", "c").layers


def test_linear_branches_are_merged_into_the_longest() -> None:
    main, shortcut = chain("a", "|", "b", "|", "c"), chain("a", "|", "d")
    assert join([shortcut, main]).layers == (layer("a"), layer("b"), layer("c", merged=("d",)))
    assert join([main, chain("a", "|"), main]) == main  # no branch of its own
    assert join([main, chain("e", "|")]) == main  # ends in something nonlinear: summed, but not merged
    once = join([main, shortcut])
    assert join([once, shortcut, chain("f")]).layers[-1] == layer("c", merged=("d", "f"))


def test_a_gate_has_the_layers_that_are_its_own() -> None:
    trunk = chain("a", "|")
    gated = trunk.gated_by(chain("a", "|", "s", "|", "e", "|"))
    assert gated == Chain(trunk.layers, False, (Gate(1, 1, (layer("s"), layer("e"))),))
    ahead = chain("a", "|", "b").gated_by(chain("a", "|", "s", "|"))  # reads what the last layer reads
    assert ahead.gates == (Gate(1, 2, (layer("s"),)),)
    assert trunk.gated_by(trunk) == trunk  # x · sigmoid(x) is an activation
    assert chain("a").gated_by(Chain()) == chain("a", "|")  # ends the layer all the same


def test_signal_follows_both_ways() -> None:
    signal = Signal(chain("a", "|"), chain("a", "|", "g", "|")).weigh("b", classifier=False)
    assert (len(signal.plain.layers), len(signal.gated.layers)) == (2, 3)
    closed = signal.close(bounded=True)
    assert (closed.plain.open, closed.gated.open, closed.bounded) == (False, False, True)


def paths(edges: dict[int, list[int]], node: int) -> Iterator[list[int]]:
    """All ways from node 0."""
    if node == 0:
        yield [0]
    for before in edges.get(node, ()):
        for path in paths(edges, before):
            yield [*path, node]


def count_layers(kinds: list[str], path: list[int]) -> int:
    """Stretches between what is nonlinear that hold a weight, by their definition."""
    stretches = "".join(kinds[node] for node in path).split("|")
    return sum("w" in stretch for stretch in stretches)


@pytest.mark.parametrize("seed", range(40))
def test_longest_of_all_paths(seed: int) -> None:
    """Against every path of a random graph, one by one."""
    rng = random.Random(seed)
    kinds = ["-", *rng.choices("w|-", k=11)]
    edges = {node: sorted(rng.sample(range(node), min(node, rng.choice([1, 2, 3])))) for node in range(1, 12)}
    chains = {0: Chain()}
    for node in range(1, 12):
        found = join(chains[before] for before in edges[node])
        chains[node] = chain_step(found, kinds[node], str(node))
    assert len(chains[11].layers) == max(count_layers(kinds, path) for path in paths(edges, 11))


def chain_step(found: Chain, kind: str, name: str) -> Chain:
    if kind == "w":
        return found.weigh(name, classifier=False)
    return found.close() if kind == "|" else found
