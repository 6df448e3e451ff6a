import math

import numpy as np
import torch

from anychan.data.dataset import Split
from anychan.encoding import Encoding
from anychan.evaluation.predictions import Predicted
from anychan.presets import RGB
from anychan.report.page.mistakes import worst_mistakes
from tests.report.test_pictures import pixels
from tests.runs import anonymous

CLASSES = ("cat", "dog")


def predicted(true: list[int], label: list[int], confidence: list[float], prefix: str = "") -> Predicted:
    """Photographs whose every pixel is their number."""
    images = np.arange(len(true), dtype=np.uint8)[:, None, None, None] * np.ones((1, 5, 7, 3), np.uint8)
    split = Split(images, torch.tensor(true), tuple(f"{prefix}{number}.png" for number in range(len(true))))
    return Predicted(split, RGB, (0, 1, 2), (Encoding(),) * 3, torch.tensor(label), torch.tensor(confidence))


def test_the_most_confident_mistakes_come_first() -> None:
    found = worst_mistakes([predicted([0, 0, 1, 1], [1, 0, 0, 0], [0.6, 0.99, 0.9, 0.7])], CLASSES)
    assert [(one.name, one.true, one.predicted, one.confidence) for one in found.shown] == [
        ("2.png", "dog", "cat", "90.0 %"),
        ("3.png", "dog", "cat", "70.0 %"),
        ("0.png", "cat", "dog", "60.0 %"),
    ]
    assert (found.wrong, found.n, found.stretched) == (3, 4, False)
    np.testing.assert_array_equal(pixels(found.shown[0].pictures.composite), np.full((5, 7, 3), 2))


def test_six_are_shown_of_all_sources_together() -> None:
    first = predicted([0] * 5, [1] * 5, [0.9, 0.8, 0.7, 0.6, 0.5], "a")
    second = predicted([0] * 5, [1] * 5, [0.95, 0.85, 0.75, 0.65, 0.55], "b")
    found = worst_mistakes([first, second], CLASSES)
    assert [one.name for one in found.shown] == ["b0.png", "a0.png", "b1.png", "a1.png", "b2.png", "a2.png"]
    assert (found.wrong, found.n) == (10, 10)


def test_what_is_no_number_comes_last_and_no_class_is_told() -> None:
    found = worst_mistakes([predicted([0, 0], [1, 99], [math.nan, 0.2])], CLASSES)
    assert [one.predicted for one in found.shown] == ["none of the classes", "dog"]


def test_only_channels_that_the_model_saw_are_shown() -> None:
    images = np.random.default_rng(0).integers(0, 9000, (1, 5, 7, 4), dtype=np.uint16)
    split = Split(images, torch.tensor([0]), ("a.tif",))
    channels = anonymous(2)
    part = Predicted(split, channels, (3, 1), (Encoding(),) * 2, torch.tensor([1]), torch.tensor([0.9]))
    found = worst_mistakes([part], CLASSES)
    assert found.stretched
    assert list(found.shown[0].pictures.tiles) == ["c0", "c1"]
    tile, plane = pixels(found.shown[0].pictures.tiles["c0"]).astype(int), images[0, :, :, 3].astype(int)
    assert np.corrcoef(tile.ravel(), plane.ravel())[0, 1] > 0.99


def test_without_mistakes_nothing_is_shown() -> None:
    found = worst_mistakes([predicted([0, 1], [0, 1], [0.6, 0.9])], CLASSES)
    assert (found.shown, found.wrong, found.n) == ((), 0, 2)
