import pytest
import torch
from torch import Tensor

from anychan.evaluation.flip import with_flips


def test_probabilities_are_averaged_by_hand() -> None:
    """An image of two pixels says its left pixel's class; the mirror image says the right one's."""
    odds = torch.tensor([[8.0, 1.0, 1.0], [1.0, 1.0, 2.0]])

    def classify(images: Tensor) -> Tensor:
        return odds.log()[images[:, 0, 0, 0].long()]

    images = torch.tensor([[0, 1], [1, 0], [0, 0]], dtype=torch.uint8).view(3, 1, 1, 2)
    found = with_flips(classify)(images).softmax(1)
    mean = (torch.tensor([0.8, 0.1, 0.1]) + torch.tensor([0.25, 0.25, 0.5])) / 2
    torch.testing.assert_close(found, torch.stack([mean, mean, torch.tensor([0.8, 0.1, 0.1])]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_an_image_and_its_mirror_image_are_one(dtype: torch.dtype) -> None:
    pixels = (255 * torch.rand(4, 3, 5, 6)).floor()
    images, mirrored = pixels.to(dtype), pixels.flip(3).to(dtype)  # PyTorch cannot flip uint16
    weights = torch.randn(4, 3 * 5 * 6)

    def classify(x: Tensor) -> Tensor:
        return x.float().flatten(1) @ weights.T / 255

    found = with_flips(classify)(images)
    torch.testing.assert_close(found, with_flips(classify)(mirrored))
    torch.testing.assert_close(found.exp().sum(1), torch.ones(4))
    expected = (classify(images).softmax(1) + classify(mirrored).softmax(1)) / 2
    torch.testing.assert_close(found.exp(), expected)
    assert not torch.allclose(classify(images), classify(mirrored), atol=0.1)


def test_sure_predictions_are_finite() -> None:
    logits = torch.tensor([[1000.0, 0.0]])
    found = with_flips(lambda images: logits)(torch.zeros(1, 1, 1, 2))
    torch.testing.assert_close(found, torch.tensor([[0.0, -1000.0]]))
