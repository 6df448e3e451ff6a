"""The page by the installed command: by plain HTTP, by its own client, and in a real browser."""

import base64
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from anychan.deploy.page_examples import demo_tiles
from anychan.deploy.predictor import Predictor
from tests.browser import Browser
from tests.runs import ROOT, free_port, start_anychan

BANDS = 13


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("demo")


@pytest.fixture(scope="module")
def tile(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_tiles(predictor.model.contract, tmp_path_factory.mktemp("tiles"))[1]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of the page of the package's model."""
    port = free_port()
    process = start_anychan("serve", "demo", "--port", port, "--max-mib", 1)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"shallow4_s at http://127.0.0.1:{port}/; Ctrl-C ends it\n"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "anychan: interrupted")


def upload(server: str, path: Path) -> str:
    """By plain HTTP; gives the file's place on the server."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n\r\n'
    body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with urllib.request.urlopen(urllib.request.Request(f"{server}/gradio_api/upload", body, kind)) as answer:
        return str(json.load(answer)[0])


def classify(server: str, place: str, channels: str | None, without: list[str]) -> tuple[str, Any]:
    """By plain HTTP: the event's name and its data."""
    return call(server, [{"path": place, "meta": {"_type": "gradio.FileData"}}, channels, without])


def call(server: str, given: list[Any]) -> tuple[str, Any]:
    """By plain HTTP, whatever is given."""
    asked = urllib.request.Request(
        f"{server}/gradio_api/call/classify",
        json.dumps({"data": given}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{server}/gradio_api/call/classify/{event}") as answer:
        lines = [line for line in answer.read().decode().splitlines() if line]
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


def test_plain_http_gets_what_the_predictor_says(server: str, tile: Path, predictor: Predictor) -> None:
    place = upload(server, tile)
    for off in ([], ["B08", "B11"]):
        event, (found,) = classify(server, place, None, off)
        expected = predictor(tile, without=off)
        assert event == "complete"
        assert found["label"] == expected.label
        assert found["confidence"] == pytest.approx(expected.confidence, abs=1e-5)
        assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert (found["channels"], found["absent"]) == (list(expected.channels), list(expected.absent))


def test_errors_are_told_in_one_sentence(server: str, tile: Path, tmp_path: Path) -> None:
    place = upload(server, tile)
    event, found = classify(server, place, None, ["thermal"])
    assert event == "error"
    assert "thermal" in found["error"]
    assert "Traceback" not in json.dumps(found)
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    event, found = classify(server, upload(server, text), None, [])
    assert (event, found["error"].startswith("notes.txt: it is no image (.jpeg, ")) == ("error", True)
    unnamed = tmp_path / "unnamed.npy"
    np.save(unnamed, np.zeros((32, 32, 2), np.uint16))
    event, found = classify(server, upload(server, unnamed), None, [])
    assert (event, found["error"].startswith("the upload: nobody says which channels its .npy files hold")) == (
        "error",
        True,
    )
    for given in ([place, 5, []], [place, None, [3]]):
        event, found = call(server, [{"path": given[0], "meta": {"_type": "gradio.FileData"}}, *given[1:]])
        assert (event, found["error"]) == ("error", "channels is a text, and without a list of channels' names")


def test_uploads_have_a_limit(server: str, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(bytes(2**20 + 1))
    with pytest.raises(urllib.error.HTTPError) as error:
        upload(server, large)
    assert error.value.code == 413
    error.value.close()


def test_files_of_the_machine_are_not_read(server: str, tile: Path) -> None:
    for given in ({"path": str(tile), "meta": {"_type": "gradio.FileData"}}, {"path": str(tile)}, None, {"path": 3}):
        event, found = call(server, [given, None, []])
        assert event == "error"
        assert "label" not in json.dumps(found)


def test_the_documented_client(server: str, tile: Path, predictor: Predictor) -> None:
    """As docs/serve.md writes it, in a process of its own."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serve.md").read_text(), re.DOTALL)
    code = code.replace("http://127.0.0.1:7860", server).replace("tile.tif", str(tile))
    told = 'Client("' + server + '", verbose=False).view_api(print_info=False, return_format="dict")'
    code += f"\nimport json\nprint(json.dumps([found, {told}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, documented = json.loads(done.stdout.splitlines()[-1])
    assert found["label"] == predictor(tile, without=["B08"]).label
    assert found["absent"] == ["B08"]
    ((name, endpoint),) = documented["named_endpoints"].items()
    assert name == "/classify"
    assert [given["parameter_name"] for given in endpoint["parameters"]] == ["file", "channels", "without"]


def test_a_token_is_asked_for(tile: Path, predictor: Predictor) -> None:
    """From the environment; and the page is served to a browser's password, the interface to gradio's client."""
    port, environment = free_port(), {"ANYCHAN_TOKEN": "open sesame"}
    process = start_anychan("serve", "demo", "--host", "0.0.0.0", "--port", port, environment=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("Ctrl-C ends it\n")
        server = f"http://127.0.0.1:{port}"
        for place in ("", "config", "gradio_api/info", "gradio_api/file=/etc/passwd"):
            with pytest.raises(urllib.error.HTTPError, match="401") as error:
                urllib.request.urlopen(f"{server}/{place}")
            error.value.close()
        basic = base64.b64encode(b"anyone:open sesame").decode()
        asked = urllib.request.Request(server, headers={"Authorization": f"Basic {basic}"})
        with urllib.request.urlopen(asked) as page:
            assert b"gradio" in page.read()
        client = Client(server, headers={"Authorization": "Bearer open sesame"}, verbose=False)
        found = client.predict(file=handle_file(str(tile)), channels=None, without=["B08"], api_name="/classify")
        assert found["label"] == predictor(tile, without=["B08"]).label
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert "warning" not in said


@pytest.mark.browser
def test_a_channel_is_switched_off_in_a_browser(
    server: str, browser: Browser, tile: Path, predictor: Predictor
) -> None:
    def text_of(name: str) -> str:
        return browser.driver.find_element(By.ID, name).text

    wait = WebDriverWait(browser.driver, 60)
    browser.driver.get(server)
    picker = wait.until(lambda driver: driver.find_element(By.CSS_SELECTOR, "#image input[type=file]"))
    picker.send_keys(str(tile))
    wait.until(lambda _: f"From all {BANDS} channels of the image." in text_of("change"))
    every = predictor(tile)
    assert f"{every.label}\n{every.confidence:.0%}" in text_of("prediction")
    boxes = browser.driver.find_elements(By.CSS_SELECTOR, "#channels input[type=checkbox]")
    assert [box.is_selected() for box in boxes] == [True] * BANDS
    for number in (7, 10):
        boxes[number].click()
        time.sleep(0.2)
    off = [every.channels[number] for number in (7, 10)]
    wait.until(lambda _: f"Absent for the model: {', '.join(off)}." in text_of("change"))
    fewer = predictor(tile, without=off)
    assert f"With all channels: {every.label} at {every.confidence:.1%}. Now {fewer.label}" in text_of("change")
    wait.until(lambda _: f"{fewer.label}\n{fewer.confidence:.0%}" in text_of("prediction"))
    assert abs((every.confidence or 0) - (fewer.confidence or 0)) > 0.01
    pictures = browser.driver.find_elements(By.CSS_SELECTOR, "#pictures img")
    assert len(pictures) == 1 + BANDS - len(off)
    assert all(url.startswith((server, "data:", "blob:")) for url in browser.requests())
