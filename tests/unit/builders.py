"""Builders for the tests: whatever a test does not name is ordinary, and free under an ordinary offer."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import count
from typing import Any

from gratis.rules.account import Account
from gratis.rules.decision import Books, case_of, settle
from gratis.rules.offer import Offer
from gratis.rules.offer_file import read_offer, shipped
from gratis.rules.receipt import Decision
from gratis.rules.request import Kind, Request, Tokens
from gratis.rules.window import Counter, CounterId

NOW = datetime(2025, 3, 12, tzinfo=UTC)
LARGE = "gpt-4o-2024-08-06"
"""A model of group `1m`."""
SMALL = "gpt-4o-mini-2024-07-18"
"""A model of group `10m`."""
_IDS = count(1)


def at(written: str) -> datetime:
    """A moment in UTC: `2025-03-11T09:15`."""
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


def usage_event(**fields: Any) -> dict[str, Any]:
    """A CloudEvent as senders post it. `fields` replace those of the envelope."""
    return {
        "specversion": "1.0",
        "type": "usage.request",
        "source": "https://gateway.example",
        "id": "req_001",
        "time": "2025-03-11T09:15:00Z",
        "subject": "org_demo",
        "data": usage_data(),
    } | fields


def usage_data(**fields: Any) -> dict[str, Any]:
    """The `data` of an event. `fields` replace its own."""
    return {"project": "proj_web", "model": LARGE, "usage": responses_usage(90_000, 30_000)} | fields


def responses_usage(input_tokens: int, output: int, *, cached: int = 0) -> dict[str, Any]:
    """Usage in the shape of the Responses API."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output,
    }


def chat_usage(input_tokens: int, output: int, *, cached: int = 0) -> dict[str, Any]:
    """Usage in the shape of Chat Completions."""
    return {
        "prompt_tokens": input_tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens": output,
        "completion_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input_tokens + output,
    }


def request(
    tokens: int | Tokens = 1000,
    when: str | datetime = "2025-03-11T09:15",
    *,
    kind: Kind = "usage.request",
    id: str | None = None,  # noqa: A002 - as in Request
    project: str | None = "proj_web",
    model: str = LARGE,
    endpoint: str = "responses",
    service_tier: str = "default",
    batch: bool = False,
    tools: Sequence[str] = (),
    shared: bool = True,
) -> Request:
    """A validated request, received as it occurred; its id is new. A plain number of tokens is all input."""
    occurred_at = at(when) if isinstance(when, str) else when
    return Request(
        kind=kind,
        organization="org_demo",
        id=id or f"req_{next(_IDS)}",
        project=project,
        model=model,
        endpoint=endpoint,
        service_tier=service_tier,
        batch=batch,
        tools=tuple(tools),
        shared=shared,
        tokens=tokens if isinstance(tokens, Tokens) else Tokens(tokens, 0, 0),
        occurred_at=occurred_at,
        received_at=occurred_at,
        payload_hash="0" * 64,
    )


def eval_run(when: str | datetime = "2025-03-11T09:15", tokens: int | Tokens = 1000, **fields: Any) -> Request:
    """An evaluation run."""
    return request(tokens, when, kind="usage.eval_run", **fields)


def profile(effective_at: str = "2024-01-01T00:00:00Z", **fields: Any) -> dict[str, Any]:
    """One version of a profile: tier 4."""
    return {"effective_at": effective_at, "tier": 4} | fields


def settings(effective_at: str = "2024-01-01T00:00:00Z", **fields: Any) -> dict[str, Any]:
    """One version of the sharing settings: traffic and evaluations are shared."""
    return {"effective_at": effective_at, "traffic": {"mode": "enabled"}, "evals": {"mode": "enabled"}} | fields


def account(
    *, profiles: Iterable[Mapping[str, Any]] | None = None, sharing: Iterable[Mapping[str, Any]] | None = None
) -> Account:
    """An organization of tier 4 that shares everything, or one with the given histories."""
    history = {
        "id": "org_demo",
        "profile": [profile()] if profiles is None else list(profiles),
        "sharing": [settings()] if sharing is None else list(sharing),
    }
    return Account.model_validate(history)


def tiers(*changes: tuple[str, int]) -> Account:
    """An organization whose usage tier changed: (from when, tier)."""
    return account(profiles=[profile(f"{when}:00Z", tier=tier) for when, tier in changes])


def small_offer(**fields: Any) -> Offer:
    """The offer that `small_offer_stated` states."""
    return read_offer(small_offer_stated(**fields))


def small_offer_stated(
    *,
    quota: int = 1000,
    window: Any = "utc_day",
    overflow: str = "skip",
    offer: Mapping[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """The file of an offer without an end and with one version: `quota` tokens for tier 4 and half as many for tier 1.

    `offer` replaces fields of the offer, `fields` those of its version.
    """
    version = {
        "effective_at": "2025-01-01",
        "window": window,
        "overflow": overflow,
        "groups": [
            {"name": "1m", "models": [LARGE], "quotas": {"1": quota // 2, "4": quota}},
            {"name": "10m", "models": [SMALL], "quotas": {"1": quota * 5, "4": quota * 10}},
        ],
    }
    evals = {"quotas": {"*": 7}}
    stated = {"id": "small", "starts": "2025-01-01", "evals": evals, "versions": [version | fields]}
    return stated | dict(offer or {})


class Desk:
    """Decides requests one by one, each against the books of its own counter: the ledger without the database."""

    def __init__(self, offer: Offer | None = None, organization: Account | None = None) -> None:
        self.offer = offer or shipped("data-sharing-2025")
        self.organization = organization or account()
        self.books: dict[CounterId, Books] = {}

    def decide(self, *requests: Request) -> list[Decision]:
        """One decision for each request, in arrival order."""
        decisions = []
        for each in requests:
            case = case_of(each, self.offer, self.organization)
            books = self.books.get(case.counter, Books(Counter(), {}))
            self.books[case.counter], decided = settle(books, [case], NOW)
            decisions += decided
        return decisions

    def day(self, group: str, day: date) -> Books:
        """The books of a group's calendar day."""
        return self.books[CounterId("org_demo", group, day.isoformat())]


def verdicts(decisions: Iterable[Decision]) -> list[str]:
    """The verdicts, for tests that look at nothing else."""
    return [decision.verdict for decision in decisions]
