"""`anychan export`: a saved model as one ONNX file, which needs neither PyTorch nor anychan to run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anychan import __version__
from anychan.channels import Channel, ChannelSet
from anychan.deploy.export_graph import graph_of
from anychan.deploy.export_verify import print_differences, verify
from anychan.errors import ChannelError, ConfigError, RunError
from anychan.files import replacing
from anychan.models.base import AnyChannelModel
from anychan.models.pretrained import load
from anychan.presets import PRESETS
from anychan.profiling.engines import OPSET, OPSETS, check_packages
from anychan.report.tables import working

__all__ = ["METADATA", "Export", "export", "export_model"]

METADATA = "anychan"  # the key of the file's metadata under which all that it says of itself is JSON


@dataclass(frozen=True)
class Export:
    """What is asked for.

    Args:
        channels: the only ones that images will have, names in their order or a sensor; `None`: all, and a mask.
        opset: version of ONNX's operators.
        verify: run ONNX Runtime beside PyTorch before the file is written.
    """

    channels: str | None = None
    opset: int = OPSET
    verify: bool = False


def export(run: Path, out: Path, asked: Export) -> None:
    """Write a saved model as ONNX, and print what the file takes.

    Args:
        run: a run's or a saved model's folder.
        out: the file.
        asked: the options.

    Raises:
        ConfigError: for an `out` that does not end in .onnx, an opset or package that is not there, or a model that
            cannot be written.
        ChannelError: for a channel that the model does not know or never was trained on.
        ContractError: for a model that cannot be read, or of which ONNX Runtime gives other logits.
        RunError: when the file cannot be written.
    """
    if out.suffix.lower() != ".onnx":
        raise ConfigError(f"--out is {out}, but it must end in .onnx")
    if not out.parent.is_dir():
        raise RunError(f"{out}: there is no folder {out.parent}; make it first")
    if asked.opset not in OPSETS:
        raise ConfigError(f"--opset is {asked.opset}, but it must be {OPSETS[0]} to {OPSETS[-1]}")
    check_packages("anychan export")
    model = load(run)
    channels = None if asked.channels is None else _named(model, asked.channels)
    proto = export_model(model, out, channels=channels, opset=asked.opset, check=asked.verify)
    for value in proto.graph.input:
        sides = ", ".join(dim.dim_param or str(dim.dim_value) for dim in value.type.tensor_type.shape.dim)
        print(f"{value.name} ({sides})")
    names = ", ".join((model.channels if channels is None else channels).labels)
    print(f"channels {names}; opset {asked.opset}; {out.stat().st_size / 1e6:.1f} MB: {out}")


def export_model(
    model: AnyChannelModel,
    out: Path,
    *,
    channels: Iterable[str | Channel] | None = None,
    opset: int = OPSET,
    check: bool = False,
) -> Any:
    """Write a model as ONNX, its contract in the file's metadata; also for a network of one's own that was adapted.

    Args:
        model: the model.
        out: the file.
        channels: as for `graph_of`.
        opset: as for `graph_of`.
        check: run ONNX Runtime beside PyTorch, and print how much they differ, before the file is written.

    Returns:
        What was written, an `onnx.ModelProto`.

    Raises:
        ConfigError: as `graph_of`.
        ChannelError: for a channel that the model does not know.
        ContractError: when ONNX Runtime gives other logits.
        RunError: when the file cannot be written.
    """
    chosen = None if channels is None else model.channels.select(channels)
    with working("writing as ONNX"):
        proto = graph_of(model, chosen, opset=opset)
    proto.metadata_props.add(key=METADATA, value=json.dumps(_describe(model, chosen), allow_nan=False))
    content = proto.SerializeToString()
    if check:
        print_differences(verify(content, model, chosen), model.name)
    try:
        with replacing(out) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise RunError(f"{out}: the file cannot be written ({error.strerror})") from None
    return proto


def _describe(model: AnyChannelModel, channels: ChannelSet | None) -> dict[str, Any]:
    """What the file says of itself."""
    return {
        "version": __version__,
        "form": "any_subset" if channels is None else "one_subset",
        "channels": list((model.channels if channels is None else channels).identities),
        "contract": model.contract.to_dict(),
    }


def _named(model: AnyChannelModel, text: str) -> ChannelSet:
    """The model's channels that `--channels` names."""
    known = model.channels
    channels = known.select(PRESETS.get(text.casefold(), text))
    for channel in channels:
        if channel.identity in model.contract.untrained:
            raise ChannelError(f"channel {channel.name!r} was never trained, so its weights mean nothing; leave it out")
    return channels
