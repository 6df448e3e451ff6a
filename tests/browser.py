"""Debian's Chromium without a window, as tests and scripts/screenshots.py drive it."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

__all__ = ["Browser", "open_browser", "require_browser"]

_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def require_browser() -> None:
    """Skip the test where there is no browser."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; `make browser` installs it on Debian")


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def show(self, page: Path | str, *, width: int, dark: bool, height: int = 900) -> None:
        """Open a file or an address anew, as wide as a desktop's window or a phone's (below 600 pixels)."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(page if isinstance(page, str) else page.absolute().as_uri())

    def ask(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.driver.execute_script(f"return {script}")

    def _log(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return found

    def complaints(self) -> list[str]:
        """What the console said since the last call; a word of our own at its end shows that all of it has come."""
        end = f"end of log {uuid.uuid4().hex}"
        self.driver.execute_script(f"console.info('{end}')")
        found: list[str] = []
        deadline = time.monotonic() + 20
        while not any(end in text for text in found):
            assert time.monotonic() < deadline, found
            found += [entry["message"] for entry in self._log("browser")]
        return [text for text in found if "end of log" not in text]

    def requests(self) -> list[str]:
        """Addresses that the page asked for since the last call, its own among them; a new window asks for others."""
        events = (json.loads(entry["message"])["message"] for entry in self._log("performance"))
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent if one["documentURL"] == self.driver.current_url]

    def picture(self, *, left: float, top: float, width: float, height: float) -> Image.Image:
        """A part of the page, in pixels from its upper left corner, seen or not."""
        clip = {"x": left, "y": top, "width": width, "height": height, "scale": 1}
        found = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        return Image.open(io.BytesIO(base64.b64decode(found["data"]))).convert("RGB")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A new browser with an empty profile."""
    with TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        for flag in (*_FLAGS, f"--user-data-dir={profile}", "--hide-scrollbars"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
