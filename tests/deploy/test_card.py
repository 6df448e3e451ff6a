import dataclasses
import doctest
import re
from itertools import combinations
from typing import Any, cast

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData

from anychan.channels import Channel, ChannelSet
from anychan.contract import Contract, ResizeRule
from anychan.deploy.card import FOLDER, CardFacts, model_card
from anychan.encoding import Encoding
from anychan.presets import SENTINEL2
from anychan.recipe import DataConfig, ModelConfig, Recipe, TrainConfig
from tests.runs import anonymous

RESULT: dict[str, Any] = {
    "test": {"channels": ["B02", "B08"], "accuracy": 0.625, "low": 0.3057, "high": 0.8632, "n": 8},
    "images": {"train": 1234, "val": 8, "test": 8},
    "epochs": 5,
    "best_epoch": 3,
    "seed": 7,
    "versions": {"python": "3.11.7", "anychan": "0.1.0"},
    "precision": "float32",
    "device": "cpu",
}
RECIPE = Recipe(DataConfig("tiles", size=16), ModelConfig("resnet8"), TrainConfig(lr=0.02), seed=7)


def contract(channels: ChannelSet | None = None, **more: Any) -> Contract:
    channels = channels or SENTINEL2.select("B02,B08")
    constants = (0.0,) * len(channels), (1.0,) * len(channels)
    found = Contract("resnet8", {}, "completion", channels, *constants, ("forest", "water"), ResizeRule(16, "crop"))
    return dataclasses.replace(found, dtype="uint16", **more)


def evaluation(labels: tuple[str, ...], *, orders: int | None = None, most: int = 99) -> dict[str, Any]:
    """Accuracy grows with the number of channels, and falls with the first one's position."""
    subsets = [c for size in range(len(labels), 0, -1) for c in combinations(labels, size)][:most]
    rows = [
        {"channels": list(s), "accuracy": a, "low": a - 0.1, "high": a + 0.1, "n": 8}
        for s in subsets
        for a in [0.3 + 0.1 * len(s) - 0.01 * labels.index(s[0])]
    ]
    errors = {"standard_error": 0.03, "order_standard_error": None if orders is None else 0.04}
    worth = [{"channel": name, "value": 0.1 * number, **errors} for number, name in enumerate(labels)]
    shapley = {"none": 0.5, "all": 0.625, "orders": orders, "channels": worth}
    return {"subsets": rows, "batch_norm": "saved", "shapley": shapley}


def sections(text: str) -> dict[str, str]:
    """Heading → what is below it."""
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_metadata_is_the_hubs() -> None:
    """The Hub's own library reads it, and writes the same again."""
    text = model_card(contract(), CardFacts(RESULT, RECIPE, license="cc-by-4.0"))
    card = ModelCard(text)
    data = cast(ModelCardData, card.data)
    assert (data.library_name, data.license, data.pipeline_tag) == ("anychan", "cc-by-4.0", "image-classification")
    assert data.eval_results is not None
    (result,) = data.eval_results
    assert (result.task_type, result.metric_type, result.metric_value) == ("image-classification", "accuracy", 0.625)
    assert result.metric_name == "accuracy, n = 8"
    header = yaml.safe_load(text.split("---\n")[1])
    assert yaml.safe_load(str(card).split("---\n")[1]) == header
    assert ModelCard(model_card(contract(), CardFacts(RESULT, RECIPE))).data["license"] == "unknown"


