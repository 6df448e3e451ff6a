"""A browser that the tests of one file share."""

from collections.abc import Iterator

import pytest

from tests.browser import Browser, open_browser, require_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require_browser()
    with open_browser() as found:
        yield found
