import numpy as np
import pytest
import torch

from anychan.data.readers import resize
from anychan.deploy.classifier import Classifier
from anychan.errors import ChannelError, ConfigError, InputShapeError
from tests.scenes import BANDS, noise, scene_model


def test_probabilities_are_the_models_own() -> None:
    model = scene_model(size=16)
    images = [noise(20 + number, 33, 2, seed=number) for number in range(5)]
    rule = model.contract.resize
    assert rule is not None
    x = torch.from_numpy(np.stack([resize(image, rule) for image in images])).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model.select(["B08", "B03"])(x).softmax(1).numpy()
    for batch_size in (1, 2, 256):
        found = Classifier(model, BANDS.select(["B08", "B03"]), batch_size=batch_size)(images)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 0.05  # the images are told apart


def test_flips_are_the_mean_of_both_images() -> None:
    """Also where logits beyond the classes are left out, of which each image has its own."""
    model = scene_model(classes=5)
    model.contract = type(model.contract)(**{**vars(model.contract), "classes": ("a", "b", "c"), "num_outputs": 5})
    images = [noise(16, 16, seed=number) for number in range(5)]
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
    plain = Classifier(model, BANDS, batch_size=2)
    found = Classifier(model, BANDS, batch_size=2, flip=True)(images)
    np.testing.assert_allclose(found, (plain(images) + plain(mirrored)) / 2, atol=1e-6)
    assert np.abs(plain(images) - plain(mirrored)).max() > 0.05


def test_logits_beyond_the_classes_are_left_out() -> None:
    model = scene_model(classes=5)
    model.contract = type(model.contract)(**{**vars(model.contract), "classes": ("a", "b"), "num_outputs": 5})
    found = Classifier(model, BANDS, batch_size=4)([noise(16, 16)])
    assert found.shape == (1, 2)
    assert found.sum() == pytest.approx(1)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="--batch-size is 0, but it must be 1 or more images"):
        Classifier(scene_model(), BANDS, batch_size=0)
    with pytest.raises(ChannelError, match="channel 'sentinel2:B04' is not one of B02, B03"):
        Classifier(scene_model(BANDS.select(["B02", "B03"])), BANDS, batch_size=1)
    with pytest.raises(InputShapeError, match="the images have unlike sizes"):
        Classifier(scene_model(size=None), BANDS, batch_size=2)([noise(16, 16), noise(17, 16)])
