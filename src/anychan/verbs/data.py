"""`anychan data describe` and `anychan data shard`."""

from __future__ import annotations

import json
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from anychan.errors import ConfigError, DataError
from anychan.verbs.verb import Verb, group

__all__ = ["VERBS"]


def _describe_options(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=str, help="a folder, a zip, or a single file: an image, .npz or .mat")
    parser.add_argument("--sensor", type=str | None, default=None, help="whose channels they are, such as sentinel2")
    parser.add_argument(
        "--channels",
        type=str | None,
        default=None,
        help="the channels in the files' order, such as sentinel2:B02,sentinel2:B8A or DNA,RNA",
    )
    parser.add_argument(
        "--wavelengths",
        type=str | None,
        default=None,
        help="the first and the last centre in nm, such as 401,889, of --sensor's evenly spaced bands b001, b002, …",
    )
    parser.add_argument(
        "--cube", type=str | None, default=None, help="the key of a .mat file's scene; default: its array of three axes"
    )
    parser.add_argument(
        "--out", type=str | None, default=None, help="the file to write; default: channels.yaml beside the data"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument("--picture", type=str | None, default=None, help="a PNG to write, a panel for each channel")
    parser.add_argument("--samples", type=int, default=64, help="look at so many samples at most, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="for that draw")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")


def _wavelengths(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        first, last = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--wavelengths is {text}, but it must be the first centre and the last in nm, such as 401,889"
        ) from None
    return first, last


def _describe(options: Namespace) -> None:
    from anychan.data.channels_file import sidecar
    from anychan.data.describe import describe
    from anychan.report.describe import plot_channels, print_description, write_channels_file

    if options.samples < 1:
        raise ConfigError(f"--samples is {options.samples}, but it must be 1 or more")
    picture = None if options.picture is None else Path(options.picture)
    if picture is not None and picture.suffix.lower() != ".png":
        raise ConfigError(f"--picture is {picture}, but it must end in .png")
    out = sidecar(Path(options.path)) if options.out is None else Path(options.out)
    if out.exists() and not options.force:
        raise DataError(f"{out}: the file is there already; --force writes over it, --out writes another")
    for target in (out, *([picture] if picture is not None else [])):
        if Path(options.path).exists() and not target.parent.is_dir():
            raise DataError(f"{target}: there is no folder {target.parent}; make it, or write elsewhere")
    found = describe(
        options.path,
        channels=options.channels,
        sensor=options.sensor,
        wavelengths=_wavelengths(options.wavelengths),
        cube=options.cube,
        samples=options.samples,
        seed=options.seed,
    )
    named = found.naming.channels is not None
    if named or options.out is not None:
        write_channels_file(found, out)
    if picture is not None:
        plot_channels(found, picture)
    written = {"channels_file": str(out) if named else None, "picture": options.picture}
    if options.json:
        print(json.dumps({**found.to_dict(), "written": written}))
        return
    print_description(found)
    for file in filter(None, written.values()):
        print(f"written: {file}")
    if not named:
        print("no channels.yaml was written")


def _shard_options(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=str, help="a folder or zip of image files, as for training")
    parser.add_argument("--out", type=str, required=True, help="the folder to make")
    parser.add_argument("--channels", type=str | None, default=None, help="what the images hold, if nothing says so")
    parser.add_argument("--shard-mib", type=int, default=256, help="size of a tar in MiB, about")
    parser.add_argument("--seed", type=int, default=0, help="for the order in which samples are written")


def _shard(options: Namespace) -> None:
    from anychan.data.shards import write_shards

    out = Path(options.out)
    count = write_shards(
        Path(options.path), out, channels=options.channels, shard_mib=options.shard_mib, seed=options.seed
    )
    print(f"written: {count} shards in {options.out}; train on them by --data.path {options.out}")


VERBS = {
    "data": group(
        "Look at images and what they hold, and pack them.",
        {
            "describe": Verb(
                _describe, "Look at images channel by channel, and write channels.yaml.", _describe_options
            ),
            "shard": Verb(_shard, "Write a folder's or zip's images into tar shards.", _shard_options),
        },
    ),
}
