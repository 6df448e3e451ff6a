from typing import Any

import torch

from anychan.channels import ChannelSet
from anychan.evaluation.match import ChannelMatch
from anychan.evaluation.subsets import SubsetReport, SubsetRow
from anychan.report.evaluate import RunReport
from anychan.report.page.subsets import read_matrix
from tests.report.test_summary import HEAD
from tests.runs import anonymous


def evaluated(channels: ChannelSet, subsets: list[ChannelSet], **head: Any) -> dict[str, Any]:
    """What `anychan evaluate` writes; of 100 images 5 a channel are right."""
    rows = tuple(SubsetRow(one.names, torch.arange(100) < 5 * len(one), torch.full((100,), 0.5)) for one in subsets)
    report = SubsetReport(rows, 2 ** len(channels) - 1, "saved", torch.arange(100) < 10)
    match = ChannelMatch(channels, dict.fromkeys(channels.names, "trained"), ())
    return RunReport({**HEAD, **head}, report, None, "no reason", None, match).to_dict()


def all_of(count: int) -> dict[str, Any]:
    channels = anonymous(count)
    return evaluated(channels, list(channels.subsets()))


def test_every_subset_has_its_dots_and_its_bar() -> None:
    found = read_matrix(all_of(3))
    assert found.channels == ("c0", "c1", "c2")
    assert {title: len(rows) for title, rows in found.groups.items()} == {
        "3 channels": 1,
        "2 channels": 3,
        "1 channel": 3,
    }
    names = [row.name for row in found.groups["2 channels"]]
    assert sorted(names) == ["c0+c1", "c0+c2", "c1+c2"]
    row = found.groups["2 channels"][names.index("c0+c2")]
    assert (row.on, row.off) == ((9, 45), (27,))
    assert (row.bar.start, row.bar.length) == (0, 10)
    assert row.bar.text == "10.0 % (5.5 to 17.4)"
    assert row.calibration == "40.0 %"
    assert (found.chance, found.n, found.width) == (10, 100, 54)


def test_the_best_of_a_size_comes_first() -> None:
    values = all_of(2)
    values["subsets"][0]["accuracy"], values["subsets"][1]["accuracy"] = 0.2, 0.3
    single = read_matrix(values).groups["1 channel"]
    assert [row.bar.length for row in single] == sorted((row.bar.length for row in single), reverse=True)


def test_of_many_subsets_the_ends_are_shown() -> None:
    found = read_matrix(all_of(8))
    assert list(found.groups)[:2] == ["8 channels", "7 channels: best and worst of 8 subsets"]
    assert [len(rows) for rows in found.groups.values()] == [1, *[2] * 7]
    assert len(read_matrix(all_of(7)).groups["3 channels"]) == 35


def test_many_channels_have_names_for_dots() -> None:
    channels = anonymous(156)
    singles = [ChannelSet([channel]) for channel in channels]
    found = read_matrix(evaluated(channels, [channels, *singles, *(channels - one for one in singles)]))
    assert found.channels == ()
    (row,) = found.groups["156 channels"]
    assert (row.name, row.on, row.off) == ("all 156 channels", (), ())
    assert sum(map(len, found.groups.values())) == 5
    assert found.notes[0].startswith("There are 2^156 - 1 subsets; 313 of them were evaluated.")


def test_notes_say_what_a_reader_must_know() -> None:
    values = all_of(3) | {"untrained": ["stem.a"], "absent_channels": ["c9"]}
    values["sample"] = {"n": 64, "mean": 0.5, "standard_error": 0.01}
    text = " ".join(read_matrix(values).notes)
    assert "estimated from 64 drawn at random: 50.0 % (standard error of the draw 1.0 points)" in text
    assert "One channel more is significantly worse in 0 of 9 pairs" in text
    assert "Never trained, still as they began: stem.a." in text
    assert "Not in this data: c9; filled by stem mean." in text
    assert "There are" not in text
