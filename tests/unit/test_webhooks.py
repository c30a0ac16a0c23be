"""Outgoing webhooks: what an endpoint gets, when it gets it again, where nothing is sent, and what its owner sees."""

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from gratis import moment
from gratis.errors import Rejected
from gratis.outgoing import sending, targets
from gratis.outgoing.deliveries import Deliveries, Delivery
from gratis.outgoing.endpoints import GIVE_UP, MANY_FAILURES, MAX_ENDPOINTS, Endpoint, Endpoints
from gratis.outgoing.sending import DELAYS, Sender, Sent
from gratis.outgoing.targets import Answer
from tests.builders.aws import TABLE, moto_table

START = datetime(2025, 3, 11, 9, tzinfo=UTC)
OK, BROKEN = Answer(204), Answer(500)


class Waiting:
    """The queue of deliveries, with the five minutes in which it drops what has the same id."""

    def __init__(self, now: Any) -> None:
        self.messages: list[Delivery] = []
        self._seen: dict[tuple[str, str], datetime] = {}
        self._now = now

    def put(self, delivery: Delivery, due: str = "") -> None:
        key = delivery.text(), due
        if self._now() - self._seen.get(key, datetime.min.replace(tzinfo=UTC)) >= timedelta(minutes=5):
            self._seen[key] = self._now()
            self.messages.append(delivery)


class Post:
    """An owner's endpoint, the sender before it, and a clock. `answers`: by URL; OK where none is said."""

    def __init__(self, client: Any) -> None:
        self.now = START
        self.answers: dict[str, Answer] = {}
        self.got: list[tuple[datetime, str, dict[str, str], bytes]] = []
        self.endpoints = Endpoints(client, TABLE, pause=lambda _: None)
        self.deliveries = Deliveries(client, TABLE)
        self.queue = Waiting(lambda: self.now)
        queue: Any = self.queue
        self.sender = Sender(self.endpoints, self.deliveries, queue, self._send, lambda: self.now)
        self.sent = Sent()

    def _send(self, url: str, headers: Any, body: bytes) -> Answer:
        self.got.append((self.now, url, dict(headers), body))
        return self.answers.get(url, OK)

    def register(self, url: str = "https://one.example/", *types: str, organization: str = "org_a") -> Endpoint:
        return self.endpoints.create(organization, url, types or ("DayClosed", "BillingRecords"), "owner", self.now)

    def happens(self, kind: str = "DayClosed", organization: str = "org_a", **detail: Any) -> None:
        content = {"organization": organization} | (detail or {"id": "org_a:2025-03-10:1"})
        self.sender.spread({"detail-type": kind, "detail": content, "time": "2025-03-11T09:00:00Z"})

    def work(self) -> None:
        while self.queue.messages:
            self.sender.deliver(self.queue.messages.pop(0), self.sent)

    def wait(self, span: timedelta, step: timedelta = timedelta(minutes=1)) -> None:
        """The clock goes on; every minute what is due is queued again."""
        until = self.now + span
        while self.now < until:
            self.now = min(until, self.now + step)
            self.sender.queue_due()
            self.work()

    def log(self, endpoint: Endpoint) -> list[Any]:
        return self.deliveries.logged(endpoint.organization, endpoint.id, 100, None)[0]


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    with moto_table() as client:
        yield Post(client)


# What is sent ---------------------------------------------------------------------------------------------------------


def test_an_event_goes_to_each_endpoint_that_wants_it_and_to_no_other(post: Post) -> None:
    post.register("https://one.example/")
    post.register("https://two.example/", "SharingChanged")
    post.register("https://three.example/", "DayClosed", "SharingChanged")
    post.register("https://strange.example/", organization="org_b")
    post.happens()
    post.work()
    assert sorted(url for _, url, _, _ in post.got) == ["https://one.example/", "https://three.example/"]


def test_the_signature_is_one_that_standardwebhooks_verifies(post: Post) -> None:
    endpoint = post.register()
    post.now = datetime.now(UTC)
    post.happens(id="org_a:2025-03-10:1", free=3)
    post.work()
    ((_, _, headers, body),) = post.got
    verified = Webhook(endpoint.secret).verify(body, headers)
    data = {"organization": "org_a", "id": "org_a:2025-03-10:1", "free": 3}
    assert verified == {"type": "DayClosed", "timestamp": "2025-03-11T09:00:00Z", "data": data}
    assert headers["content-type"] == "application/json"


