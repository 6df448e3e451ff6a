import math
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from anychan.errors import ConfigError
from anychan.nn.drop_path import DropPath
from anychan.nn.tokens import Tokens
from anychan.nn.transformer import Attention, ClassTokenEncoder, TransformerBlock

Module = TypeVar("Module", bound=nn.Module)


def randomised(module: Module) -> Module:
    """In float64 and eval mode, every parameter far from 0, each from its own numbers."""
    torch.manual_seed(1)
    module.double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def tokens(width: int = 6) -> Tensor:
    return torch.randn(2, 5, width, dtype=torch.float64)


def slow_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Of one token (D,)."""
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + 1e-6) * norm.weight + norm.bias


def slow_attention(x: Tensor, attention: Attention, seen: list[int]) -> Tensor:
    """Of one image (T, D): head by head, query by query, over the tokens seen."""
    width, d = x.shape[1], x.shape[1] // attention.heads
    weight, bias = attention.qkv.weight, attention.qkv.bias
    rows = []
    for query in range(len(x)):
        parts = []
        for head in range(attention.heads):
            q, k, v = (slice(part * width + head * d, part * width + (head + 1) * d) for part in range(3))
            asked = weight[q] @ x[query] + bias[q]
            scores = {key: math.exp(asked @ (weight[k] @ x[key] + bias[k]) / math.sqrt(d)) for key in seen}
            shares = {key: score / sum(scores.values()) for key, score in scores.items()}
            parts.append(torch.stack([share * (weight[v] @ x[key] + bias[v]) for key, share in shares.items()]).sum(0))
        rows.append(attention.project.weight @ torch.cat(parts) + attention.project.bias)
    return torch.stack(rows)


def slow_block(x: Tensor, block: TransformerBlock, seen: list[int]) -> Tensor:
    """Of one image (T, D)."""
    x = x + slow_attention(torch.stack([slow_norm(token, block.norm1) for token in x]), block.attention, seen)
    hidden, out = (layer for layer in block.mlp if isinstance(layer, nn.Linear))
    rows = []
    for token in x:
        inner = hidden.weight @ slow_norm(token, block.norm2) + hidden.bias
        gelu = torch.stack([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in inner])
        rows.append(token + out.weight @ gelu + out.bias)
    return torch.stack(rows)


SEEN = [[0, 1, 2, 3, 4], [0, 3]]


def present() -> Tensor:
    return torch.tensor([[token in row for token in range(5)] for row in SEEN])


@torch.no_grad()
def test_attention_is_that_of_the_slow_judge() -> None:
    attention, x = randomised(Attention(6, heads=3)), tokens()
    whole = torch.stack([slow_attention(image, attention, SEEN[0]) for image in x])
    torch.testing.assert_close(attention(x), whole)
    masked = torch.stack([slow_attention(image, attention, seen) for image, seen in zip(x, SEEN, strict=True)])
    torch.testing.assert_close(attention(x, present()), masked)
    assert (whole[1] - masked[1]).abs().max() > 1e-2


@torch.no_grad()
def test_encoder_is_that_of_the_slow_judge() -> None:
    encoder, x = randomised(ClassTokenEncoder(6, depth=2, heads=2)), tokens()
    found = encoder(Tokens(x, present()))
    assert found.shape == (2, 6, 1, 1)
    for number, seen in enumerate(SEEN):
        image = x[number]
        for block in encoder.blocks:
            assert isinstance(block, TransformerBlock)
            image = slow_block(image, block, seen)
        torch.testing.assert_close(found[number].flatten(), slow_norm(image[0], encoder.norm))


def test_order_of_the_tokens_does_not_matter_behind_the_first() -> None:
    encoder, x = randomised(ClassTokenEncoder(6, depth=2, heads=2)), tokens()
    torch.testing.assert_close(encoder(Tokens(x[:, [0, 3, 1, 4, 2]], None)), encoder(Tokens(x, None)))
    assert (encoder(Tokens(x[:, [1, 0, 2, 3, 4]], None)) - encoder(Tokens(x, None))).abs().max() > 1e-2


def test_drop_path_grows_with_depth() -> None:
    encoder = ClassTokenEncoder(6, depth=4, heads=2, drop_path=0.3)
    found = [module.probability for module in encoder.modules() if isinstance(module, DropPath)]
    assert found == pytest.approx([0, 0.1, 0.2, 0.3])
    single = ClassTokenEncoder(6, depth=1, heads=2, drop_path=0.3)
    assert [module.probability for module in single.modules() if isinstance(module, DropPath)] == [0]


def test_dropped_path_leaves_the_block_out() -> None:
    block, x = randomised(TransformerBlock(6, heads=2, drop_path=0.999999)).train(), tokens()
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


@pytest.mark.parametrize("option", ["dropout", "drop_path"])
def test_drops_are_for_training_alone(option: str) -> None:
    plain, x = randomised(ClassTokenEncoder(6, depth=3, heads=2)), tokens()
    drops = {option: 0.5}
    encoder = randomised(ClassTokenEncoder(6, depth=3, heads=2, **drops))
    torch.testing.assert_close(encoder(Tokens(x, None)), plain(Tokens(x, None)), rtol=0, atol=0)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(encoder.train()(Tokens(x, None)))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)
    assert not torch.allclose(outputs[0], outputs[2])


def test_fresh_weights_are_small_and_biases_zero() -> None:
    encoder = ClassTokenEncoder(48, depth=2, heads=2)
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            assert 0.018 < module.weight.std() < 0.022
            assert not module.bias.any()


@pytest.mark.parametrize("heads", [0, 4])
def test_heads_divide_the_width(heads: int) -> None:
    with pytest.raises(ConfigError, match=f"attention of width 6 cannot be divided among {heads} heads"):
        ClassTokenEncoder(6, depth=1, heads=heads)
