"""Repeats, conflicts and poison: every event ends as one decision or one quarantine entry, and stops nobody else."""

import json
from typing import Any

import pytest

from gratis.intake.events import parse_event
from gratis.table.quarantine import Entry
from tests.builders.ledger import prove
from tests.e2e.system import System, queue_batch


def in_chat_shape(event: dict[str, Any]) -> dict[str, Any]:
    """The same event with its usage as Chat Completions report it."""
    usage = event["data"]["usage"]
    chat = {"prompt_tokens": usage["input_tokens"], "completion_tokens": 0, "total_tokens": usage["total_tokens"]}
    return {**event, "data": {**event["data"], "usage": chat}}


REPEATS = {
    "in another batch": lambda system, event: [event, system.usage(event["subject"], "another")],
    "twice in one batch": lambda _, event: [event, event],
    "from another source": lambda _, event: [{**event, "source": "https://elsewhere.example"}],
    "in the other usage shape": lambda _, event: [in_chat_shape(event)],
    "at the same moment in another offset": lambda system, event: [
        {**event, "time": f"{system.yesterday}T14:00:00.000+02:00"}
    ],
    "with its defaults spelled out": lambda _, event: [
        {**event, "data": {"endpoint": "responses", "batch": False, "tools": [], "project": None, **event["data"]}}
    ],
}


@pytest.mark.parametrize("repeat", REPEATS.values(), ids=REPEATS)
def test_a_request_that_is_sent_again_gets_no_second_decision(system: System, organization: str, repeat: Any) -> None:
    event = system.usage(organization, "again", 400_000)
    system.accepted(event)
    first = system.decisions([event])["again"]
    again = repeat(system, event)
    system.accepted(*again)

    found = system.through(organization)
    assert found.decisions[first.key].record() == first.record()
    assert found.verdicts().keys() == {each["id"] for each in again}
    assert found.used(slot=first.day, organization=organization) == sum(each.input for each in found.decisions.values())
    assert found.quarantine == []
    prove(found)
    system.emitted_once(organization, found.decisions.values())


def test_the_same_id_on_another_day_is_a_request_of_its_own(system: System, organization: str) -> None:
    event = system.usage(organization, "daily", 10)
    the_day_before = {**event, "time": event["time"].replace(f"{system.yesterday}", f"{system.days_ago(2)}")}
    system.accepted(event, the_day_before)
    found = system.through(organization)
    assert sorted(key.day for key in found.decisions) == [system.days_ago(2), system.yesterday]
    system.emitted_once(organization, found.decisions.values())


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "later"])
def test_the_same_id_with_another_payload_is_quarantined_beside_the_decision_that_stands(
    system: System, organization: str, together: bool
) -> None:
    event, other = system.usage(organization, "twice", 700), system.usage(organization, "twice", 800)
    for batch in [[event, other]] if together else [[event], [other]]:
        system.accepted(*batch)

    found = system.through(organization)
    (decision,) = found.decisions.values()
    assert decision.input == 700
    (entry,) = found.quarantine
    assert (entry.code, entry.id, entry.whence) == ("conflict", "twice", "classify_usage")
    assert json.loads(entry.raw) == other
    assert json.loads(entry.decided or "") == decision.record()
    prove(found)
    system.emitted_once(organization, [decision])
    assert system.bus.of("EventQuarantined", organization) == [told(entry)]


def told(entry: Entry) -> dict[str, Any]:
    """What the bus says of an entry: everything but the event itself."""
    return {
        "id": f"{entry.key['pk']['S']}:{entry.key['sk']['S']}",
        "request_id": entry.id,
        "organization": entry.organization,
        "code": entry.code,
        "message": entry.message,
        "received_at": entry.received_at,
        "whence": entry.whence,
    }


# poison: put straight into the queue, past the webhook's validation


