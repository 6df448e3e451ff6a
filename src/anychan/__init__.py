"""anychan: image classifiers for any subset of named channels, a few layers deep.

Names are imported when first used, so that `import anychan` and `anychan --help` stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anychan.channels import Channel, ChannelSet
    from anychan.contract import ChannelStatistics, Contract
    from anychan.data.readers import register_reader
    from anychan.deploy.classification import Classification
    from anychan.deploy.predictor import Predictor
    from anychan.errors import AnychanError
    from anychan.evaluation.evaluate import evaluate_subsets
    from anychan.evaluation.subsets import SubsetReport
    from anychan.models.adapt import adapt
    from anychan.models.base import AnyChannelModel, Selection
    from anychan.models.catalog import create_model, register_model
    from anychan.models.extend import extend
    from anychan.models.measure import measure_subsets
    from anychan.models.pretrained import load, save
    from anychan.models.stem_choice import register_stem
    from anychan.nn.batch_norm import measure_batch_norm
    from anychan.presets import LANDSAT5, LANDSAT7, LANDSAT8, LANDSAT9, RGB, SENTINEL2
    from anychan.profiling.macs import Profile, profile
    from anychan.recipe import Recipe
    from anychan.training.fit import fit

_HOMES = {
    "AnyChannelModel": "models.base",
    "AnychanError": "errors",
    "Channel": "channels",
    "ChannelSet": "channels",
    "ChannelStatistics": "contract",
    "Classification": "deploy.classification",
    "Contract": "contract",
    "LANDSAT5": "presets",
    "LANDSAT7": "presets",
    "LANDSAT8": "presets",
    "LANDSAT9": "presets",
    "Predictor": "deploy.predictor",
    "Profile": "profiling.macs",
    "RGB": "presets",
    "Recipe": "recipe",
    "SENTINEL2": "presets",
    "Selection": "models.base",
    "SubsetReport": "evaluation.subsets",
    "adapt": "models.adapt",
    "create_model": "models.catalog",
    "evaluate_subsets": "evaluation.evaluate",
    "extend": "models.extend",
    "fit": "training.fit",
    "load": "models.pretrained",
    "measure_batch_norm": "nn.batch_norm",
    "measure_subsets": "models.measure",
    "profile": "profiling.macs",
    "register_model": "models.catalog",
    "register_reader": "data.readers",
    "register_stem": "models.stem_choice",
    "save": "models.pretrained",
}
__all__ = [
    "LANDSAT5",
    "LANDSAT7",
    "LANDSAT8",
    "LANDSAT9",
    "RGB",
    "SENTINEL2",
    "AnyChannelModel",
    "AnychanError",
    "Channel",
    "ChannelSet",
    "ChannelStatistics",
    "Classification",
    "Contract",
    "Predictor",
    "Profile",
    "Recipe",
    "Selection",
    "SubsetReport",
    "adapt",
    "create_model",
    "evaluate_subsets",
    "extend",
    "fit",
    "load",
    "measure_batch_norm",
    "measure_subsets",
    "profile",
    "register_model",
    "register_reader",
    "register_stem",
    "save",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'anychan' has no attribute {name!r}")
    return getattr(import_module(f"anychan.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