def test_an_event_that_comes_again_has_the_same_id_and_another_event_has_not(post: Post) -> None:
    post.register()
    post.happens("BillingRecords", records=[{"id": "a"}, {"id": "b"}])
    post.work()
    post.now += timedelta(minutes=6)
    post.happens("BillingRecords", records=[{"id": "a"}, {"id": "b"}])
    post.happens("BillingRecords", records=[{"id": "a"}])
    post.work()
    ids = [headers["webhook-id"] for _, _, headers, _ in post.got]
    assert ids[0] == ids[1] != ids[2]


# When it is sent again ------------------------------------------------------------------------------------------------


def test_what_is_not_taken_comes_again_as_standard_webhooks_says_with_a_new_time_and_signature(post: Post) -> None:
    endpoint = post.register()
    post.answers[endpoint.url] = BROKEN
    post.happens()
    post.work()
    post.wait(timedelta(hours=3))
    after = [when - START for when, _, _, _ in post.got]
    # 5 s, 5 min, 30 min and 2 h after the one before, at the minute's look at what is due
    assert [each // timedelta(minutes=1) for each in after] == [0, 1, 6, 36, 156]
    assert len({headers["webhook-timestamp"] for _, _, headers, _ in post.got}) == 5
    assert len({headers["webhook-id"] for _, _, headers, _ in post.got}) == 1
    post.answers.clear()
    post.wait(timedelta(hours=6))
    assert [each.outcome for each in reversed(post.log(endpoint))] == ["retry"] * 5 + ["delivered"]
    assert (post.endpoints.get("org_a", endpoint.id) or endpoint).failing_since is None


def test_after_three_days_without_a_success_it_is_disabled_with_a_notice(post: Post) -> None:
    endpoint = post.register()
    post.answers[endpoint.url] = Answer(None, "no answer within 10 s")
    post.happens()
    post.work()
    post.wait(GIVE_UP + timedelta(hours=30), timedelta(minutes=10))
    stored = post.endpoints.get("org_a", endpoint.id)
    assert stored is not None
    assert stored.notice == "nothing was taken for 3 days; enable it again when it is mended"
    assert (len(post.got), post.sent.disabled) == (len(DELAYS) + 1, [f"org_a/{endpoint.id}"])
    assert post.log(endpoint)[0].outcome == "given_up"


def test_what_falls_due_while_it_is_disabled_is_not_sent_and_it_can_be_enabled_again(post: Post) -> None:
    endpoint = post.register()
    post.answers[endpoint.url] = BROKEN
    post.happens()
    post.work()
    post.endpoints.change("org_a", endpoint.id, lambda each: each.disabled("for a test"))
    post.wait(timedelta(hours=1))
    post.happens(id="another")
    post.work()
    assert len(post.got) == 1
    post.endpoints.change("org_a", endpoint.id, Endpoint.enabled)
    post.answers.clear()
    post.wait(timedelta(days=4), timedelta(hours=1))
    assert len(post.got) == 1
    post.happens(id="a third")
    post.work()
    assert len(post.got) == 2


def test_an_event_that_is_never_taken_does_not_disable_who_takes_others(post: Post) -> None:
    endpoint = post.register()
    post.happens(id="poison")
    poison = post.queue.messages[0].event_id
    post.sender.send = lambda _, headers, __: BROKEN if headers["webhook-id"] == poison else OK
    post.work()
    for day in range(5):
        post.happens(id=f"good {day}")
        post.work()
        post.wait(timedelta(days=1), timedelta(minutes=30))
    stored = post.endpoints.get("org_a", endpoint.id)
    assert stored is not None
    assert stored.is_enabled
    assert (post.sent.given_up, post.sent.delivered) == (1, 5)


def test_410_switches_it_off_at_once(post: Post) -> None:
    endpoint = post.register()
    post.answers[endpoint.url] = Answer(410)
    post.happens()
    post.work()
    stored = post.endpoints.get("org_a", endpoint.id)
    assert stored is not None
    assert stored.notice == "it answered 410: nothing more is wanted"


@pytest.mark.parametrize("status", [199, 300, 301, 302, 307, 400, 429, 500])
def test_only_2xx_is_a_success(post: Post, status: int) -> None:
    endpoint = post.register()
    post.answers[endpoint.url] = Answer(status)
    post.happens()
    post.work()
    assert [(each.outcome, each.status) for each in post.log(endpoint)] == [("retry", status)]


def test_a_dead_endpoint_is_left_alone_and_nothing_is_lost(post: Post) -> None:
    endpoint = post.register()
    post.answers[endpoint.url] = BROKEN
    for number in range(40):
        post.happens(id=f"event {number}")
    post.work()
    assert (len(post.got), post.sent.put_off) == (MANY_FAILURES, 40 - MANY_FAILURES)
    post.wait(timedelta(hours=1))
    assert len(post.got) < 12
    post.answers.clear()
    post.wait(timedelta(hours=12))
    delivered = {each.event_id for each in post.log(endpoint) if each.outcome == "delivered"}
    assert len(delivered) == 40


def test_a_delivery_that_is_queued_again_and_then_dies_comes_once_more_and_is_not_lost(post: Post) -> None:
    endpoint = post.register()
    post.answers[endpoint.url] = BROKEN
    post.happens()
    post.work()
    post.now += timedelta(minutes=1)
    forget = post.deliveries.forget
    post.deliveries.forget = lambda _: (_ for _ in ()).throw(RuntimeError("died"))  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="died"):
        post.sender.queue_due()
    post.deliveries.forget = forget  # type: ignore[method-assign]
    assert post.sender.queue_due() == 1
    assert len(post.queue.messages) == 1  # the queue knows it by its id


