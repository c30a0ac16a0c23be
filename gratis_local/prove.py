"""Proves days again: from a ledger table, or from emitted billing records alone, without AWS."""

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gratis.closing.chain import Head
from gratis.closing.proof import Differences, Proof
from gratis.closing.proving import NoLongerKept, prove
from gratis.closing.sums import Record, records_of, statement_of
from gratis.closing.tiling import add_tears
from gratis.closing.windows import Counters, CounterWindow, OfferOf, utc_days
from gratis.rules.figures import Figure, parsed, written
from gratis.rules.offer import UNITS, Offer
from gratis.rules.offer_file import shipped
from gratis.rules.receipt import usual_unit
from gratis.rules.request import VOID
from gratis.rules.request import Tokens as Counts
from gratis.rules.tiling import Step, over_granted, step_of, tiling
from gratis.strict_json import parse_json
from gratis.table.decision_items import KEEP_DECISIONS
from gratis.table.ledger import Ledger
from gratis_local.chain import ChainProof, prove_chains
from gratis_local.recovery import if_unknown
from gratis_local.replay import TABLE
from gratis_local.sources import Unusable, problems
from gratis_local.stack import NoStack, client_for, stack_of

if TYPE_CHECKING:
    from gratis_local.chain import Keys

PROVED = ("BillingRecords", "DayClosed")
"""Events of the bus that a proof is made of."""
LATER = frozenset({"root"})
"""What statements of the first release do not say."""
MAX_INFLATED_BYTES = 1_000_000_000
"""Of one file: those of our delivery stream are cut at 64 MB."""


VOIDS_OWN = (
    *("format", "received_at", "decided_at", "payload_hash"),
    *("used_before", "reserved_before", "used_after", "running_total"),
)
"""What a void's record does not have from the record that it takes back."""


def _with_day(written: str) -> str:
    """A moment or a day. Raises ValueError unless it begins with a day, YYYY-MM-DD."""
    if date.fromisoformat(written[:10]).isoformat() != written[:10]:
        raise ValueError("must begin with a day, YYYY-MM-DD")
    return written


Count = Annotated[int, Field(ge=0, le=10**15)]
Tokens = Annotated[int, Field(ge=-(10**15), le=10**15)]
"""Negative in a void."""
Name = Annotated[str, Field(min_length=1)]
Amount = Annotated[str, Field(pattern=r"^[0-9]{1,20}(\.[0-9]{1,20})?$")]
Turnable = Annotated[str, Field(pattern=r"^-?[0-9]{1,20}(\.[0-9]{1,20})?$")]
"""An amount, which is negative in a void."""
Dated = Annotated[str, AfterValidator(_with_day)]


class _Emitted(BaseModel):
    """The fields of a record that a proof reads; all others are only hashed, as they are."""

    model_config = ConfigDict(strict=True)

    organization: str


class _Tokens(BaseModel):
    model_config = ConfigDict(strict=True)

    input: Tokens
    output: Tokens
    total: Tokens


class _BillingRecord(_Emitted):
    id: str
    request_id: str
    occurred_at: Dated
    verdict: Literal["free", "billed"]
    reason: str
    tokens: _Tokens
    list_amount_usd: Turnable | None
    amount_usd: Turnable | None
    offer: str
    group: Name | None
    window: Name | None
    quota: Count | Amount | None
    used_before: Count | Amount | None
    used_after: Count | Amount | None
    running_total: Count | Amount | None

    @model_validator(mode="after")
    def _has_a_place_in_its_counter(self) -> Self:
        place = (self.group, self.quota, self.used_before, self.used_after)
        is_nowhere = None in place or (self.used_before != self.used_after and self.window is None)
        if self.verdict == "free" and is_nowhere:
            raise ValueError("is free, but does not say where it lies in which counter")
        return self


class _Statement(_Emitted):
    id: str = ""
    day: Dated
    hash: str
    revision: Count = 0
    number: Count | None = None
    previous: str | None = None


def ledger_at(endpoint_url: str | None, stack: str, table: str | None) -> Ledger:
    """A deployed stack's ledger; on a local engine without the stack, replay's, in which nothing expires."""
    name = table or _table(endpoint_url, stack)
    return Ledger(client_for(endpoint_url, "dynamodb"), name, expire=name != TABLE)


