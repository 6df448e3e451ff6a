import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from anychan.errors import ConfigError
from anychan.evaluation.run import load_run, untrained_modules
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.models.whitening import whiten_stem
from anychan.presets import RGB
from anychan.recipe import ModelConfig, Recipe
from anychan.training.build import _whole_images, build_model, load_images
from anychan.training.fit import fit
from tests.runs import RGB_SPLIT, small_recipe


def smooth_images(count: int = 60, size: int = 20) -> Tensor:
    """(N, 3, H, W) raw: neighbours and channels alike, as in photographs."""
    noise = torch.rand(count, 3, size + 8, size + 8, generator=torch.Generator().manual_seed(5))
    grey = noise.mean(1, keepdim=True)
    return 255 * functional.avg_pool2d(0.8 * grey + 0.2 * noise, 9, 1)


def fresh(width: int = 32, kernel: int = 3, stem: str = "mean", name: str = "shallow2_s") -> AnyChannelModel:
    torch.manual_seed(3)
    options = {"widths": [width, 16], "kernels": [kernel, 3]} if name == "shallow2_s" else {}
    return create_model(name, channels=RGB, num_classes=4, stem=stem, options=options)


def kernels(model: AnyChannelModel) -> Tensor:
    return next(value for name, value in model.stem.named_parameters() if name.endswith("weight")).detach()


def test_kernels_answer_with_equal_variance_and_come_in_pairs() -> None:
    model, images = fresh(width=24), smooth_images()
    before = kernels(model).clone()
    whiten_stem(model, images.split(25))
    found = kernels(model)
    torch.testing.assert_close(found[12:24], -found[:12], rtol=0, atol=0)
    assert not torch.allclose(found, before)
    assert float(found.std()) == pytest.approx(float(before.std()), rel=0.2)
    answers = functional.conv2d(model.normalize(images), found[:12], stride=3).transpose(0, 1).flatten(1)
    drawn = functional.conv2d(model.normalize(images), before[:12], stride=3).transpose(0, 1).flatten(1)
    assert answers.std(1).max() / answers.std(1).min() < 1.5
    assert drawn.std(1).max() / drawn.std(1).min() > 3  # which random kernels would not give
    unlike = torch.corrcoef(answers) - torch.eye(12)
    assert unlike.abs().max() < 0.05


def test_kernels_beyond_twice_a_patch_stay_as_they_were_drawn() -> None:
    model = fresh(width=64, kernel=3)
    before = kernels(model).clone()
    whiten_stem(model, [smooth_images()])
    assert torch.equal(kernels(model)[54:], before[54:])
    assert not torch.isclose(kernels(model)[:54], before[:54]).flatten(1).all(1).any()


def test_images_in_parts_count_as_all_at_once() -> None:
    whole, parts = fresh(), fresh()
    whiten_stem(whole, [smooth_images()])
    whiten_stem(parts, smooth_images().split(7))
    torch.testing.assert_close(kernels(whole).abs(), kernels(parts).abs(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "stem"), [("shallow2_s", "wavelength"), ("shallow2_s", "expansion"), ("resnet8", "dynamic")]
)
def test_another_first_layer_is_refused(name: str, stem: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.whiten_stem needs a stem of one ordinary convolution, but {name}"):
        whiten_stem(fresh(name=name, stem=stem), [smooth_images()])


def test_images_smaller_than_the_kernel_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs images of at least 9x9 pixels, the first kernel's size, not 8x8"):
        whiten_stem(fresh(kernel=9), [smooth_images(size=8)])


@pytest.mark.parametrize(
    "batches",
    [
        [],
        [smooth_images(count=1, size=9)],
        [torch.full((60, 3, 20, 20), 7.0)],
        [torch.full((60, 3, 20, 20), torch.nan)],
    ],
)
def test_too_few_patches_or_ones_that_do_not_vary_are_refused(batches: list[Tensor]) -> None:
    model = fresh()
    before = kernels(model).clone()
    with pytest.raises(ConfigError, match=r"^model\.whiten_stem needs at least 27 patches of 3x3 pixels that vary"):
        whiten_stem(model, batches)
    assert torch.equal(kernels(model), before)


def whitened_recipe() -> Recipe:
    recipe = small_recipe(RGB_SPLIT)
    recipe.model = ModelConfig("shallow4_s", whiten_stem=True)
    return recipe


def test_a_recipe_asks_for_it() -> None:
    recipe = whitened_recipe()
    data = load_images(recipe)
    found, again = (build_model(recipe, data).state_dict() for _ in range(2))
    recipe.model.whiten_stem = False
    plain = build_model(recipe, data).state_dict()
    changed = [name for name, value in found.items() if not torch.equal(value, plain[name])]
    assert len(changed) == 1
    assert changed[0].startswith("stem.")
    assert all(torch.equal(value, again[name]) for name, value in found.items())


def test_sources_that_lack_channels_are_refused_and_trained_models_compared_without() -> None:
    recipe = whitened_recipe()
    data = load_images(recipe)
    model = build_model(recipe, data)
    assert untrained_modules(model, data, recipe)  # all but the first layer, which is not as it was drawn
    parts = {"one": {"train": dataclasses.replace(data.splits["train"], index=(0, 1))}}
    lacking = dataclasses.replace(data, sources=parts)
    with pytest.raises(ConfigError, match=r"^model\.whiten_stem needs images with all channels, but there are sources"):
        _whole_images(recipe, lacking)


def test_a_whitened_run_trains_and_evaluates(tmp_path: Path) -> None:
    model = fit(whitened_recipe(), tmp_path)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    again, data = load_run(tmp_path)
    assert again.contract.model == "shallow4_s"
    assert untrained_modules(again, data, whitened_recipe()) == []
