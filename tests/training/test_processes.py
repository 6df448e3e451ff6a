import pytest
import torch

from anychan.training import processes


def test_shares_are_the_whole_batch_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 5, 12, 128):
        for together in (1, 2, 3, 5):
            monkeypatch.setattr(processes, "size", lambda together=together: together)
            shares = []
            for rank in range(together):
                monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
                shares.append(torch.arange(count)[processes.own_rows(count)])
            assert torch.cat(shares).tolist() == list(range(count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_nothing_is_shared() -> None:
    logits = torch.randn(3, 2)
    assert processes.whole(logits, 3) is logits
    assert (processes.rank(), processes.size(), processes.local_size()) == (0, 1, 1)
    assert processes.is_first()
    assert processes.agreed("said") == "said"
    with processes.joined("run"):
        assert processes.size() == 1
