"""The command line, run in the tests' own process."""

import json
from typing import Any

import pytest

from anychan.cli import main


class Command:
    """Runs the command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = self.capsys.readouterr()
        return code, out, err

    def json(self, *arguments: object) -> Any:
        code, out, err = self(*arguments)
        assert code == 0, err
        assert len(out.splitlines()) == 1
        return json.loads(out)
