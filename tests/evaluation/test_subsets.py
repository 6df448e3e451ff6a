import pytest
import torch

from anychan.evaluation.subsets import SubsetReport, SubsetRow


def test_rows_as_plain_values() -> None:
    row = SubsetRow(("R", "B"), torch.tensor([True, False, True, True]))
    low, high = row.interval
    assert (low, high) == pytest.approx((0.3006, 0.9544), abs=5e-5)
    expected = {"channels": ["R", "B"], "accuracy": 0.75, "low": low, "high": high, "n": 4}
    expected |= {"p_value": None, "calibration_error": None}
    assert row.to_dict() == expected
    report = SubsetReport((row,), 7, "own")
    assert report.table == [expected]
    assert report.to_dict() == {
        "batch_norm": "own",
        "possible_subsets": 7,
        "subsets": [expected],
        "flip": False,
        "sample": None,
        "shapley": None,
        "shapley_reason": "1 of 7 subsets were evaluated, but exact Shapley values need all; --shapley estimates them",
        "violations": {"pairs": 0, "family_level": 0.05, "found": []},
    }
    sure = SubsetRow(("R",), row.correct, torch.tensor([0.75, 0.75, 0.75, 0.75]), 0.25).to_dict()
    assert (sure["p_value"], sure["calibration_error"]) == (0.25, 0)


def test_hundreds_of_channels_are_counted_as_a_power() -> None:
    names = tuple(f"b{number}" for number in range(369))
    rows = (SubsetRow(names, torch.arange(4) < 3), SubsetRow(names[:1], torch.arange(4) < 1))
    report = SubsetReport(rows, 2**369 - 1, "shared", torch.arange(4) < 1, sampled=(0, 1))
    assert report.no_shapley is not None
    assert report.no_shapley.startswith("2 of 2^369 - 1 subsets were evaluated")
    assert report.full is rows[0]
    assert report.sample_mean == pytest.approx((0.5, 0.25))
