import torch

from anychan.nn.affine import Fold
from anychan.nn.fill import MeanFill


def test_fold_without_matrix_slices_the_kernel_in_order() -> None:
    kernel = torch.arange(24.0).view(2, 3, 2, 2)
    assert MeanFill(torch.zeros(3), torch.ones(3)).fold((2, 0)) == Fold((2, 0))
    torch.testing.assert_close(Fold((2, 0)).kernel(kernel, 1), kernel[:, [2, 0]])
    torch.testing.assert_close(Fold((1,)).kernel(kernel, 0), kernel[[1]])


def test_fold_with_matrix_and_offset_by_hand() -> None:
    fold = Fold((0, 1), torch.tensor([[1.0, 2.0], [0.0, 1.0], [5.0, 0.0]]), torch.tensor([0.0, 0.0, 7.0]))
    weight = torch.tensor([[1.0, 10.0, 100.0], [2.0, 0.0, 1.0]])  # (O, C)
    torch.testing.assert_close(fold.kernel(weight, 1), torch.tensor([[501.0, 12.0, 700.0], [7.0, 4.0, 7.0]]))


def test_fold_appends_a_map_of_ones_for_an_offset() -> None:
    fold = Fold((0, 1), None, torch.tensor([0.0, 0.0, 7.0]))
    x = torch.zeros(2, 2, 5, 7)
    assert fold.extend(x).shape == (2, 3, 5, 7)
    torch.testing.assert_close(fold.extend(x)[:, 2], torch.ones(2, 5, 7))
