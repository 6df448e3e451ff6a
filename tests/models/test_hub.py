import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anychan.errors import ConfigError, ContractError
from anychan.models.adapt import adapt
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.models.hub import fetch_folder, push_folder
from anychan.presets import RGB
from tests.backbones import OwnCNN
from tests.hub_server import TOKEN, HubServer, hub_server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved network of dynamic convolutions."""
    create_model("dynamic_cnn_v1", num_classes=5).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def python(code: str, home: Path, server: HubServer | None = None, **variables: str) -> str:
    """Standard output of a second process that knows the server alone, or is offline, and has a cache of its own."""
    hub = {"HF_HUB_OFFLINE": "1"} if server is None else {"HF_ENDPOINT": server.url}
    quiet = {"HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **quiet, **hub, **variables}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_folder_and_back(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["contract.json", "model.safetensors"]
    found = AnyChannelModel.from_pretrained(folder)
    assert not found.training
    assert (found.name, len(found.contract.classes)) == ("dynamic_cnn_v1", 5)


def test_folder_of_ones_own_network(tmp_path: Path) -> None:
    backbone, x = OwnCNN().eval(), torch.rand(2, 3, 5, 7)
    model = adapt(backbone, channels=RGB, offset=[0.0] * 3, scale=[1.0] * 3, verbose=False)
    model.save_pretrained(str(tmp_path))
    assert torch.equal(AnyChannelModel.from_pretrained(str(tmp_path), backbone=OwnCNN())(x), model(x))


def test_second_process_gives_the_same_logits_offline(folder: Path, tmp_path: Path) -> None:
    """From a folder, nobody asks the Hub anything: its library is not even imported."""
    code = f"""
import sys, torch, anychan as ac
print(ac.AnyChannelModel.from_pretrained({str(folder)!r})(torch.arange(243.).reshape(1, 3, 9, 9)).tolist())
print('huggingface_hub' in sys.modules)
try:
    ac.AnyChannelModel.from_pretrained('someone/absent')
except ac.AnychanError as error:
    print(error)
try:
    ac.create_model('resnet8', num_classes=2).push_to_hub('someone/tiles')
except ac.AnychanError as error:
    print(error)
"""
    expected = AnyChannelModel.from_pretrained(folder)(torch.arange(243.0).reshape(1, 3, 9, 9)).tolist()
    assert python(code, tmp_path / "home").splitlines() == [
        str(expected),
        "False",
        "someone/absent: there is no such folder, and the Hub does not give it (HF_HUB_OFFLINE is set)",
        "someone/tiles: the Hub does not take the model (HF_HUB_OFFLINE is set)",
    ]


def test_to_a_server_and_back(folder: Path, tmp_path: Path) -> None:
    """What the Hub's own client uploads is the saved folder, and what it downloads makes the same model."""
    code = f"""
import anychan as ac
model = ac.AnyChannelModel.from_pretrained({str(folder)!r})
print(model.push_to_hub('someone/tiles', private=True))
again = ac.AnyChannelModel.from_pretrained('someone/tiles')
print(all(value.equal(again.state_dict()[name]) for name, value in model.state_dict().items()))
print(again.contract.to_dict() == model.contract.to_dict())
for token in (None, 'bad'):
    try:
        print(model.push_to_hub('someone/tiles', token=token or False))
    except ac.AnychanError as error:
        print(error)
try:
    ac.AnyChannelModel.from_pretrained('someone/absent')
except ac.AnychanError as error:
    print(error)
"""
    with hub_server() as server:
        lines = python(code, tmp_path / "home", server, HF_TOKEN=TOKEN).splitlines()
        uploaded = server.files["someone/tiles"]
        assert uploaded == {path.name: path.read_bytes() for path in folder.iterdir()}
        assert server.created == [{"organization": "someone", "name": "tiles", "visibility": "private"}]
        asked = [line for line in server.requests if line.startswith("GET /someone/tiles/")]
        assert sorted(line.rpartition("/")[2] for line in asked) == ["contract.json", "model.safetensors"]
        refused = "someone/tiles: the Hub does not take the model (not logged in, or by a token that is not valid; see"
        assert lines[0].startswith(f"{server.url}/someone/tiles/commit/")
        assert lines[1:] == [
            "True",
            "True",
            *[f"{refused} `hf auth login`)"] * 2,
            "someone/absent: there is no such folder, and the Hub does not give it (Repository not found)",
        ]
    offline = "import anychan as ac; print(ac.AnyChannelModel.from_pretrained('someone/tiles').name)"
    assert python(offline, tmp_path / "home") == "dynamic_cnn_v1\n"  # downloaded before


def test_names_that_are_none(tmp_path: Path) -> None:
    for name in ("absent", "/absent/folder", "./a", "../a/b", "~/a", "a/b/c", "a\\b/c", "a/"):
        message = f"{name}: there is no such folder, and a repository of the Hub is named owner/name"
        with pytest.raises(ContractError, match=f"^{re.escape(message)}$"):
            AnyChannelModel.from_pretrained(name)
    with pytest.raises(ContractError, match="there is no contract here; name the folder of a saved model"):
        AnyChannelModel.from_pretrained(tmp_path)


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as where it is not installed
    advice = r"install huggingface_hub: pip install 'anychan\[hub\]'$"
    with pytest.raises(ConfigError, match=f"^a/b: there is no such folder; to download it from the .* Hub, {advice}"):
        fetch_folder("a/b")
    with pytest.raises(ConfigError, match=f"^a/b: to upload to the Hugging Face Hub, {advice}"):
        push_folder(tmp_path, "a/b")