def prove_from_ledger(ledger: Ledger, organization: str, day: date, offer: Offer | None) -> Proof:
    """Prove a day. `offer`: one that does not ship. Raises Unusable for a day of which the table holds nothing."""
    proof = prove(ledger, organization, day, _offers(offer), datetime.now(UTC))
    if isinstance(proof, NoLongerKept):
        kept = f"decisions are kept for {KEEP_DECISIONS.days} days"
        raise Unusable(f"{kept}: those of {organization} on {day}, if there were any, are no longer all there")
    if proof.holds and not records_of(proof.statement):
        asked = f"there is not one decision of {organization} on {day}: is it the right organization and day?"
        raise Unusable(asked + if_unknown(ledger, organization))
    return proof


@dataclass(frozen=True)
class RecordsProof(Proof):
    """What emitted records alone prove. `revision`: of the statement they were held against; None without one."""

    revision: int | None = None


def prove_from_records(files: Sequence[str]) -> list[RecordsProof]:
    """Prove every organization's day that the files hold records or statements of."""
    return _proofs(_Held.of(files))


def read_records(files: Sequence[str]) -> Iterator[Record]:
    """The billing records in these files, as often as they are there. Raises Unusable."""
    return (found for file in files for found in _found_in(file, strict=False) if "hash" not in found)


def prove_span(files: Sequence[str], keys: "Keys | None", heads: Mapping[str, Head]) -> list[RecordsProof | ChainProof]:
    """Prove all days in these files, and the chains of the statements: every record has to be in one of them.

    `keys`: those that may have signed the statements; None: signatures are not checked. `heads`: as in `prove_chains`.
    """
    held = _Held.of(files, strict=True)
    every = [statement for statements in held.statements.values() for statement in statements]
    unknown = sorted(heads.keys() - {statement["organization"] for statement in every})
    if unknown or not every:
        raise Unusable(f"there is no statement of {unknown[0]}" if unknown else "there is no statement in these files")
    return [*_proofs(held, must_be_stated=True), *prove_chains(every, keys, heads)]


@dataclass(frozen=True)
class _Held:
    """What files hold of each organization's day."""

    records: Mapping[tuple[str, str], list[Record]]
    statements: Mapping[tuple[str, str], list[Record]]

    @classmethod
    def of(cls, files: Sequence[str], *, strict: bool = False) -> Self:
        """`strict`: what is neither a record, a statement nor another event of the bus makes a file unusable."""
        records, statements = defaultdict(list), defaultdict(list)
        for found in (found for file in files for found in _found_in(file, strict=strict)):
            if "hash" in found:
                statements[found["organization"], found["day"]].append(found)
            else:
                records[found["organization"], found["occurred_at"][:10]].append(found)
        if not records and not statements:
            said = "no billing records and no statements, so there is nothing to prove"
            raise Unusable(f"{', '.join(files)}: {said}")
        return cls(records, statements)

    def days(self) -> list[tuple[str, str]]:
        """Organization and day of each record and statement in the files."""
        return sorted(self.records.keys() | self.statements.keys())

    def newest(self, day: tuple[str, str]) -> Record | None:
        """The newest statement of a day."""
        return max(self.statements.get(day, ()), key=lambda each: each.get("revision", 0), default=None)


def _proofs(held: _Held, *, must_be_stated: bool = False) -> list[RecordsProof]:
    """The proof of each day. `must_be_stated`: a day that no statement is about does not hold."""
    found = {day: Differences() for day in held.days()}
    kept = {day: _by_id(held.records.get(day, []), found[day]) for day in found}
    steps = _steps_in([record for each in kept.values() for record in each])
    for day, differences in found.items():
        if must_be_stated and held.newest(day) is None:
            said = f"none is about this day ({len(kept[day])} records); it may still be open"
            differences.add("statement", said)
    return [_proof(day, kept, held.newest(day), steps, found[day]) for day in found]


