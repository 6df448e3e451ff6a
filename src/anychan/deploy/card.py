"""The model card of a shared model: what the Hugging Face Hub shows of it, from its contract and its run's results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import yaml

from anychan import __version__
from anychan.contract import Contract
from anychan.evaluation.shapley import worth_interval
from anychan.models.libraries import library_of
from anychan.recipe import Recipe
from anychan.report.tables import markdown_table, share_text, subset_text

__all__ = ["FOLDER", "CardFacts", "model_card"]

FOLDER = "path/to/this/folder"  # what stands in the card's commands where nobody knows where it will lie
_MANY = 32  # subsets of a table


@dataclass(frozen=True)
class CardFacts:
    """What a run says of its model.

    Args:
        result: run.json.
        recipe: without paths of this machine.
        evaluations: what was evaluated (empty for all images) → what `anychan evaluate` wrote.
        picture: a file of the accuracy by subset, beside the card.
        license: an identifier of the Hub.
        repo_id: where it will be, if that is known.
    """

    result: Mapping[str, Any]
    recipe: Recipe
    evaluations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    picture: str | None = None
    license: str = "unknown"
    repo_id: str | None = None


def model_card(contract: Contract, facts: CardFacts) -> str:
    """The card in Markdown, with the Hub's metadata as YAML before it.

    Args:
        contract: of the model.
        facts: of its run.
    """
    title = f"{contract.model} for {_few(contract.channels.labels)}"
    parts = [
        f"---\n{yaml.safe_dump(_metadata(title, facts), sort_keys=False, allow_unicode=True)}---",
        f"# {title}",
        f"An image classifier for any subset of {len(contract.channels)} named channels and {len(contract.classes)} "
        f"classes, trained with anychan (network `{contract.model}`, stem `{contract.stem}`). Channels may be missing: "
        "name those that you have.",
        _use(contract, facts.repo_id),
        _channels(contract),
        f"## Classes\n\n{', '.join(map(_plain, contract.classes))}",
        _accuracy(contract, facts),
        _training(contract, facts),
        f"## Licence\n\n{'Not stated.' if facts.license == 'unknown' else facts.license}",
    ]
    return "\n\n".join(parts) + "\n"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{len(names)} channels, {names[0]} to {names[-1]}"


def _metadata(title: str, facts: CardFacts) -> dict[str, Any]:
    """As huggingface_hub's `ModelCardData` writes it."""
    test = facts.result["test"]
    metric = {"type": "accuracy", "value": test["accuracy"], "name": f"accuracy, n = {test['n']}"}
    dataset = {"name": "held-out test images", "type": "imagefolder"}
    task = {"type": "image-classification", "name": "Image classification"}
    return {
        "library_name": "anychan",
        "license": facts.license,
        "pipeline_tag": "image-classification",
        "tags": ["anychan", "missing-channels", "multichannel"],
        "metrics": ["accuracy"],
        "model-index": [{"name": title, "results": [{"task": task, "dataset": dataset, "metrics": [metric]}]}],
    }


def _plain(name: str) -> str:
    """A name that Markdown shows as it is written."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", name)


def _use(contract: Contract, repo_id: str | None) -> str:
    where, folder = repo_id or FOLDER, FOLDER if repo_id is None else repo_id.split("/")[-1]
    size = 64 if contract.resize is None else contract.resize.size
    labels, count = contract.channels.labels, len(contract.channels)
    chosen = (0,) if count == 1 else (0, count - 1)
    names, places = [contract.channels[i].identity for i in chosen], list(chosen)
    cut = "" if contract.outputs == len(contract.classes) else f"[:, :{len(contract.classes)}]"
    extras = ",".join((["hub"] if repo_id else []) + (["backbones"] if library_of(contract.model) else []))
    code = f"""
import anychan as ac
import torch

model = ac.AnyChannelModel.from_pretrained("{where}")
images = torch.zeros(1, {count}, {size}, {size}, dtype=torch.{contract.dtype or "float32"})  # yours: raw values
with torch.no_grad():
    probabilities = model(images){cut}.softmax(1)
    some = model.select({names!r})(images[:, {places!r}]){cut}.softmax(1)