def test_a_deleted_endpoint_gets_nothing_more(post: Post) -> None:
    endpoint = post.register()
    post.happens()
    post.endpoints.delete("org_a", endpoint.id)
    post.work()
    assert not post.got


def test_two_changes_at_once_are_both_kept(post: Post) -> None:
    endpoint = post.register()
    meddled: list[int] = []

    def change(each: Endpoint) -> Endpoint:
        if not meddled:
            meddled.append(1)
            post.endpoints.change("org_a", endpoint.id, lambda other: other.failed(START))
        return each.disabled("by its owner")

    post.endpoints.change("org_a", endpoint.id, change)
    stored = post.endpoints.get("org_a", endpoint.id)
    assert stored is not None
    assert (stored.failures, stored.notice) == (1, "by its owner")


def test_an_organization_has_a_bounded_number_of_endpoints(post: Post) -> None:
    for number in range(MAX_ENDPOINTS):
        post.register(f"https://{number}.example/")
    with pytest.raises(Rejected, match="10 webhooks at most"):
        post.register()


def test_the_log_is_paged_newest_first(post: Post) -> None:
    endpoint = post.register()
    for number in range(5):
        post.now += timedelta(seconds=1)
        post.happens(id=f"event {number}")
        post.work()
    first, more = post.deliveries.logged("org_a", endpoint.id, 2, None)
    second, _ = post.deliveries.logged("org_a", endpoint.id, 10, more)
    times = [each.at for each in (*first, *second)]
    assert (len(times), times) == (5, sorted(set(times), reverse=True))


# Where nothing is sent ------------------------------------------------------------------------------------------------

FORBIDDEN = [
    *("http://example.com/", "ftp://example.com/", "https:///", "https://user:word@example.com/"),
    *("https://example.com/#part", "https://ex ample.com/", "https://ex\u00e4mple.com/", f"https://{'x' * 3000}.com/"),
    *("https://127.0.0.1/", "https://[::1]/", "https://0.0.0.0/", "https://10.1.2.3/", "https://172.16.0.1/"),
    *("https://192.168.1.1/", "https://169.254.169.254/", "https://100.64.0.1/", "https://100.100.100.200/"),
    *("https://224.0.0.1/", "https://255.255.255.255/", "https://192.0.2.1/", "https://198.18.0.1/"),
    *("https://[fe80::1]/", "https://[fc00::1]/", "https://[fec0::1]/", "https://[ff02::1]/", "https://[::]/"),
    *("https://[::ffff:10.0.0.1]/", "https://[::127.0.0.1]/", "https://[64:ff9b::a9fe:a9fe]/"),
    *("https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/", "https://[2002:a9fe:a9fe::1]/"),
    "https://[2001:0:7f00:1::1]/",
]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_a_url_that_does_not_lead_to_the_public_internet_is_refused(url: str) -> None:
    with pytest.raises(Rejected, match=r"^url: "):
        targets.require_url(url, loopback=False)


