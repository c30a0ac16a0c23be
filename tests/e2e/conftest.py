"""One deployed system for all tests that need one."""

from collections.abc import Iterator

import pytest
import urllib3

from local.up import running
from tests.e2e.system import System, subscribed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start a system of their own come first: never do two engines run at once."""
    items.sort(key=lambda item: "system" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The template, deployed by `gratis up` with another place for up.json, and a queue that hears the bus."""
    state = tmp_path_factory.mktemp("gratis") / "up.json"
    with running(state=state) as (stack, up), urllib3.PoolManager(maxsize=8) as http:
        yield System(stack, up, http, subscribed(stack))


@pytest.fixture
def organization(system: System) -> str:
    """An organization of the test's own at tier 4, which shares everything."""
    return system.new_organization()
