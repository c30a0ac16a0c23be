"""A reservation that was answered free is kept, as its client was told; what was given back is there no more."""

from gratis import moment
from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.checks.told import Held, Taken
from gratis_simulation.machines.seen import Asking
from gratis_simulation.worlds.payload import Payload
from gratis_simulation.worlds.world import GiveBack


def check(ended: Ended) -> None:
    """What clients were answered, and what then became of their requests."""
    for asking in ended.run.seen.asking:
        if isinstance(asking.step, GiveBack):
            _is_gone(ended, asking, asking.step)
        elif asking.answer and asking.answer["expires_at"]:
            _is_kept(ended, _of(ended, asking), asking)


def _of(ended: Ended, asking: Asking) -> Held:
    """What stood in the table while the client was answered. Raises Broken if nothing did."""
    answer = asking.answer or {}
    for each in ended.told.held:
        said = each.room.name, moment.text(each.room.expires_at)
        stood = each.since < (asking.log_end or 0) and (each.until is None or each.until >= asking.work.log_start)
        if stood and said == (answer["id"], answer["expires_at"]):
            return each
    raise Broken(PROMISE, f"{asking.work.name} was answered {answer}, and nothing was set aside")


PROMISE = "a reservation is kept"


def _is_kept(ended: Ended, held: Held, asking: Asking) -> None:
    """The first request that settles it is free, whatever came between, if it takes no more."""
    for taken in ended.told.taken.values():
        if taken.number > held.since and _settles(taken, held):
            decision = taken.decision
            in_time = held.until is None or held.until >= taken.number
            if in_time and decision.verdict != "free" and not _quotas_differ(ended, taken):
                said = f"{taken.name} is billed beside {decision.reserved_before}, used are {decision.used_before}"
                raise Broken(PROMISE, f"{asking.work.name} was answered {asking.answer}; {said}")
            return


def _settles(taken: Taken, held: Held) -> bool:
    """Whether a decision settles the room: on its request, in time, within its units, judged by the same versions."""
    payload, room, place = taken.payload, held.room, taken.expected.place if taken.expected else None
    if not isinstance(payload, Payload) or place is None or moment.parse(taken.decision.decided_at) >= room.expires_at:
        return False
    decision = taken.decision
    terms = decision.offer, decision.profile_version, decision.settings_version
    counter = decision.organization, decision.group, decision.pool
    return (
        (payload.reservation or payload.id, payload.project) == (room.name, room.project)
        and counter == (held.identity.organization, held.identity.group, held.identity.pool)
        and (terms, place.units <= room.units) == (room.terms, True)
        and (room.window is None or place.start in {None, room.window})
        and not _is_of_another_window(taken, held)
    )


def _is_of_another_window(taken: Taken, held: Held) -> bool:
    """Whether the request fell in another rolling window than the room's; if that has none, in one already over."""
    window, place = taken.decision.window, taken.expected.place if taken.expected else None
    if place is None or window is None or "T" not in window:
        return False
    start = moment.parse(window)
    return place.end(start) <= held.room.made_at if held.room.window is None else start != held.room.window


def _quotas_differ(ended: Ended, taken: Taken) -> bool:
    """Whether others in the window had another quota: more may be used than this one allows; promise 1 goes first."""
    decision = taken.decision
    window = decision.organization, decision.group, decision.pool, decision.window
    alike = [each for each in ended.decisions if (each.organization, each.group, each.pool, each.window) == window]
    return any(each.quota != decision.quota for each in alike if each.quota is not None)


def _is_gone(ended: Ended, asking: Asking, step: GiveBack) -> None:
    """What was there when the client asked is not there any more when it is answered."""
    for each in ended.told.held:
        is_meant = (each.identity.organization, each.room.name) == (step.organization, step.name)
        was_there = is_meant and each.since < asking.work.log_start and asking.now < each.room.expires_at
        if was_there and asking.log_end is not None and (each.until is None or each.until >= asking.log_end):
            raise Broken("reservations right", f"{asking.work.name} gave {step.name} back, and it is still there")
