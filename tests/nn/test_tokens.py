import pytest
import torch
from torch import Tensor
from torch.nn import functional

from anychan.errors import ConfigError
from anychan.nn.tokens import ChannelTokens
from tests.builders import mask, subsets


def build(image_size: int = 6, dropout: float = 0.0) -> ChannelTokens:
    """C 3, D 4, patches of 2×2; every parameter far from 0."""
    torch.manual_seed(1)
    stem = ChannelTokens(3, 4, patch_size=2, image_size=image_size, dropout=dropout).double().eval()
    for parameter in stem.parameters():
        torch.nn.init.normal_(parameter)
    return stem


def images(height: int = 6, width: int = 6) -> Tensor:
    return torch.randn(2, 3, height, width, dtype=torch.float64)


def slow_tokens(stem: ChannelTokens, x: Tensor, index: tuple[int, ...], positions: Tensor) -> Tensor:
    """Pixel by pixel: token = sum of the patch's pixels, each times its column of W, + b + channel + position."""
    size, (rows, columns) = stem.patch_size, positions.shape[:2]
    tokens = [stem.class_token.expand(len(x), -1)]
    for number, channel in enumerate(index):
        for row in range(rows):
            for column in range(columns):
                token = stem.project.bias + stem.channels[channel] + positions[row, column]
                for down in range(size):
                    for right in range(size):
                        i, j = row * size + down, column * size + right
                        if i < x.shape[2] and j < x.shape[3]:
                            token = token + x[:, number, i, j, None] * stem.project.weight[:, down * size + right]
                tokens.append(token.expand(len(x), -1))
    return torch.stack(tokens, 1)


@pytest.mark.parametrize("index", [None, (1,), (2, 0)])
def test_tokens_are_those_of_the_slow_judge(index: tuple[int, ...] | None) -> None:
    stem, x = build(), images()
    given = x if index is None else x[:, list(index)]
    found = stem(given, index=index)
    assert found.present is None
    torch.testing.assert_close(found.values, slow_tokens(stem, given, index or (0, 1, 2), stem.positions))


def test_token_by_hand() -> None:
    stem = ChannelTokens(2, 1, patch_size=2, image_size=4)
    values = {"project.weight": [[1.0, 10, 100, 1000]], "project.bias": [0.5], "channels": [[0.0], [7]]}
    state = {name: torch.tensor(value) for name, value in values.items()}
    state |= {"positions": torch.tensor([[[20.0], [30]], [[40], [50]]]), "class_token": torch.tensor([-1.0])}
    stem.load_state_dict(state)
    x = torch.zeros(1, 2, 4, 4)
    x[0, 1, 2:, :2] = torch.tensor([[1.0, 2], [3, 4]])  # channel 1, lower left patch: token 1 + 4 + 2
    expected = [-1.0, 20.5, 30.5, 40.5, 50.5, 27.5, 37.5, 4321 + 47.5, 57.5]
    torch.testing.assert_close(stem(x).values, torch.tensor(expected).view(1, 9, 1))


@pytest.mark.parametrize(("height", "width"), [(5, 7), (2, 3), (9, 6)])
def test_other_sizes_interpolate_the_positions_and_fill_up_the_last_patches(height: int, width: int) -> None:
    stem, x = build(), images(height, width)
    shape = (-(-height // 2), -(-width // 2))
    maps = functional.interpolate(stem.positions.permute(2, 0, 1)[None], shape, mode="bicubic", align_corners=False)
    found = stem(x).values
    assert found.shape == (2, 1 + 3 * shape[0] * shape[1], 4)
    torch.testing.assert_close(found, slow_tokens(stem, x, (0, 1, 2), maps[0].permute(1, 2, 0)))


def test_mask_names_the_tokens_of_the_channels_present() -> None:
    """Those tokens are the selection's; what absent channels hold is never read."""
    stem, x = build(), images(6, 4)
    for subset in subsets(3):
        present = mask(3, subset, (1,))
        values, found = stem(x.where(present[:, :, None, None], torch.nan), present=present)
        assert values.isfinite().all()
        torch.testing.assert_close(values[0][found[0]], stem(x[:1, list(subset)], index=subset).values[0])
        torch.testing.assert_close(values[1][found[1]], stem(x[1:, [1]], index=(1,)).values[0])


def test_dropout_is_for_training_alone() -> None:
    stem, x = build(dropout=0.5), images()
    torch.testing.assert_close(stem(x).values, build()(x).values, rtol=0, atol=0)
    dropped = stem.train()(x).values == 0
    assert 0.3 < dropped.double().mean() < 0.7


@pytest.mark.parametrize("index", [(1,), (2, 0), (0, 1, 2)])
def test_copy_for_one_subset(index: tuple[int, ...]) -> None:
    stem, x = build(), images()[:, list(index)]
    plain = stem.for_index(index)
    torch.testing.assert_close(plain(x).values, stem(x, index=index).values, rtol=0, atol=0)
    assert len(plain.channels) == len(index)
    assert not set(stem.parameters()) & set(plain.parameters())


@pytest.mark.parametrize(("patch_size", "image_size"), [(3, 8), (8, 4), (0, 8), (8, 0)])
def test_positions_need_whole_patches(patch_size: int, image_size: int) -> None:
    text = f"an image_size that is a multiple of patch_size, not {image_size} and {patch_size}"
    with pytest.raises(ConfigError, match=text):
        ChannelTokens(3, 4, patch_size=patch_size, image_size=image_size)
