"""One embedded engine for all tests of a worker that want a real table beside the simulated one."""

from collections.abc import Iterator

import pytest

from gratis_local.engine import engine


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """Where the engine answers."""
    with engine() as url:
        yield url
