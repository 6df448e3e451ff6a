"""The page itself is tested by the real command, in tests/e2e/test_serve.py."""

import builtins
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from anychan.deploy.serve import serve
from anychan.errors import AnychanError, ConfigError


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AnychanError) as error:
            serve("demo", host="127.0.0.1", port=port, max_mib=1, examples=None)
    told = f"127.0.0.1:{port} cannot be listened at (Address already in use); give another --port or --host"
    assert str(error.value) == told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 0}, "--port is 0, but it must be between 1 and 65535"),
        ({"max_mib": 0}, "--max-mib is 0, but it must be 1 or more"),
        ({"examples": Path("absent")}, "absent: there is no such folder"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    given = {"host": "127.0.0.1", "port": 7860, "max_mib": 1, "examples": None, **options}
    with pytest.raises(AnychanError) as error:
        serve("demo", **given)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("host", "token", "warned"),
    [
        *[("0.0.0.0", None, True), ("here.example", None, True), ("::", None, True), ("0.0.0.0", "word", False)],
        *[("127.0.0.2", None, False), ("::1", None, False), ("localhost", None, False)],
    ],
)
def test_a_page_for_all_without_a_token_is_warned_of(
    host: str, token: str | None, warned: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANYCHAN_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="--max-mib"):
        serve("demo", host=host, port=7860, max_mib=0, examples=None, token=token)
    told = "whoever reaches this machine can use the page; ask for a password by --token or ANYCHAN_TOKEN"
    assert capsys.readouterr().err == (f"warning: --host is {host}, so {told}\n" if warned else "")


@pytest.mark.parametrize("token", ["", " ", "word ", "\tword"])
@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_token_that_no_request_can_bring_is_refused(token: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYCHAN_TOKEN", token if way == "variable" else "word")
    with pytest.raises(
        ConfigError, match=r"^the token by --token or ANYCHAN_TOKEN is empty, or has spaces around it; give"
    ):
        serve("demo", host="127.0.0.1", port=7860, max_mib=0, examples=None, token=token if way == "option" else None)


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "gradio":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "gradio", raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match=r"install it by `pip install 'anychan\[page\]'`"):
        serve("demo", host="127.0.0.1", port=7860, max_mib=1, examples=None)
