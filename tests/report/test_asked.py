import re

import numpy as np
import pytest
import torch

from anychan.contract import ResizeRule
from anychan.data.dataset import ImageData, Split
from anychan.encoding import Encoding
from anychan.errors import ConfigError
from anychan.presets import RGB, SENTINEL2
from anychan.report.asked import Evaluation
from tests.runs import anonymous


def images_of(val: int) -> ImageData:
    """Data with so many validation images."""
    split = Split(np.zeros((val, 4, 4, 13), np.uint8), torch.zeros(val, dtype=torch.long), ("a",) * val)
    return ImageData({"": {"val": split}}, SENTINEL2, (Encoding(),) * 13, ("a", "b"), ResizeRule(4), "refuse")


def test_choices_of_subsets() -> None:
    thirteen = SENTINEL2
    assert len(Evaluation().subsets(thirteen)) == len(Evaluation(sample=9).subsets(thirteen)) == 28
    assert len(Evaluation(all_subsets=True).subsets(thirteen)) == 8191
    assert Evaluation(channel_drop=0.1).subsets(RGB) == [RGB]
    assert Evaluation(channels=["B,R"]).subsets(RGB) == [RGB.select("B,R")]
    assert [Evaluation(sample=9).drawn(thirteen), Evaluation().drawn(thirteen), Evaluation().drawn(RGB)] == [9, 64, 0]
    assert Evaluation(sample=0).drawn(thirteen) == Evaluation(all_subsets=True).drawn(thirteen) == 0
    assert Evaluation(channels=["R"]).drawn(thirteen) == Evaluation(channel_drop=0.1).drawn(thirteen) == 0


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        (Evaluation(sample=3), "--sample"),
        (Evaluation(shapley=3), "--shapley"),
        (Evaluation(search="greedy"), "--search greedy"),
    ],
)
def test_what_is_evaluated_anyway_is_not_looked_for(asked: Evaluation, option: str) -> None:
    with pytest.raises(ConfigError, match=f"^{option}: all 7 subsets are evaluated anyway; leave it out$"):
        asked.subsets(RGB)


def test_a_greedy_search_takes_the_samples_place() -> None:
    greedy = Evaluation(search="greedy")
    assert greedy.drawn(SENTINEL2) == 0
    assert Evaluation(search="greedy", sample=5).drawn(SENTINEL2) == 5
    assert Evaluation(shapley=5).drawn(SENTINEL2) == 64
    assert len(greedy.subsets(SENTINEL2)) == 28
    assert [greedy.searched(channels, images_of(3)) for channels in (SENTINEL2, anonymous(8))] == [8, 8]
    assert Evaluation(search="greedy", search_up_to=13).searched(SENTINEL2, images_of(3)) == 13
    assert Evaluation().searched(SENTINEL2, images_of(3)) == 0


def test_a_search_needs_what_it_searches_on() -> None:
    with pytest.raises(ConfigError, match=r"^--search-up-to is 14, but there are 13 channels$"):
        Evaluation(search="greedy", search_up_to=14).searched(SENTINEL2, images_of(3))
    message = "--search greedy chooses on validation images, but the data has none"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Evaluation(search="greedy").searched(SENTINEL2, images_of(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"within": -0.1}, "--within is -0.1, but it must be between 0 and 1"),
        ({"channel_drop": 2}, "--channel-drop is 2, but it must be between 0 and 1"),
        ({"sample": -1}, "--sample is -1, but it must be 0 or more subsets"),
        ({"shapley": 1}, "--shapley is 1, but it must be 2 or more random orders"),
        ({"search": "greedy", "search_up_to": 0}, "--search-up-to is 0, but it must be 1 or more channels"),
        ({"search_up_to": 3}, "--search-up-to is for --search greedy, which was not given"),
        ({"shapley": 9, "all_subsets": True}, "--shapley and --all-subsets were given; give one of them"),
        ({"shapley": 9, "channel_drop": 0.5}, "--shapley and --channel-drop were given; give one of them"),
        ({"search": "greedy", "channels": ["R"]}, "--search greedy and --channels were given; give one of them"),
        (
            {"search": "greedy", "split": "val"},
            "--search greedy chooses on the validation images, so --split must be test",
        ),
        ({"sample": 2, "channels": ["R"]}, "--sample and --channels were given; give one of them"),
        ({"sample": 2, "all_subsets": True}, "--sample and --all-subsets were given; give one of them"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Evaluation(**options)  # type: ignore[arg-type]
