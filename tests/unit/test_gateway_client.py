"""What gateways ask with: the client on the account's real routes' answers, and the gate's order of things."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from gratis.intake import litellm
from gratis_client import Answer, Gratis, NoAnswer, new_id
from gratis_client.client import CONNECTIONS
from gratis_client.gate import Attempt, Gate, Refused
from tests.builders.loopback import Loopback, Quiet

ANSWER: dict[str, Any] = {
    "object": "reservation",
    "verdict": "free",
    "reason": "within_quota",
    "explanation": "Free: ...",
    "group": "1m",
    "unit": "tokens",
    "quota": 1000000,
    "used": 0,
    "reserved": 0,
    "remaining": 1000000,
    "resets_at": "2025-03-12T00:00:00Z",
    "id": "req_7",
    "tokens": 12000,
    "expires_at": "2025-03-11T12:10:00Z",
}
BILLED = ANSWER | {"verdict": "billed", "reason": "over_quota", "explanation": "Billed: ...", "expires_at": None}


@dataclass
class Server:
    """Answers as told; `told`: status, headers and content of the next answers, the last one for all that follow."""

    url: str = ""
    told: list[tuple[int, dict[str, str], Any]] = field(default_factory=lambda: [(201, {}, ANSWER)])
    asked: list[tuple[str, str, Any]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(Quiet):
        def do_POST(self) -> None:
            body = self.body()
            state.asked.append((self.command, self.path, json.loads(body) if body else None))
            status, headers, content = state.told.pop(0) if len(state.told) > 1 else state.told[0]
            self.answer(content if isinstance(content, bytes) else json.dumps(content).encode(), status, headers)

        do_DELETE = do_POST

    with Loopback(Handler) as listening:
        state.url = f"{listening.url}/v1"
        yield state


# --- the client ----------------------------------------------------------------------------------------------------


def test_a_reservation_is_asked_for_and_its_answer_is_typed(server: Server) -> None:
    answer = Gratis(server.url, "gk_1").reserve("req_7", "gpt-4o-2024-08-06", 12000, project="proj_web")
    assert server.asked == [
        (
            "POST",
            "/v1/organization/reservations",
            {"id": "req_7", "model": "gpt-4o-2024-08-06", "tokens": 12000, "expires_in": 600, "project": "proj_web"},
        )
    ]
    assert isinstance(answer, Answer)
    assert (answer.is_free, answer.id, answer.remaining) == (True, "req_7", 1000000)


def test_a_check_records_nothing_and_says_what_would_be(server: Server) -> None:
    server.told = [(200, {}, {name: value for name, value in BILLED.items() if name not in ("id", "tokens")})]
    answer = Gratis(server.url, "gk_1").check("gpt-4o-2024-08-06", 12000)
    assert server.asked[0][1] == "/v1/organization/allowance/check"
    assert (answer.is_free, answer.reason, answer.expires_at) == (False, "over_quota", None)


def test_an_id_of_any_letters_is_released(server: Server) -> None:
    server.told = [(204, {}, b"")]
    Gratis(server.url, "gk_1").release("a/b:c")
    assert server.asked == [("DELETE", "/v1/organization/reservations/a%2Fb%3Ac", None)]


def test_an_answer_that_is_lost_is_asked_for_again_under_the_same_id(server: Server) -> None:
    server.told = [(503, {}, b""), (200, {}, ANSWER)]
    assert Gratis(server.url, "gk_1").reserve("req_7", "gpt-4o-2024-08-06", 12000).is_free
    assert len({json.dumps(asked) for asked in server.asked}) == 1
    assert len(server.asked) == 2


def test_too_many_open_reservations_are_no_answer_and_say_when_to_come_again(server: Server) -> None:
    server.told = [(429, {"retry-after": "7"}, {"error": {"message": "200 reservations are open"}})]
    with pytest.raises(NoAnswer, match="200 reservations") as raised:
        Gratis(server.url, "gk_1").reserve("req_7", "gpt-4o-2024-08-06", 12000)
    assert (raised.value.status, raised.value.retry_after) == (429, 7)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"verdict": "free"}'])
def test_what_is_no_answer_of_gratis_is_none(content: bytes, server: Server) -> None:
    server.told = [(200, {}, content)]
    with pytest.raises(NoAnswer, match="no answer of Gratis"):
        Gratis(server.url, "gk_1").check("gpt-4o-2024-08-06", 1)


def test_nobody_there_is_no_answer() -> None:
    with pytest.raises(NoAnswer):
        Gratis("http://127.0.0.1:9/v1", "gk_1").check("gpt-4o-2024-08-06", 1)


# --- its ids in LiteLLM's log --------------------------------------------------------------------------------------


def entry(stamped: dict[str, Any], **more: Any) -> dict[str, Any]:
    used = {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12}
    metadata = {"user_api_key_org_id": "org_demo", "user_api_key_auth_metadata": stamped, "usage_object": used}
    return {"litellm_call_id": "c", "id": "chatcmpl-1", "model": "gpt-4o", "metadata": metadata} | more


def test_a_log_entry_names_the_reservation_that_the_gate_made() -> None:
    name = new_id()
    made = entry({litellm.RESERVATION: name})
    assert litellm.usage_event(made)["data"]["reservation"] == name
    assert litellm.usage_event(litellm.kept(made)) == litellm.usage_event(made)


@pytest.mark.parametrize(
    "name", ["req_7", "gate-", "gate-" + "g" * 32, "gate-" + "0" * 32 + "\n", "xgate-" + "0" * 32, 7, None, {}]
)
def test_a_name_that_is_not_the_gates_is_not_read(name: Any) -> None:
    assert "reservation" not in litellm.usage_event(entry({litellm.RESERVATION: name}))["data"]


def test_what_callers_may_send_names_no_reservation() -> None:
    name = {litellm.RESERVATION: new_id()}
    forged = entry({}, **name)
    forged["metadata"] |= {
        "spend_logs_metadata": name,
        "requester_metadata": name,
        "requester_custom_headers": name,
        **name,
    }
    assert "reservation" not in litellm.usage_event(forged)["data"]


def test_a_poll_of_a_batch_names_no_reservation() -> None:
    polled = entry({litellm.RESERVATION: new_id()}, call_type="aretrieve_batch", response={"object": "batch"})
    assert "reservation" not in litellm.usage_event(polled)["data"]


def test_ids_are_not_guessed() -> None:
    assert re.fullmatch(r"gate-[0-9a-f]{32}", new_id())
    assert new_id() != new_id()


# --- the gate ------------------------------------------------------------------------------------------------------

SMALL = Attempt("org_demo", "gpt-4o-mini", 100, {"endpoint": "chat.completions"})
OTHER = Attempt("org_demo", "gpt-4.1", 100, {"endpoint": "chat.completions"})


def reserved(server: Server) -> list[str]:
    return [body["id"] for method, _, body in server.asked if method == "POST"]


def released(server: Server) -> list[str]:
    return [path.rpartition("/")[2] for method, path, _ in server.asked if method == "DELETE"]


def gate_of(server: Server, **more: Any) -> Gate:
    return Gate({"org_demo": Gratis(server.url, "gk_1")}, **more)


def test_the_first_attempt_has_the_room_of_its_call_and_a_retry_has_its_own(server: Server) -> None:
    async def called() -> list[str]:
        gate = gate_of(server)
        call = await gate.enter(SMALL)
        return [call, await gate.attempt(call, SMALL), await gate.attempt(call, SMALL)]

    call, first, retry = asyncio.run(called())
    assert reserved(server) == [first, retry]
    assert len({call, first, retry}) == 3
    assert released(server) == []


def test_an_attempt_for_another_model_reserves_anew_and_gives_back_what_nobody_took(server: Server) -> None:
    async def called() -> str:
        gate = gate_of(server)
        return await gate.attempt(await gate.enter(SMALL), OTHER)

    taken = asyncio.run(called())
    unused, anew = reserved(server)
    assert (taken, released(server)) == (anew, [unused])


def test_a_refusal_is_final_for_the_call_and_for_no_other(server: Server) -> None:
    server.told = [(201, {}, ANSWER), (201, {}, BILLED), (201, {}, ANSWER)]

    async def called() -> Refused | None:
        gate = gate_of(server)
        call = await gate.enter(SMALL)
        await gate.attempt(call, SMALL)
        for _ in "ab":
            with pytest.raises(Refused, match="Billed"):
                await gate.attempt(call, OTHER)
        with pytest.raises(Refused, match="Billed"):
            gate.may_go_on(call)
        await gate.attempt(await gate.enter(None), OTHER)
        return await gate.leave(call)

    refused = asyncio.run(called())
    assert refused
    assert refused.answer
    assert len(reserved(server)) == 3  # the refused call asked twice, not a third time


def test_room_that_no_attempt_took_goes_back_when_the_call_ends(server: Server) -> None:
    async def called() -> None:
        gate = gate_of(server)
        assert await gate.leave(await gate.enter(SMALL)) is None

    asyncio.run(called())
    assert released(server) == reserved(server)


def test_what_would_be_billed_passes_for_the_reasons_that_are_let_through(server: Server) -> None:
    server.told = [(201, {}, BILLED | {"reason": "model_not_listed"})]
    asyncio.run(gate_of(server, let_through=frozenset({"model_not_listed"})).enter(SMALL))
    with pytest.raises(Refused):
        asyncio.run(gate_of(server).enter(SMALL))


def test_without_an_answer_calls_pass_or_not_as_is_chosen(server: Server) -> None:
    server.told = [(429, {"retry-after": "7"}, b"")]
    assert asyncio.run(gate_of(server).enter(SMALL))
    with pytest.raises(Refused) as refused:
        asyncio.run(gate_of(server, closed=True).enter(SMALL))
    assert (refused.value.answer, refused.value.retry_after) == (None, 7)


def test_what_may_be_reserved_though_no_answer_came_is_named_by_the_attempt(server: Server) -> None:
    server.told = [(500, {}, b"")]

    async def called() -> str:
        gate = gate_of(server)
        return await gate.attempt(await gate.enter(SMALL), SMALL)

    assert {asyncio.run(called())} == set(reserved(server))


def test_a_call_of_an_organization_without_a_key_passes_unasked(server: Server) -> None:
    attempt = Attempt("org_other", "gpt-4.1", 100)
    assert asyncio.run(gate_of(server).enter(attempt))
    assert server.asked == []


def test_a_call_that_names_no_organization_is_asked_for_with_the_key_of_no_name(server: Server) -> None:
    """`""` in GRATIS_KEYS. A call of an organization without a key of its own never takes that key."""
    keys = {"": Gratis(f"{server.url}/nameless", "gk_0"), "org_demo": Gratis(f"{server.url}/demo", "gk_1")}

    async def called() -> None:
        gate = Gate(keys)
        for organization in (None, "org_demo", "org_other"):
            attempt = Attempt(organization, "gpt-4.1", 100)
            await gate.release(organization, await gate.attempt(await gate.enter(attempt), attempt))

    asyncio.run(called())
    asked = [(method, path.split("/")[2]) for method, path, _ in server.asked]
    assert asked == [("POST", "nameless"), ("DELETE", "nameless"), ("POST", "demo"), ("DELETE", "demo")]


class Held(Gratis):
    """A Gratis that is slow: it answers nobody until it is let go."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9/v1", "gk_1")
        self.asked: list[str] = []
        self.go = threading.Event()

    def reserve(self, name: str, model: str, tokens: int, **_: Any) -> Answer:
        self.asked.append(name)
        assert self.go.wait(30)
        told = ANSWER | {"id": name, "tokens": tokens}
        return Answer(**{each.name: told[each.name] for each in fields(Answer)})


def test_at_most_eight_ask_at_a_time_and_the_gateways_other_work_has_threads_meanwhile() -> None:
    slow = Held()

    async def called() -> tuple[int, list[str]]:
        gate = Gate({"org_demo": slow})
        calls = [asyncio.create_task(gate.enter(SMALL)) for _ in range(4 * CONNECTIONS)]
        while len(slow.asked) < CONNECTIONS:
            await asyncio.sleep(0.01)
        for _ in range(100):  # of the gateway's own threads
            await asyncio.to_thread(str)
        asking = len(slow.asked)
        slow.go.set()
        return asking, await asyncio.gather(*calls)

    asking, entered = asyncio.run(asyncio.wait_for(called(), 30))
    assert asking == CONNECTIONS
    assert len(set(entered)) == len(slow.asked) == 4 * CONNECTIONS


def test_calls_whose_end_nobody_reports_are_forgotten(server: Server) -> None:
    async def called() -> int:
        gate = gate_of(server, expires_in=0)
        for _ in range(100):
            await gate.enter(None)
        return len(gate._calls)

    assert asyncio.run(called()) <= 2
