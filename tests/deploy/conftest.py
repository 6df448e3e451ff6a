"""What tests of predictions share."""

from collections.abc import Iterator

import pytest

from tests.local_cluster import two_nodes


@pytest.fixture(scope="module")  # no longer: its processes take a part of a core
def ray_address() -> Iterator[str]:
    """Of the head of a cluster of two machines."""
    with two_nodes() as cluster:
        yield cluster.address
