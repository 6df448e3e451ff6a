"""The commands of the docs page about the two reports, as a user types them, on small files."""

import json
from pathlib import Path

from tests.runs import RGB_SPLIT, ROOT, run_anychan

SMALL = ("--data.path", RGB_SPLIT, "--train.epochs", "2", "--data.size", "32")


def test_two_recipes_side_by_side(tmp_path: Path) -> None:
    runs = []
    for name in ("dynamic_cnn_v1", "baseline_cnn"):
        runs.append(tmp_path / name)
        code, _, err = run_anychan(
            "train", "--config", ROOT / f"recipes/report1/{name}.yaml", *SMALL, "--out", tmp_path / name
        )
        assert code == 0, err
    code, out, err = run_anychan("compare", *runs, "--rival", runs[1], "--out", tmp_path / "compared")
    assert (code, err) == (0, "")
    for column in ("accuracy", "MACs", "parameters", "training", "ratio to baseline_cnn"):
        assert column in out
    code, out, _ = run_anychan("compare", *runs, "--json")
    assert [row["run"] for row in json.loads(out)["runs"]] == ["dynamic_cnn_v1", "baseline_cnn"]
    code, _, err = run_anychan("compare", runs[0], tmp_path / "none")
    assert (code, err.count("\n")) == (2, 1)
    assert "this is no run folder" in err


def test_untrained_generators_are_named(tmp_path: Path) -> None:
    recipe = ROOT / "recipes/report1/dynamic_cnn_v1.yaml"
    assert run_anychan("train", "--config", recipe, *SMALL, "--out", tmp_path / "run")[0] == 0
    code, out, _ = run_anychan("evaluate", tmp_path / "run", "--stem", "generator_per_count")
    assert code == 0
    assert "never trained, still as they began: stem.conv.generators.0, stem.conv.generators.1" in out
    found = json.loads((tmp_path / "run" / "subsets-generator_per_count.json").read_text())
    assert (found["stem"], found["changed"]) == ("generator_per_count", "generator_per_count")
    assert found["untrained"] == ["stem.conv.generators.0", "stem.conv.generators.1"]
    code, _, err = run_anychan("evaluate", tmp_path / "run", "--options", '{"top_k": 2}')
    assert code == 2
    assert err == "anychan: dynamic_cnn_v1 has no option 'top_k'; its options: none\n"
