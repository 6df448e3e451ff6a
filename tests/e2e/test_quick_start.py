"""The README's way from a folder of photographs to a report and a page, as it stands."""

import re
import shlex
import signal
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from anychan.deploy.predictor import Predictor
from tests.browser import Browser
from tests.runs import ROOT, free_port, run_anychan, start_anychan

CLASSES, EACH = ("apple", "brick", "leaf", "sky"), 50
COLOURS = {"apple": (190, 40, 30), "brick": (150, 90, 60), "leaf": (50, 140, 50), "sky": (90, 150, 230)}


def commands() -> list[str]:
    """Those of the README's one block, of a shell."""
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.partition(" #")[0].strip() for line in block.splitlines()]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 JPEG files of unlike sizes in class folders."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir()
        for number in range(EACH):
            width, height = (int(side) for side in random.integers(64, 160, 2))
            noise = random.normal(120, 40, (height, width, 3)).clip(0, 255).astype(np.uint8)
            picture = Image.fromarray(noise)
            left, top = int(random.integers(0, width // 2)), int(random.integers(0, height // 2))
            box = (left, top, left + width // 2, top + height // 2)
            draw = ImageDraw.Draw(picture)
            (draw.ellipse if name == "apple" else draw.rectangle)(box, fill=COLOURS[name])
            picture.save(folder / name / f"{number}.jpg", quality=90)
    return folder


@pytest.mark.browser
def test_in_five_commands(photos: Path, tmp_path: Path, browser: Browser) -> None:
    install, *verbs = commands()
    assert (install, len(verbs)) == ("pip install '.[page]'", 4)
    said = {}
    for line in verbs:
        line = line.replace("path/to/photos", str(photos)).replace("runs/photos", str(tmp_path / "run"))
        program, verb, *options = shlex.split(line)
        assert program == "anychan"
        if verb != "serve":
            code, said[verb], err = run_anychan(verb, *options)
            assert code == 0, err
            continue
        process = start_anychan(verb, *options, "--port", free_port())
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split(" at ")[1].split(";")[0]
            with urllib.request.urlopen(address) as answer:
                assert answer.status == 200
            browser.driver.get(address)
            wait = WebDriverWait(browser.driver, 60)
            picker = wait.until(lambda driver: driver.find_element(By.CSS_SELECTOR, "#image input[type=file]"))
            picker.send_keys(str(photos / "sky" / "3.jpg"))
            wait.until(lambda driver: "From all 3 channels" in driver.find_element(By.ID, "change").text)
            found = Predictor(tmp_path / "run")(photos / "sky" / "3.jpg")
            assert browser.driver.find_element(By.ID, "prediction").text.splitlines()[1] == found.label
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
    assert "test accuracy" in said["train"]
    assert "smallest sensor" in said["evaluate"]
    browser.complaints()  # gradio's own
    browser.show(tmp_path / "run" / "report.html", width=1280, dark=False)
    assert browser.ask("document.querySelector('h1').innerText") != ""
    assert browser.complaints() == []