def _proof(
    of_day: tuple[str, str],
    of_days: Mapping[tuple[str, str], Sequence[Record]],
    stated: Record | None,
    steps: Mapping[CounterWindow, list[Step]],
    found: Differences,
) -> RecordsProof:
    organization, day = of_day
    kept = of_days[of_day]
    statement = statement_of(organization, date.fromisoformat(day), kept)
    by_id = {record["id"]: record for record in kept}
    for record in kept:
        is_void = record.get("kind") == "usage.void"
        for message in _void_contradictions(record, by_id) if is_void else _contradictions(record, day):
            found.add("contradiction", message, record["id"])
    _tile({day for whose, day in of_days if whose == organization}, kept, steps, found)
    if stated is not None:
        for name, value in statement.items():
            if value != stated.get(name) and (name in stated or name not in LATER):
                message = f"{name} is {value}, revision {stated.get('revision')} says {stated.get(name)}"
                found.add("statement", message)
    revision = stated.get("revision") if stated else None
    return RecordsProof(statement, found.listed(), found.count, revision)


def _by_id(records: Sequence[Record], found: Differences) -> list[Record]:
    """Records sorted by id, repeats dropped; the same id with another content is a difference."""
    kept: dict[str, Record] = {}
    for record in records:
        if kept.setdefault(record["id"], record) != record:
            found.add("repeat", "emitted twice with another content", record["id"])
    return sorted(kept.values(), key=lambda record: str(record["id"]))


def _contradictions(record: Record, day: str) -> Iterator[str]:
    """Each contradiction within a record. Rules: SPEC sections 2 (rule 7) and 5."""
    tokens, is_free = record["tokens"], record["verdict"] == "free"
    if min(tokens["input"], tokens["output"]) < 0 or str(record["list_amount_usd"]).startswith("-"):
        yield "tokens or amounts are negative, and it is no void"
    if is_free != (record["reason"] == "within_quota"):
        yield "the verdict does not have this reason"
    if record["amount_usd"] != ("0" if is_free else record["list_amount_usd"]):
        yield "the verdict does not have this amount"
    if tokens["input"] + tokens["output"] != tokens["total"]:
        yield "input and output do not make the total"
    if record["id"] != f"{record['organization']}:{day}:{record['request_id']}":
        yield "the id is not that of this request and day"
    before, after, running_total = (_figure(record[name]) for name in ("used_before", "used_after", "running_total"))
    if before is not None:
        asked = before + _units(record)
        if (running_total, after) != (asked, asked if is_free else before):
            yield "the counter's figures do not follow from what the request takes of the quota"


def _void_contradictions(void: Record, by_id: Mapping[str, Record]) -> Iterator[str]:
    """Each contradiction between a void and the record that it takes back. Rules: SPEC section 2, "Voids"."""
    voided = by_id.get(str(void.get("voids")))
    if voided is None or void["id"] != f"{voided['id']}{VOID}":
        yield f"takes back {void.get('voids')}, which is not among the records"
        return
    meant = {name: value for name, value in voided.items() if name not in VOIDS_OWN}
    meant |= {"kind": "usage.void", "reason": "void", "voids": voided["id"], "id": void["id"]}
    meant["tokens"] = {name: -count for name, count in voided["tokens"].items()}
    meant |= {name: _turned(voided[name]) for name in ("list_amount_usd", "amount_usd")}
    if different := sorted(name for name, value in meant.items() if _known(void, name, value) != value):
        yield f"{', '.join(different)}: not as the void of {voided['id']} has it"
    before, after, running_total = (_figure(void[name]) for name in ("used_before", "used_after", "running_total"))
    taken_from, taken_to = _figure(voided["used_before"]), _figure(voided["used_after"])
    taken = None if taken_from is None or taken_to is None else taken_to - taken_from
    if (None if before is None or taken is None else before - taken, after) != (after, running_total):
        yield "the counter's figures do not follow from what it gives back"


def _known(void: Record, name: str, value: Any) -> Any:
    """A field of a void; of `tokens` only the kinds that the voided record states (an earlier format has fewer)."""
    return {each: void[name].get(each) for each in value} if name == "tokens" else void.get(name)


def _turned(amount: str | None) -> str | None:
    return None if amount is None else str(written(-Decimal(amount)))


