"""The account API for all tests that ask it: loaded once a module, with an empty table for each test."""

from collections.abc import Iterator

import pytest

from tests.builders.account_api import Api, Loaded, deployed, loaded


@pytest.fixture(scope="module")
def shared() -> Iterator[Loaded]:
    with loaded() as shared:
        yield shared


@pytest.fixture
def api(shared: Loaded) -> Iterator[Api]:
    with deployed(shared) as api:
        yield api