def test_a_message_that_is_no_json_is_quarantined_and_holds_up_nobody(system: System, organization: str) -> None:
    good = system.usage(organization, "after", 500)
    poison = '[{"specversion": "1.0", '
    system.queue(organization, poison)
    system.queue(organization, json.dumps([good]))

    found = system.through(organization)
    assert found.verdicts() == {"after": ("free", "within_quota")}
    (entry,) = [each for each in system.quarantined(None) if json.loads(each.raw) == poison]
    assert (entry.code, entry.whence) == ("invalid_event", "classify_usage")
    assert told(entry) in system.bus.of("EventQuarantined", None)
    assert system.waiting_messages() == 0


def test_an_invalid_event_between_two_good_ones_is_quarantined_alone(system: System, organization: str) -> None:
    first, last = system.usage(organization, "first", 300), system.usage(organization, "last", 200)
    invalid = system.usage(organization, "between")
    invalid["data"]["usage"]["input_tokens"] = "1000"
    system.queue(organization, json.dumps([first, invalid, last]))

    found = system.through(organization)
    assert found.verdicts() == dict.fromkeys(("first", "last"), ("free", "within_quota"))
    assert found.decisions[parse_event(last, system.now()).key].used_before == 300
    (entry,) = found.quarantine
    assert (entry.id, entry.code, json.loads(entry.raw)) == ("between", "invalid_event", invalid)
    prove(found)
    system.emitted_once(organization, found.decisions.values())
    assert system.bus.of("EventQuarantined", organization) == [told(entry)]
    assert system.waiting_messages() == 0


def test_the_webhook_quarantines_what_is_invalid_and_decides_what_is_not(system: System, organization: str) -> None:
    good = [system.usage(organization, name) for name in ("good_1", "good_2")]
    too_old = {**system.usage(organization, "old"), "time": "2025-03-11T09:15:00Z"}
    answer = system.send([good[0], 7, too_old, good[1]])
    assert answer["accepted"] == 2
    assert [(each["index"], each["id"], each["error"]["code"]) for each in answer["quarantined"]] == [
        (1, None, "invalid_event"),
        (2, "old", "too_old"),
    ]
    found = system.through(organization)
    assert found.verdicts().keys() == {"good_1", "good_2"}
    assert [entry.id for entry in found.quarantine] == ["old"]
    assert found.quarantine[0].error() == answer["quarantined"][1]["error"]


def test_a_body_that_is_sent_again_after_its_answer_got_lost_leaves_one_entry_in_quarantine(
    system: System, organization: str
) -> None:
    """As far as the clock allows: an entry is kept by the day on which it was received."""
    body = [system.usage(organization, "good"), {**system.usage(organization, "bad"), "type": "usage.unknown"}]
    assert system.send(body)["accepted"] == system.send(body)["accepted"] == 1
    found = system.through(organization)
    assert found.verdicts().keys() == {"good"}
    assert len({entry.key["sk"]["S"] for entry in found.quarantine}) == 1


def test_what_is_not_signed_as_it_should_be_is_refused_and_stored_nowhere(system: System, organization: str) -> None:
    body = json.dumps([system.usage(organization, "unsigned")])
    wrong_secret = system.signed(body, secret="whsec_" + "A" * 44)
    for headers in ({}, wrong_secret, system.signed(body + " ")):
        answer = system.post("usage-events", body, {"content-type": "application/json", **headers})
        assert answer.status == 401
        assert answer.json()["error"]["code"] == "invalid_signature"
    found = system.through(organization)
    assert (found.decisions, found.quarantine) == ({}, [])


def test_a_function_that_is_handed_a_decided_batch_again_answers_that_all_is_done(
    system: System, organization: str
) -> None:
    """As the queue does when the answer of a call got lost."""
    events = [system.usage(organization, f"r{number}", 10) for number in range(120)]
    batch = queue_batch(organization, events[:60], events[60:])
    assert system.invoke("ClassifyUsage", batch) == {"batchItemFailures": []}
    before = system.through(organization)
    assert system.invoke("ClassifyUsage", batch) == {"batchItemFailures": []}
    assert system.through(organization) == before
    assert len(before.decisions) == 120
    system.emitted_once(organization, before.decisions.values())
