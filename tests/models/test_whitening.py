import pytest
import torch
from torch import Tensor
from torch.nn import functional

from anychan.errors import ConfigError
from anychan.models.base import AnyChannelModel
from anychan.models.catalog import create_model
from anychan.models.whitening import whiten_stem
from anychan.presets import RGB
from anychan.training.build import build_model, load_images
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


def test_a_recipe_asks_for_it() -> None:
    recipe = small_recipe(RGB_SPLIT)
    recipe.model.name = "shallow2_s"
    data = load_images(recipe)
    plain = build_model(recipe, data).state_dict()
    recipe.model.whiten_stem = True
    found, again = (build_model(recipe, data).state_dict() for _ in range(2))
    changed = [name for name, value in found.items() if not torch.equal(value, plain[name])]
    assert len(changed) == 1
    assert changed[0].startswith("stem.")
    assert all(torch.equal(value, again[name]) for name, value in found.items())
