"""What docs/security.md promises and no other test shows: who gets in, what leaves in a log, what a call may cost."""

from collections.abc import Iterator

import pytest

from tests.unit.account_api import ALLOWANCE, REQUESTS, Api, Loaded, deployed, loaded

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
"""Powertools leaves the files of /docs to the garbage collector."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Loaded]:
    with loaded() as shared:
        yield shared


@pytest.fixture
def api(shared: Loaded) -> Iterator[Api]:
    with deployed(shared) as api:
        yield api


# --- who gets in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["a route that answers", "a parameter that is refused"])
def test_a_key_lets_in_its_own_request_and_not_the_next_one(api: Api, before: str) -> None:
    assert api.get(ALLOWANCE, **({} if before == "a route that answers" else {"nothing": 1})).status in (200, 400)
    path = f"/prod{ALLOWANCE}"  # where the stage has a name, a path begins with it
    context = {"http": {"method": "GET", "path": path}, "stage": "prod", "requestId": "a-request"}
    answer = api.call("GET", path, headers={}, requestContext=context)
    assert answer.refused() == (401, "invalid_api_key", None)


def test_a_key_that_is_no_text_is_401(api: Api) -> None:
    assert api.get(ALLOWANCE, key="gk_\ud800").refused() == (401, "invalid_api_key", None)


def test_two_authorization_headers_in_one_let_nobody_in(api: Api) -> None:
    for joined in (f"{api.key()},Bearer gk_nobody", f"gk_nobody,Bearer {api.key()}", f"{api.key()}, {api.key()}"):
        assert api.get(ALLOWANCE, key=joined).refused() == (401, "invalid_api_key", None)


# --- what a name may not do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x" * 5000 + ".js", "\0.js", "..%2fapp.py", "../app.py", "/etc/passwd", ".js", "."])
def test_a_name_that_is_none_of_the_pages_files_is_404(api: Api, name: str) -> None:
    assert api.call("GET", f"/page/{name}", headers={}).refused() == (404, "not_found", None)


@pytest.mark.parametrize("cursor", ["page_" + "9" * 5000, "page_" + "0" * 5000, "page_1_0", "page_\u0661", "page_-1"])
def test_a_forged_cursor_is_400_however_long(api: Api, cursor: str) -> None:
    assert api.usage(page=cursor).refused() == (400, "invalid_value", "page")


@pytest.mark.parametrize("written", ["a#b", "%23", "%00", "r%0d%0aX-Evil:%201", "%ff", "<script>", "{0.__class__}"])
def test_a_request_id_that_is_none_is_404_and_reads_nothing(api: Api, written: str) -> None:
    assert api.call("GET", f"{REQUESTS}/{written}").refused() == (404, "not_found", "id")
    assert api.asked == ["GetItem"]  # the key's own


@pytest.mark.parametrize("path", ["/docs", "/docs?format=json", "/docs?format=oauth2-redirect", "/", "/page/page.js"])
def test_a_page_loads_nothing_from_elsewhere_and_is_framed_by_nobody(api: Api, path: str) -> None:
    path, _, query = path.partition("?")
    answer = api.call("GET", path, query, headers={})
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not {"http:", "https:", "*", "'unsafe-eval'"} & set(policy.replace(";", " ").split())
    assert answer.headers["x-content-type-options"] == "nosniff"