print(model.contract.classes[int(probabilities[0].argmax())])
"""
    fetch = "" if repo_id is None else f"hf download {repo_id} --local-dir {folder}\n"
    commands = f"""
{fetch}anychan predict {folder} path/to/images --out classes.csv
anychan train --model.init_from {folder} --data.path path/to/images --out fine-tuned
"""
    needs = f" with its extras {extras}" if extras else ""
    return (
        f"## Use\n\nInstall anychan {__version__} or newer{needs}. Images are (N, {count}, H, W), in this "
        f"order: {_few(labels)}; normalisation is inside the model.\n\n```python{code}```\n\n"
        f"Images from files, and fine-tuning on other classes or channels:\n\n```bash{commands}```"
    )


def _channels(contract: Contract) -> str:
    rows = []
    for channel, encoding in zip(contract.channels, contract.encodings, strict=True):
        values = (
            f"{encoding.scale:g} × number {encoding.offset:+g}" if (encoding.scale, encoding.offset) != (1, 0) else ""
        )
        nm = ["" if value is None else f"{value:g}" for value in (channel.wavelength_nm, channel.width_nm)]
        missing = "" if encoding.no_data is None else f"{encoding.no_data:g}"
        rows.append([channel.identity, channel.common_name or "", *nm, encoding.unit or "", values, missing])
    titles = ["channel", "common name", "wavelength, nm", "width, nm", "unit", "value", "no data"]
    used = [i for i, title in enumerate(titles) if i == 0 or any(row[i] for row in rows)]
    table = markdown_table([titles[i] for i in used], [[row[i] for i in used] for row in rows])
    notes = [f"Raw values are {contract.dtype}." if contract.dtype else ""]
    if contract.resize is not None:
        rule, side = contract.resize, contract.resize.size
        notes.append(f"Trained on {side}×{side} pixels (fit `{rule.fit}`, filter `{rule.filter}`).")
    never = (*contract.untrained, *contract.interpolated)
    notes.append(f"Never trained on: {', '.join(never)}." if never else "")
    return f"## Channels\n\n{table}\n\n{' '.join(filter(None, notes))}".rstrip()


def _accuracy(contract: Contract, facts: CardFacts) -> str:
    test = facts.result["test"]
    seen = "all channels" if len(test["channels"]) == len(contract.channels) else "+".join(test["channels"])
    text = f"{share_text(test['accuracy'], test['low'], test['high'])}, n = {test['n']} test images, {seen}"
    parts = [
        f"## Accuracy\n\n{text}. In brackets is the 95 % interval; it tells what other images of the same kind would "
        "give, and nothing of images of another kind."
    ]
    for name, found in facts.evaluations.items():
        heading = f"### By channels{f', source {name}' if name else ''}"
        parts += [heading, _subsets(found), *([_worth(found["shapley"])] if found.get("shapley") else [])]
    if facts.picture is not None:
        parts.append(f"![Accuracy by channels]({facts.picture})")
    return "\n\n".join(parts)


def _subsets(found: Mapping[str, Any]) -> str:
    """A row a subset, or of many subsets one a number of channels."""
    rows = found["subsets"]
    everything = max((row["channels"] for row in rows), key=len)
    texts = {id(row): share_text(row["accuracy"], row["low"], row["high"]) for row in rows}
    names = {id(row): subset_text(row["channels"], everything) for row in rows}
    note = f"n = {rows[0]['n']} test images, {found['batch_norm']} batch-norm statistics."
    if len(rows) <= _MANY:
        return f"{markdown_table(['channels', 'accuracy'], [[names[id(r)], texts[id(r)]] for r in rows])}\n\n{note}"
    lines = []
    ordered = sorted(rows, key=lambda row: (-len(row["channels"]), -row["accuracy"]))
    for size, group in groupby(ordered, key=lambda row: len(row["channels"])):
        same = list(group)
        mean = f"{100 * sum(row['accuracy'] for row in same) / len(same):.1f} %"
        ends = [f"{names[id(row)]}: {texts[id(row)]}" for row in (same[0], same[-1])]
        lines.append([str(size), f"{len(same):,}", mean, *ends])
    titles = ["channels", "subsets", "mean", "best subset", "worst subset"]
    return f"{markdown_table(titles, lines)}\n\n{note}"


def _worth(shapley: Mapping[str, Any]) -> str:
    rows = []
    for row in sorted(shapley["channels"], key=lambda row: -row["value"]):
        value, low, high = (100 * each for each in worth_interval(row))
        rows.append([row["channel"], f"{value:+.1f} ({low:+.1f} to {high:+.1f})"])
    how = "exact" if shapley["orders"] is None else f"estimated from {shapley['orders']} random orders"
    return (
        f"What each channel is worth (Shapley values, {how}), from {100 * shapley['none']:.1f} % by guessing to "
        f"{100 * shapley['all']:.1f} % with all channels:\n\n{markdown_table(['channel', 'points'], rows)}"
    )


def _training(contract: Contract, facts: CardFacts) -> str:
    result, counts = facts.result, facts.result["images"]
    numbers = ", ".join(f"{counts[split]:,} {split}" for split in ("train", "val", "test"))
    lines = [
        f"{numbers} images of {len(contract.classes)} classes; {result['epochs']} epochs, of which the best on "
        f"validation is kept (number {result['best_epoch'] + 1}), seed {result['seed']}."
    ]
    for name, source in result.get("sources", {}).items():
        lines.append(f"Source {name}: {source['images']:,} training images, channels {', '.join(source['channels'])}.")
    if "init_from" in result:
        lines.append(f"Fine-tuned from a saved model ({result['init_from']['saved']}).")
    changed = yaml.safe_dump(facts.recipe.changes(), sort_keys=False, allow_unicode=True)
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"## Training\n\n{' '.join(lines)}\n\nThe recipe (`recipe.yaml` has all keys; paths are left out):\n\n"
        f"```yaml\n{changed}```\n\nVersions: {versions}; {result['precision']} on {result['device']}."
    )
