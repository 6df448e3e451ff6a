"""`anychan predict` and `demo`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from anychan.verbs.verb import Verb

__all__ = ["VERBS"]


def _demo_options(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, default="demo-run", help="the folder to make")


def _demo(options: Namespace) -> None:
    from anychan.deploy.demo import run_demo

    run_demo(Path(options.out))


def _predict_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="a run's folder, or a saved model's")
    parser.add_argument(
        "input",
        type=str,
        help="a scene: TIFF, .npy (H, W, C), .mat, or a folder of one TIFF a channel, whose channels.yaml gives their "
        "pattern (coarser ones are resampled bilinearly to the finest); or a folder, zip or .npz of many images",
    )
    parser.add_argument(
        "--out",
        type=str,
        required=True,
        help="of a scene, the GeoTIFF of class labels, with a pixel for every stride x stride pixels of the scene; "
        "-confidence.tif (mean softmax of the windows over it) and a picture, .png, lie beside it; of images, a CSV",
    )
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
    parser.add_argument("--batch-size", type=int, default=256, help="windows or images at once")
    parser.add_argument(
        "--flip",
        action="store_true",
        help="average the probabilities of each image or window and of its mirror image; takes twice the time",
    )
    parser.add_argument(
        "--allow-unknown-channels", action="store_true", help="leave out channels that the model does not know"
    )


def _predict(options: Namespace) -> None:
    from anychan.deploy.classifier import Prediction
    from anychan.deploy.predict import predict

    asked = Prediction(**{item.name: options[item.name] for item in dataclasses.fields(Prediction)})
    predict(Path(options.run), Path(options.input), Path(options.out), asked)


VERBS = {
    "predict": Verb(_predict, "A scene's class map as GeoTIFF, or a table of many images' classes.", _predict_options),
    "demo": Verb(_demo, "Train on the satellite tiles inside the package, and compare.", _demo_options),
}
