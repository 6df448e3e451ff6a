from pathlib import Path

import numpy as np
import pytest
import torch

from anychan.contract import ResizeRule
from anychan.data.batches import Augment, EvalBatches, TrainBatches
from anychan.data.dataset import Split, load_data
from anychan.data.on_demand import ImagesOnDemand
from anychan.data.opening import open_collection
from anychan.data.pieces import pieces
from anychan.errors import DataError
from anychan.recipe import DataConfig
from tests.runs import RGB_SPLIT, S2_TILES, constant_channels, copy_of, png, write_tree


def tiles(*, cache: bool) -> Split:
    return load_data(DataConfig(path=str(S2_TILES), size=8, cache=cache), seed=0).splits["train"]


def test_looks_like_the_cached_array() -> None:
    cached, made = (tiles(cache=cache) for cache in (True, False))
    images = made.images
    assert isinstance(images, ImagesOnDemand)
    assert (len(images), images.shape, images.dtype) == (len(cached), cached.images.shape, cached.images.dtype)
    rows = torch.tensor([5, 0, 0, 3])
    assert made.take(rows).equal(cached.take(rows))
    assert made.take(slice(1, 4)).equal(cached.take(slice(1, 4)))
    assert made.tensor.equal(cached.tensor)
    np.testing.assert_array_equal(images[2], cached.images[2])
    assert images[0:0].shape == (0, 8, 8, 4)


@pytest.mark.parametrize("values", [1, 500, 10**6])
def test_pieces_are_all_its_pixels(values: int) -> None:
    cached, made = (tiles(cache=cache) for cache in (True, False))
    found = list(pieces(made.images, values))
    np.testing.assert_array_equal(np.concatenate(found), cached.images.reshape(-1, 4))
    assert all(piece.size <= max(values, 8 * 8 * 4) for piece in found)


def test_statistics_and_batches_are_the_same() -> None:
    cached, made = (load_data(DataConfig(path=str(RGB_SPLIT), size=8, cache=cache), seed=0) for cache in (True, False))
    np.testing.assert_allclose(made.statistics.covariance, cached.statistics.covariance, rtol=1e-12)
    np.testing.assert_array_equal(made.percentiles([1, 99]), cached.percentiles([1, 99]))
    augment = Augment(crop_padding=1, flip=True)
    for data in zip(
        TrainBatches(cached.parts("train"), batch_size=5, augment=augment, seed=0, epoch=1),
        TrainBatches(made.parts("train"), batch_size=5, augment=augment, seed=0, epoch=1),
        strict=True,
    ):
        assert data[0].images.equal(data[1].images)
    for one, other in zip(EvalBatches(cached.parts("val")), EvalBatches(made.parts("val")), strict=True):
        assert one.images.equal(other.images)


def test_damage_is_told_when_it_is_met(tmp_path: Path) -> None:
    data = copy_of(RGB_SPLIT, tmp_path)
    config = DataConfig(path=str(data), size=8, cache=False)
    split = load_data(config, seed=0).splits["train"]
    (data / split.names[3]).write_bytes(b"no image")
    assert split.take(slice(0, 3)).shape == (3, 8, 8, 3)
    with pytest.raises(DataError, match=f"{split.names[3]}"):
        split.take(slice(0, 5))


def test_two_number_types_are_refused(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"k/{n}.png": png(constant_channels(n, n, n)) for n in range(3)}
    write_tree(tmp_path, files)
    collection = open_collection(str(S2_TILES), DataConfig(path=str(S2_TILES)), seed=0)
    names = [sample.name for sample in collection.index.splits["train"]]
    images = ImagesOnDemand(collection, names, ResizeRule(8))
    images.dtype = np.dtype(np.uint8)
    with pytest.raises(DataError, match=f"images of two number types, uint8 in {names[0]} and uint16 in {names[1]}"):
        images[1]
