import pytest
import torch
from torch.nn import functional

from anychan.training.losses import distillation_loss, never_hurt_loss, soft_label_loss


def test_distillation_by_hand() -> None:
    teacher = torch.tensor([[0.0, 2.0, 0.0]]).log_softmax(1)
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    share = teacher.exp()[0]
    expected = share[0] * torch.tensor(2.0).log() + (share[1] + share[2]) * torch.tensor(4.0).log()
    torch.testing.assert_close(distillation_loss(logits, teacher), expected)


def test_distillation_is_least_where_both_agree_and_teaches_the_subset_alone() -> None:
    teacher = torch.randn(5, 4, requires_grad=True)
    logits = teacher.detach().clone().requires_grad_()
    distillation_loss(logits, teacher).backward()
    assert teacher.grad is None
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(5, 4), atol=1e-7, rtol=0)


def test_never_hurt_by_hand() -> None:
    labels = torch.tensor([0, 1])
    more = torch.log(torch.tensor([[0.25, 0.75], [0.2, 0.8]])).requires_grad_()
    fewer = torch.log(torch.tensor([[0.5, 0.5], [0.6, 0.4]])).requires_grad_()
    loss = never_hurt_loss(more, fewer, labels)
    assert loss.item() == pytest.approx(0.5 * torch.tensor(2.0).log().item())  # ln 4 - ln 2 for the first image alone
    loss.backward()
    assert fewer.grad is None
    assert more.grad is not None
    assert more.grad[0].tolist() == pytest.approx([-0.375, 0.375])
    assert more.grad[1].tolist() == [0, 0]


def test_never_hurt_is_nothing_where_more_channels_help() -> None:
    labels = torch.tensor([0, 1, 2])
    sure = 10 * functional.one_hot(labels, 3).float()
    assert never_hurt_loss(sure, torch.zeros(3, 3), labels) == 0
    assert never_hurt_loss(torch.zeros(3, 3), sure, labels) > 1


def test_soft_labels_by_hand() -> None:
    """Temperature 2 makes the odds 16 : 1 : 1 of the student 4 : 1 : 1."""
    logits = torch.tensor([[16.0, 1.0, 1.0], [1.0, 1.0, 1.0]]).log()
    teacher = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    student = torch.tensor([[4 / 6, 1 / 6, 1 / 6], [1 / 3, 1 / 3, 1 / 3]])
    each = [(teacher[0] * (teacher[0] / student[0]).log()).sum(), torch.tensor(3.0).log()]
    torch.testing.assert_close(soft_label_loss(logits, teacher, temperature=2.0), 4 * (each[0] + each[1]) / 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_labels_are_matched_where_logits_agree(temperature: float) -> None:
    logits = torch.randn(5, 4, requires_grad=True)
    loss = soft_label_loss(logits, (logits.detach() / temperature).softmax(1), temperature=temperature)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(5, 4), atol=1e-6, rtol=0)


def test_soft_labels_give_nothing_to_outputs_beyond_the_classes() -> None:
    logits, teacher = torch.randn(5, 6), torch.randn(5, 4).softmax(1)
    padded = torch.cat([teacher, torch.zeros(5, 2)], 1)
    expected = functional.cross_entropy(logits, padded) + (teacher * teacher.log()).sum(1).mean()
    torch.testing.assert_close(soft_label_loss(logits, teacher), expected)


def test_gradients_are_as_large_at_any_temperature() -> None:
    """For high temperatures, near those of the squared difference of the logits (§2.1 of the paper), divided by K."""
    logits, teacher = (torch.randn(3, 5, dtype=torch.float64) for _ in range(2))
    logits = (logits - logits.mean(1, keepdim=True)).requires_grad_()
    soft_label_loss(logits, ((teacher - teacher.mean(1, keepdim=True)) / 1e3).softmax(1), temperature=1e3).backward()
    assert logits.grad is not None
    expected = (logits - teacher + teacher.mean(1, keepdim=True)) / 5 / 3
    torch.testing.assert_close(logits.grad, expected.detach(), rtol=1e-2, atol=1e-3)
