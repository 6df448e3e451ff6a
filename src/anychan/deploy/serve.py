"""`anychan serve`: the page of a model at an address of this machine."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING

from anychan.deploy.guard import Guard
from anychan.deploy.page_examples import demo_tiles, folder_images
from anychan.deploy.predictor import Predictor
from anychan.errors import ConfigError, RunError

if TYPE_CHECKING:
    import gradio

__all__ = ["page_server", "serve"]

# Pages whose channels' boxes are known. Each call over HTTP counts as one, and takes 60 KiB until others push it out;
# with gradio's 10,000 a thousand requests added 40 MiB.
_SESSIONS = 256


def serve(model: str, *, host: str, port: int, max_mib: int, examples: Path | None, token: str | None = None) -> None:
    """Serve the page until it is interrupted; arguments and errors are those of `page_server`.

    Without a token, that of `ANYCHAN_TOKEN` is asked for, if there is one.
    """
    token = os.environ.get("ANYCHAN_TOKEN") if token is None else token
    if token is not None and (not token or token != token.strip()):
        raise ConfigError(
            "the token by --token or ANYCHAN_TOKEN is empty, or has spaces around it; give another or none"
        )
    if token is None and not _is_here(host):
        told = "whoever reaches this machine can use the page; ask for a password by --token or ANYCHAN_TOKEN"
        print(f"warning: --host is {host}, so {told}", file=sys.stderr)
    with page_server(model, host=host, port=port, max_mib=max_mib, examples=examples, token=token) as page:
        signal.signal(signal.SIGTERM, _end)  # nothing stays behind either way
        print(f"{page.title} at {page.local_url}; Ctrl-C ends it", flush=True)
        Event().wait()


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)


@contextmanager
def page_server(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    max_mib: int = 32,
    examples: Path | None = None,
    token: str | None = None,
) -> Iterator[gradio.Blocks]:
    """The page of a model, served in the background.

    Args:
        model: a run's or saved model's folder, or `"demo"`.
        host: address to listen at; `"127.0.0.1"` is this machine alone.
        port: number of the port.
        max_mib: the largest upload.
        examples: a folder of images to offer; `None`: the package's tiles, if the model knows their bands.
        token: what each request must bring; `None`: nothing (see `Guard`).

    Raises:
        ConfigError: where gradio is not installed, or for a port or limit that cannot be.
        ContractError: for a model that cannot be read.
        DataError: for a folder of examples without images.
        RunError: for an address that cannot be listened at.
    """
    if max_mib < 1:
        raise ConfigError(f"--max-mib is {max_mib}, but it must be 1 or more")
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port is {port}, but it must be between 1 and 65535")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is sent anywhere
    try:
        import gradio

        from anychan.deploy.page import build_page
    except ImportError:
        raise ConfigError("the page needs gradio; install it by `pip install 'anychan[page]'`") from None
    predictor = Predictor(model)
    _check_address(host, port)
    with TemporaryDirectory() as scratch:
        shown = demo_tiles(predictor.model.contract, Path(scratch)) if examples is None else folder_images(examples)
        page = build_page(predictor, shown)
        # no page asks another server for a font
        theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
        _launch(page, host, port, theme=theme, max_bytes=max_mib * 2**20, token=token)
        try:
            yield page
        finally:
            page.close(verbose=False)


def _launch(page: gradio.Blocks, host: str, port: int, *, theme: object, max_bytes: int, token: str | None) -> None:
    from starlette.middleware import Middleware

    try:
        page.launch(
            server_name=host,
            server_port=port,
            max_file_size=max_bytes,
            theme=theme,
            app_kwargs={"middleware": [Middleware(Guard, token=token, max_bytes=max_bytes)]},
            enable_monitoring=False,
            state_session_capacity=_SESSIONS,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
        )
    except Exception as error:  # gradio asks itself over HTTP whether it is there
        raise RunError(f"the page cannot be served at {host}:{port} ({type(error).__name__}: {error})") from None


def _check_address(host: str, port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise RunError(
            f"{host}:{port} cannot be listened at ({error.strerror}); give another --port or --host"
        ) from None
    unproxied = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "", host, "localhost"]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, unproxied))  # it asks itself by HTTP
