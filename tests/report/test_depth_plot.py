from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from anychan.errors import RunError
from anychan.profiling.chain import Gate, Layer
from anychan.profiling.depth import Depth
from anychan.report import depth_plot
from anychan.report.depth_plot import depth_text, plot_depths

LONG = "body.backbone.layers.2.blocks.5.attn.qkv"
GATES = (Gate(1, 1, (Layer(("se.squeeze",)), Layer(("se.excite",)))), Gate(1, 2, (Layer(("mix.attention",)),)))


def depth(count: int, *, gates: tuple[Gate, ...] = (), merged: tuple[str, ...] = ()) -> Depth:
    """`count` layers, the last one the classifier's, the second with merged branches."""
    layers = [Layer((f"layer{n}",), merged if n == 1 else (), n == count - 1) for n in range(count)]
    return Depth(count - 1, count - 1 + len(gates), 1, count, tuple(layers), tuple(layers), gates)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes that were saved."""
    found: list[Axes] = []
    save = Figure.savefig

    def spy(figure: Figure, *args: object, **options: object) -> None:
        found.extend(figure.axes)
        save(figure, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", spy)
    return found


def boxes(axes: Axes, colour: str) -> list[tuple[float, float]]:
    """Left and bottom of each box of a colour."""
    patches = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    return [(patch.get_x(), patch.get_y()) for patch in patches if to_hex(patch.get_facecolor()).upper() == colour]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_text_has_the_three_figures() -> None:
    assert depth_text(depth(5)) == "4 feature layers + 1 in the classifier; 5 weighted modules"
    expected = "1 feature layer (3 with gates) + 1 in the classifier; 2 weighted modules"
    assert depth_text(depth(2, gates=GATES)) == expected


def test_a_box_a_layer_from_left_to_right(drawn: list[Axes], tmp_path: Path) -> None:
    plot_depths({"net": depth(5, merged=("shortcut",))}, tmp_path / "path.png")
    features = boxes(drawn[0], depth_plot._FEATURES)
    (classifier,) = boxes(drawn[0], depth_plot._CLASSIFIER)
    assert len(features) == 4
    assert [left for left, _ in (*features, classifier)] == sorted(left for left, _ in (*features, classifier))
    assert len({bottom for _, bottom in (*features, classifier)}) == 1
    (behind,) = boxes(drawn[0], depth_plot._MERGED)
    assert behind == pytest.approx((features[1][0] + 0.06, features[1][1] + 0.06))
    assert [text for text in texts(drawn[0]) if text.startswith("layer")] == [f"layer{n}" for n in range(5)]
    assert {"image", "logits", "net", "1", "5"} <= set(texts(drawn[0]))
    with Image.open(tmp_path / "path.png") as picture:
        assert picture.format == "PNG"
        assert picture.size[0] > picture.size[1]


def test_gates_stand_above_the_product(drawn: list[Axes], tmp_path: Path) -> None:
    plot_depths({"net": depth(4, gates=GATES)}, tmp_path / "path.png")
    first, second, *_ = boxes(drawn[0], depth_plot._FEATURES)
    excite, squeeze, attention = boxes(drawn[0], depth_plot._GATE)
    assert squeeze[1] > excite[1] > first[1] + depth_plot._HEIGHT
    assert squeeze[0] == excite[0]
    assert attention[0] - squeeze[0] == pytest.approx(second[0] - first[0])
    assert {"squeeze", "excite", "attention"} <= set(texts(drawn[0]))
    # one reads the first layer's output, the other what goes into the second layer
    ups = [np.asarray(line.get_xydata()) for line in drawn[0].lines]
    after, before = (line[0].tolist() for line in ups if len(line) > 1)
    top = first[1] + depth_plot._HEIGHT
    assert after == pytest.approx([first[0] + depth_plot._WIDTH / 2, top])
    assert first[0] + depth_plot._WIDTH < before[0] < second[0]
    assert before[1] == pytest.approx(top - depth_plot._HEIGHT / 2)


def test_many_layers_go_on_in_the_next_line(drawn: list[Axes], tmp_path: Path) -> None:
    plot_depths({"deep": depth(34), "shallow": depth(3)}, tmp_path / "path.png")
    features = boxes(drawn[0], depth_plot._FEATURES)
    bottoms = [bottom for _, bottom in features]
    assert [bottoms.count(bottom) for bottom in sorted(set(bottoms), reverse=True)] == [17, 16, 2]
    assert texts(drawn[0]).index("deep") < texts(drawn[0]).index("shallow")
    assert texts(drawn[0]).count("logits") == texts(drawn[0]).count("image") == 2


def test_labels_of_chains_and_long_names(drawn: list[Axes], tmp_path: Path) -> None:
    layers = (Layer(("guess", "conv")), Layer(tuple("abcde")), Layer((LONG,)), Layer(("$a_b$",)))
    plot_depths({"net": Depth(4, 4, 0, 9, layers, layers, ())}, tmp_path / "path.png")
    found = texts(drawn[0])
    assert {"guess\n→ conv", "a\n→ …\n→ e", "body.backbone.layers.2.\nblocks.5.attn.qkv", "$a_b$"} <= set(found)


def test_a_network_without_layers(drawn: list[Axes], tmp_path: Path) -> None:
    plot_depths({"nothing": Depth(0, 0, 0, 0, (), (), ())}, tmp_path / "path.png")
    assert boxes(drawn[0], depth_plot._FEATURES) == []
    assert "nothing" in texts(drawn[0])


def test_gate_on_the_image(drawn: list[Axes], tmp_path: Path) -> None:
    plot_depths({"net": depth(3, gates=(Gate(0, 0, (Layer(("gate",)),)),))}, tmp_path / "path.png")
    (gate,) = boxes(drawn[0], depth_plot._GATE)
    assert gate[0] < boxes(drawn[0], depth_plot._FEATURES)[0][0]


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"path\.png: the picture cannot be written there"):
        plot_depths({"net": depth(3)}, tmp_path / "none" / "path.png")
