from pathlib import Path

from tests.command import Command


def test_demo_refuses_a_folder_that_is_a_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    code, _, err = command("demo", "--out", tmp_path / "taken")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "taken" in err
    assert (tmp_path / "taken").read_text() == "mine"
