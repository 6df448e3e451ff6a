import pytest
import torch
from torch import Tensor

from anychan.evaluation.attribution import integrated_gradients
from tests.builders import build_model


def test_of_a_linear_model_by_hand() -> None:
    """Two classes by one weight each: the log-odds' path is straight, so the shares are those of weight and way."""
    weight = torch.tensor([[[1.0, -2.0]], [[0.0, 3.0]]])  # (C, H, W)

    def classify(x: Tensor) -> Tensor:
        score = (x * weight).sum((1, 2, 3))
        return torch.stack([torch.zeros_like(score), score], 1)

    image, baseline = torch.tensor([[[2.0, 1.0]], [[5.0, 1.5]]]), torch.tensor([1.0, 0.5]).view(2, 1, 1)
    found = integrated_gradients(classify, image, baseline, 1, steps=200)
    straight = weight * (image - baseline)
    ends = [classify(end.expand_as(image)[None]).log_softmax(1)[0, 1] for end in (image, baseline)]
    assert found.sum().item() == pytest.approx((ends[0] - ends[1]).item(), abs=1e-4)
    assert found / found.sum() == pytest.approx(straight / straight.sum(), abs=1e-5)


def test_sum_is_what_the_log_probability_gained() -> None:
    model = build_model("resnet8").float()
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1)) * 255
    baseline = torch.full((3, 1, 1), 120.0)
    found = integrated_gradients(model, image, baseline, 2, steps=256)
    with torch.no_grad():
        ends = model(torch.stack([image, baseline.expand_as(image)])).log_softmax(1)[:, 2]
    assert found.shape == image.shape
    assert found.sum().item() == pytest.approx((ends[0] - ends[1]).item(), rel=0.02, abs=0.01)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_is_as_the_baseline_adds_nothing() -> None:
    model = build_model("resnet8").float()
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2)) * 255
    image[1] = 100
    found = integrated_gradients(model, image, torch.tensor([50.0, 100.0, 50.0]).view(3, 1, 1), 0)
    assert found[1].abs().max() == 0
    assert found[0].abs().max() > 0
