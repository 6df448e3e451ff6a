import torch

from anychan.nn.local_gate import LocalGate


def test_a_gate_sees_its_neighbours_and_no_further() -> None:
    torch.manual_seed(0)
    gate = LocalGate(32).double().eval()
    x = torch.rand(1, 32, 9, 9, dtype=torch.float64) + 1
    changed = x.clone()
    changed[:, :, 4, 4] += 1
    moved = ((gate(changed) / changed - gate(x) / x).abs() > 1e-12).any(1)[0]
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[3:6, 3:6] = True
    assert torch.equal(moved, expected)


def test_values_are_scaled_by_shares() -> None:
    torch.manual_seed(0)
    gate = LocalGate(16)
    x = torch.randn(4, 16, 5, 7)
    share = gate(x) / x
    assert share.shape == x.shape
    assert 0 < share.min() < share.max() < 1


def test_hidden_width() -> None:
    assert LocalGate(128).reduce[0].out_channels == 32
    assert LocalGate(20).reduce[0].out_channels == 16