@pytest.mark.parametrize("url", ["https://example.com/hook?x=1", "https://8.8.8.8:8443/", "https://[2606:4700::1111]/"])
def test_a_public_url_is_taken(url: str) -> None:
    targets.require_url(url, loopback=False)


@pytest.mark.parametrize("address", ["10.0.0.7", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe"])
@pytest.mark.parametrize("public_first", [True, False])
def test_a_name_of_which_one_address_is_private_is_not_called(
    monkeypatch: pytest.MonkeyPatch, address: str, public_first: bool
) -> None:
    found = ["8.8.8.8", address] if public_first else [address, "8.8.8.8"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (each, 443)) for each in found])
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("it was called"))
    answer = targets.send("https://rebound.example/", {}, b"", loopback=False)
    assert answer == Answer(
        None, f"leads to {targets.ipaddress.ip_address(address)}, which is not on the public internet"
    )


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers by its path."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        if self.path == "/slow":
            time.sleep(2)
        if self.path == "/drip":
            for _ in range(40):
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.05)
        self.send_response(302 if self.path == "/redirect" else 200)
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as serving:
        serving.got = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def url_of(server: Any, path: str) -> str:
    return f"http://localhost:{server.server_port}{path}"


def test_it_is_posted_to_the_checked_address_under_the_urls_own_name(server: Any) -> None:
    answer = targets.send(url_of(server, "/hook?x=1"), {"webhook-id": "evt_1"}, b"{}", loopback=True)
    ((path, headers, body),) = server.got
    assert (answer, path, body) == (Answer(200), "/hook?x=1", b"{}")
    assert (headers["Host"], headers["webhook-id"]) == (f"localhost:{server.server_port}", "evt_1")


def test_a_redirect_is_not_followed(server: Any) -> None:
    assert targets.send(url_of(server, "/redirect"), {}, b"{}", loopback=True) == Answer(302)
    assert len(server.got) == 1


@pytest.mark.parametrize("path", ["/slow", "/drip"])
def test_an_attempt_has_an_end_however_slowly_the_answer_comes(server: Any, path: str) -> None:
    answer = targets.send(url_of(server, path), {}, b"{}", loopback=True, seconds=0.3)
    assert answer.status is None
    assert answer.error in ("no answer within 0.3 s", "no answer in time")


def test_who_speaks_no_tls_has_a_failure_that_says_so(server: Any) -> None:
    answer = targets.send(f"https://localhost:{server.server_port}/", {}, b"{}", loopback=True)
    assert answer == Answer(None, "no connection: SSLError")


def test_nobody_there_is_a_failure() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert targets.send(f"http://127.0.0.1:{port}/", {}, b"", loopback=True).status is None


# What the log says ----------------------------------------------------------------------------------------------------


def test_the_log_holds_nothing_of_the_answers_body(post: Post) -> None:
    endpoint = post.register()
    post.happens()
    post.work()
    (line,) = post.log(endpoint)
    shown = line.shown()
    assert shown.keys() == {
        *("object", "at", "event_id", "type", "attempt", "outcome", "status", "error", "milliseconds", "next_at")
    }
    assert (shown["status"], shown["error"], shown["attempt"]) == (204, None, 1)


def test_an_event_without_an_id_and_records_has_one_by_its_kind() -> None:
    assert sending.event_id("SharingChanged", {"id": "a"}) != sending.event_id("DayClosed", {"id": "a"})
    assert moment.text(START) == "2025-03-11T09:00:00Z"
    assert json.loads(Delivery("o", "w", "e", "t", "now", {"x": 1}).body()) == {
        "type": "t",
        "timestamp": "now",
        "data": {"x": 1},
    }
