"""`anychan predict`, `share`, `export`, `serve` and `demo`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from anychan.verbs.verb import Verb

__all__ = ["VERBS"]


def _demo_options(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, default="demo-run", help="the folder to make")


def _demo(options: Namespace) -> None:
    from anychan.deploy.demo import run_demo

    run_demo(Path(options.out))


def _predict_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="a run's folder, a saved model's, or `demo`")
    parser.add_argument(
        "inputs",
        type=str,
        nargs="+",
        help="image files, folders, zips or .npz files of many, for a table; or one scene, for a map: TIFF, .npy "
        "(H, W, C), .mat, or a folder of one TIFF a channel, whose channels.yaml gives their pattern (coarser ones are "
        "resampled bilinearly to the finest)",
    )
    parser.add_argument(
        "--out",
        type=str | None,
        default=None,
        help="of images, the table, .csv or .jsonl (JSON Lines; nothing is written if an image cannot be read); of a "
        "scene, the GeoTIFF of class labels, with a pixel for every stride x stride pixels of the scene; "
        "-confidence.tif (mean softmax of the windows over it) and a picture, .png, lie beside it; default: a table on "
        "standard output",
    )
    _table_options(parser)
    _image_options(parser)
    parser.add_argument(
        "--engine",
        type=Literal["local", "ray"],
        default="local",
        help="who computes: this process; or Ray's workers, on all cores or GPUs of one machine or many, which read "
        "the inputs themselves, from storage that they share",
    )
    parser.add_argument(
        "--address",
        type=str | None,
        default=None,
        help="of the head of a Ray cluster, such as 10.0.0.1:6379; default: that of RAY_ADDRESS, or else this machine",
    )


def _image_options(parser: ArgumentParser) -> None:
    parser.add_argument("--window", type=int, default=64, help="pixels of a scene that are classified as one image")
    parser.add_argument("--stride", type=int, default=32, help="pixels from one window to the next; side of a cell")
    parser.add_argument(
        "--channels", type=str, default=None, help="all channels of the input in its order; default: the files say"
    )
    parser.add_argument(
        "--cube",
        type=str | None,
        default=None,
        help="key of a .mat's scene; default: the one trained on, or else the only array of three axes",
    )
    parser.add_argument("--batch-size", type=int, default=64, help="windows or images at once")
    parser.add_argument(
        "--flip",
        action="store_true",
        help="average the probabilities of each image or window and of its mirror image; takes twice the time",
    )
    parser.add_argument(
        "--allow-unknown-channels", action="store_true", help="leave out channels that the model does not know"
    )


def _table_options(parser: ArgumentParser) -> None:
    parser.add_argument("--top-k", type=int, default=1, help="classes that the table tells of each image")
    parser.add_argument("--probabilities", action="store_true", help="the table tells the probabilities of all classes")
    parser.add_argument(
        "--format",
        type=Literal["csv", "jsonl"] | None,
        default=None,
        help="of the table; default: by the suffix of --out, or csv",
    )


def _predict(options: Namespace) -> None:
    from anychan.deploy.classifier import Prediction
    from anychan.deploy.predict import predict

    asked = Prediction(**{item.name: options[item.name] for item in dataclasses.fields(Prediction)})
    out = None if options.out is None else Path(options.out)
    inputs = [Path(given) for given in options.inputs]
    predict(Path(options.run), inputs, out, asked, engine=options.engine, address=options.address)


def _share_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="a finished run's folder; evaluate it first, for a table in the card")
    parser.add_argument("--out", type=str, required=True, help="the folder to make")
    parser.add_argument(
        "--license", type=str, default="unknown", help="the model's licence, as the Hub calls it, such as apache-2.0"
    )
    parser.add_argument(
        "--push",
        type=str | None,
        default=None,
        help="upload the folder to this repository of the Hugging Face Hub too, such as someone/tiles; see `hf auth`",
    )
    parser.add_argument("--private", action="store_true", help="make a new repository private")


def _share(options: Namespace) -> None:
    from anychan.deploy.share import share_run

    how = {"license": options.license, "push": options.push, "private": options.private}
    shared = share_run(options.run, options.out, **how)
    print(f"written: {options.out} ({', '.join(shared.files)})")
    if shared.url is not None:
        print(f"uploaded: {shared.url}")


def _export_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="a run's folder, a saved model's, or `demo`")
    parser.add_argument("--out", type=str, required=True, help="the file to write, .onnx")
    parser.add_argument(
        "--channels",
        type=str | None,
        default=None,
        help="the only channels that images will have, such as R,G, or a sensor: the network for these alone, with "
        "less to compute; default: all channels, and a mask of those that each image has",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="run ONNX Runtime beside PyTorch on random images first, and write nothing where they differ",
    )
    parser.add_argument("--opset", type=int, default=20, help="version of ONNX's operators, 18 to 22")


def _export(options: Namespace) -> None:
    from anychan.deploy.export import Export, export

    asked = Export(**{item.name: options[item.name] for item in dataclasses.fields(Export)})
    export(Path(options.run), Path(options.out), asked)


def _serve_options(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=str, help="a run's folder, a saved model's, or `demo`, the model of the package")
    parser.add_argument("--host", type=str, default="127.0.0.1", help="address to listen at; 0.0.0.0 for all")
    parser.add_argument("--port", type=int, default=7860, help="port to listen at")
    parser.add_argument("--max-mib", type=int, default=32, help="the largest file that is taken, in MiB")
    parser.add_argument(
        "--token",
        type=str | None,
        default=None,
        help="the password that the page asks for, which others on this machine can see here and not in ANYCHAN_TOKEN; "
        "default: ANYCHAN_TOKEN's, or none",
    )
    parser.add_argument(
        "--examples",
        type=str | None,
        default=None,
        help="a folder of images to offer; default: satellite tiles of the package, if the model knows their bands",
    )


def _serve(options: Namespace) -> None:
    from anychan.deploy.serve import serve

    examples = None if options.examples is None else Path(options.examples)
    how = {name: options[name] for name in ("host", "port", "max_mib", "token")}
    serve(options.model, **how, examples=examples)


VERBS = {
    "predict": Verb(_predict, "A table of images' classes, or a scene's class map as GeoTIFF.", _predict_options),
    "share": Verb(_share, "A run's model with a model card, in a folder or on the Hugging Face Hub.", _share_options),
    "export": Verb(_export, "Write a model as ONNX, to run without PyTorch.", _export_options),
    "serve": Verb(_serve, "A web page on which channels are switched off and on; also by HTTP.", _serve_options),
    "demo": Verb(_demo, "Train on the satellite tiles inside the package, and compare.", _demo_options),
}
