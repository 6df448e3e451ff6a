import pytest
import torch

from anychan.training.precision import resolve_precision


def test_auto_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("bf16") == "bf16"
    assert resolve_precision("float32") == "float32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for answers, expected in (((False, False), "float32"), ((True, False), "bf16"), ((False, True), "bf16")):
        for name, answer in zip(("_is_avx512_bf16_supported", "_is_amx_tile_supported"), answers, strict=True):
            monkeypatch.setattr(torch.cpu, name, lambda answer=answer: answer, raising=False)
        assert resolve_precision("auto") == expected
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert resolve_precision("auto") == "float32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for supported, expected in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, supported=supported: supported)
        assert resolve_precision("auto") == expected