def _units(record: Record) -> Figure:
    """What a request takes of a quota. The first format counted runs and tokens, and did not state the unit.

    An unknown unit counts as requests: whoever forged such a record forged more than its unit.
    """
    unit, tokens = record.get("unit", usual_unit(record["group"])), record["tokens"]
    counts = Counts(tokens["total"], tokens["cached_input"], 0)
    return UNITS.get(unit, UNITS["requests"])(counts, Decimal(record["list_amount_usd"] or 0)) or 0


def _figure(stated: Any) -> Figure | None:
    return None if stated is None else parsed(stated)


def _steps_in(records: Sequence[Record]) -> dict[CounterWindow, list[Step]]:
    """The steps in each counter. Decisions under an offer that does not ship are left out: its counters are unknown."""
    counters = Counters(shipped)
    steps: dict[CounterWindow, list[Step]] = defaultdict(list)
    for record in records:
        step, offer, group = step_of(record), record["offer"], record["group"]
        known = counters.group(offer, group) if group else None
        pool = known.pool(record["project"]) if known else None
        counter = counters.of(record["organization"], offer, group, record["window"], pool) if known else None
        if step and counter:
            steps[counter].append(step)
    return steps


def _tile(
    given: Set[str], records: Sequence[Record], steps: Mapping[CounterWindow, list[Step]], found: Differences
) -> None:
    """No free decision exceeds its quota, and they tile their counters. `steps`, `given`: steps and days of all files.

    Tiling is checked only where the files hold every day of a window: a void of another day may have given units back.
    """
    for counter, taken in sorted(_steps_in(records).items(), key=str):
        add_tears(counter, over_granted(taken), found)
        days = {day.isoformat() for day in utc_days(counter)}
        if days and days <= given:
            add_tears(counter, tiling(steps[counter]), found)


def _offers(offer: Offer | None) -> OfferOf:
    def offer_of(offer_id: str) -> Offer:
        if offer is not None and offer_id in offer.ids:
            return offer
        try:
            return shipped(offer_id)
        except KeyError:
            raise Unusable(f"the receipts name the offer {offer_id!r}: name its file with --offer") from None

    return offer_of


def _table(endpoint_url: str | None, stack: str) -> str:
    try:
        return stack_of(endpoint_url, stack).outputs["LedgerTableName"]
    except NoStack:
        if endpoint_url is None:
            raise
        return TABLE


def _found_in(file: str, *, strict: bool) -> Iterator[Record]:
    """The records and statements of a file: replay's output, bus events, what Firehose delivers, or bare ones."""
    try:
        text = _inflated(file) if file.endswith(".gz") else Path(file).read_bytes()
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror or error}") from None
    try:
        yield from _unwrapped(_decoded(file, text), strict=strict)
    except (TypeError, ValidationError) as error:
        why = problems(error) if isinstance(error, ValidationError) else error
        raise Unusable(f"{file}: holds no billing records: {why}") from None


def _inflated(file: str) -> bytes:
    try:
        with gzip.open(file) as packed:
            text = packed.read(MAX_INFLATED_BYTES + 1)
    except (EOFError, zlib.error) as error:
        raise Unusable(f"{file}: is not whole: {error}") from None
    if len(text) > MAX_INFLATED_BYTES:
        raise Unusable(f"{file}: inflates to more than {MAX_INFLATED_BYTES:,} bytes; cut it into parts")
    return text


def _decoded(file: str, text: bytes) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        pass
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    decoded = []
    for number, line in lines:
        try:
            decoded.append(parse_json(line))
        except ValueError as error:
            raise Unusable(f"{file}:{number}: is no JSON: {error}") from None
    return decoded


def _unwrapped(content: Any, *, strict: bool) -> Iterator[Record]:
    if isinstance(content, list):
        for each in content:
            yield from _unwrapped(each, strict=strict)
    elif not isinstance(content, dict):
        raise TypeError(f"found {content!r:.80}")
    elif "detail" in content:
        yield from _unwrapped(content["detail"], strict=strict and content.get("detail-type") in PROVED)
    elif "records" in content or ("decisions" in content and "totals" in content):
        yield from _unwrapped(content.get("records", content.get("decisions")), strict=strict)
    elif "verdict" in content or "hash" in content:
        (_Statement if "hash" in content else _BillingRecord).model_validate(content)
        yield content
    elif strict:
        raise TypeError(f"neither a record nor a statement: {content!r:.80}")
    # other events of the bus say nothing about a day's records