def test_what_it_says() -> None:
    facts = CardFacts(RESULT, RECIPE, {"": evaluation(("B02", "B08"))}, "subsets.png")
    text = model_card(contract(encodings=(Encoding("reflectance", 1e-4, -0.1, 0), Encoding())), facts)
    found = sections(text)
    assert list(found) == ["Use", "Channels", "Classes", "Accuracy", "Training", "Licence"]
    assert text.split("---\n")[2].startswith(
        "\n# resnet8 for B02, B08\n\nAn image classifier for any subset of 2 named"
    )
    assert found["Channels"].strip().splitlines() == [
        "| channel | common name | wavelength, nm | width, nm | unit | value | no data |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| sentinel2:B02 | blue | 492.4 | 66 | reflectance | 0.0001 × number -0.1 | 0 |",
        "| sentinel2:B08 | nir | 832.8 | 106 |  |  |  |",
        "",
        "Raw values are uint16. Trained on 16×16 pixels (fit `crop`, filter `bilinear`).",
    ]
    assert found["Classes"].strip() == "forest, water"
    assert found["Accuracy"].strip().startswith("62.5 % (30.6 to 86.3), n = 8 test images, all channels.")
    for line in (
        "| B02+B08 | 50.0 % (40.0 to 60.0) |",
        "| B08 | 39.0 % (29.0 to 49.0) |",
        "n = 8 test images, saved batch-norm statistics.",
        "What each channel is worth (Shapley values, exact), from 50.0 % by guessing to 62.5 % with all channels:",
        "| B08 | +10.0 (+4.1 to +15.9) |",
        "![Accuracy by channels](subsets.png)",
    ):
        assert line in found["Accuracy"].splitlines()
    assert found["Training"].strip().startswith("1,234 train, 8 val, 8 test images of 2 classes; 5 epochs, of which")
    changed = yaml.safe_load(found["Training"].split("```yaml\n")[1].split("```")[0])
    assert changed == {
        "data": {"path": "tiles", "size": 16},
        "model": {"name": "resnet8"},
        "train": {"lr": 0.02},
        "seed": 7,
    }
    assert "Versions: python 3.11.7, anychan 0.1.0; float32 on cpu." in found["Training"]
    assert found["Licence"].strip() == "Not stated."


def test_many_subsets_are_summed_up() -> None:
    channels = anonymous(6)
    result = {**RESULT, "test": {**RESULT["test"], "channels": list(channels.names)}}
    report = evaluation(channels.names, orders=50)
    found = sections(model_card(contract(channels), CardFacts(result, RECIPE, {"": report})))["Accuracy"]
    assert "| channels | subsets | mean | best subset | worst subset |" in found
    assert "| 6 | 1 | 90.0 % | c0+c1+c2+c3+c4+c5: 90.0 % (80.0 to 100.0) | c0+c1+c2+c3+c4+c5" in found
    assert "| 1 | 6 | 37.5 % | c0: 40.0 % (30.0 to 50.0) | c5: 35.0 % (25.0 to 45.0) |" in found
    assert "estimated from 50 random orders" in found
    assert "| c1 | +10.0 (+0.2 to +19.8) |" in found  # both errors: 0.05


def test_sources_and_beginnings() -> None:
    own = {"tiles": {"images": 40, "channels": {"B02": {}}}, "drone": {"images": 2000, "channels": {"B08": {}}}}
    result = {**RESULT, "sources": own, "init_from": {"saved": "resnet8, stem mean"}}
    text = model_card(contract(), CardFacts(result, RECIPE, {"drone": evaluation(("B08",))}))
    assert "### By channels, source drone\n" in text
    assert "Source drone: 2,000 training images, channels B08." in text
    assert "Fine-tuned from a saved model (resnet8, stem mean)." in text


def test_channels_and_outputs_without_meaning() -> None:
    channels = ChannelSet([Channel("B02", "drone"), Channel("B08", "drone")])
    facts = CardFacts({**RESULT, "test": {**RESULT["test"], "channels": ["B02"]}}, RECIPE)
    text = model_card(contract(channels, num_outputs=5, untrained=("drone:B08",)), facts)
    found = sections(text)
    assert found["Channels"].startswith("\n| channel |\n| --- |\n| drone:B02 |\n")
    assert "Never trained on: drone:B08." in found["Channels"]
    assert "n = 8 test images, B02." in found["Accuracy"]
    assert found["Use"].count("[:, :2].softmax(1)") == 2


@pytest.mark.parametrize(
    ("name", "repo_id", "extras"),
    [
        ("resnet8", None, "newer. Images"),
        ("resnet8", "me/tiles", "newer with its extras hub. Images"),
        ("timm:resnet18", "me/tiles", "newer with its extras hub,backbones. Images"),
    ],
)
def test_commands(name: str, repo_id: str | None, extras: str) -> None:
    found = dataclasses.replace(contract(), model=name)
    use = sections(model_card(found, CardFacts(RESULT, RECIPE, repo_id=repo_id)))["Use"]
    assert extras in use
    assert f'from_pretrained("{repo_id or FOLDER}")' in use
    commands = use.split("```bash\n")[1].split("```")[0].splitlines()
    folder = FOLDER if repo_id is None else "tiles"
    assert commands[:-2] == ([] if repo_id is None else ["hf download me/tiles --local-dir tiles"])
    assert commands[-2] == f"anychan predict {folder} path/to/images --out classes.csv"
    assert not doctest.DocTestParser().get_examples(use)
