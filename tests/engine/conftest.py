"""One embedded engine for all engine tests of a worker."""

from collections.abc import Iterator

import pytest

from local.engine import engine


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """Where the engine answers."""
    with engine() as url:
        yield url
