"""Every key, condition and prefix of the ledger table, built and parsed here and nowhere else.

| item              | pk                      | sk                                                     |
|-------------------|-------------------------|--------------------------------------------------------|
| counter document  | COUNTER#<org>#<group>   | <slot>: <day>, WEEK#<Monday>, ROLLING, ...             |
| ... of a project  | COUNTER#<org>#<group>   | POOL#<slot>#<project>                                  |
| ... page of it    | COUNTER#<org>#<group>   | PAGE#<day>#<number of the page>                        |
| decision          | DAY#<org>#<day>#<shard> | REQ#<request id>; of its void: REQ#<request id>~void   |
| list of a day     | LIST#<org>#<day>        | <moment of decision>#<hash of the rows>                |
| organization      | ORG#<org>               | ACCOUNT                                                |
| older version     | ORG#<org>               | PROFILE#<effective at>#<number>, SETTINGS#...          |
| part of a list    | ORG#<org>               | PROJECTS#<sha256 of the list>#<number>                 |
| day marker        | DAY#<day>#<shard>       | ORG#<org>#<group>                                      |
| statement         | ORG#<org>               | STATEMENT#<day>#<revision>                             |
| ... the newest    | ORG#<org>               | STATEMENTS                                             |
| ... its tree      | ORG#<org>               | TREE#<day>                                             |
| ... public key    | STATEMENT-KEYS          | <fingerprint>                                          |
| unfinished proof  | ORG#<org>               | PROGRESS#<day>                                         |
| webhook           | ORG#<org>               | WEBHOOK#<id>                                           |
| ... attempt       | ORG#<org>               | DELIVERY#<webhook>#<moment>#<event>                    |
| ... due again     | DUE#<shard>             | <moment>#<webhook>#<event>                             |
| late day          | LATE#<org>              | <day>                                                  |
| unlisted model    | UNLISTED#<org>          | <day>#<model>                                          |
| quarantine        | QUARANTINE#<day>        | <org>#<id>#<hash>, and #<number> for each further part |
| key               | KEY#<sha256>            | KEY                                                    |
| its listing       | KEYS                    | <org>#<sha256>                                         |

A counter document holds a counter, or a day's totals, or both: they are one item wherever the window is the UTC day.
A slot is named by its kind of window (`window.py`). Parts of keys hold no `#`: identifiers cannot, projects are
quoted; an unlisted model, which is the last part, may.
"""

import re
import zlib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from gratis.rules.request import VOID, RequestKey
from gratis.rules.window import CounterId, day_of_slot

Item = dict[str, Any]
"""An item, or a part of one, in DynamoDB's JSON."""
NEW = "attribute_not_exists(pk)"
THERE = "attribute_exists(pk)"
UNCHANGED = "version = :version_read"
AS_READ = "contains(receipt, :payload_hash)"
DECISION_SHARDS = 8
"""Partitions that an organization's day of decisions is spread over. Part of the keys: it never changes."""
MARKER_SHARDS = 16
"""Partitions that the markers of a day are spread over: at midnight every organization writes one. It never changes."""

COUNTER, DAY, ORGANIZATION, QUARANTINE, KEY = "COUNTER#", "DAY#", "ORG#", "QUARANTINE#", "KEY#"
REQUEST, POOL, PAGE, STATEMENT, PROGRESS, TREE = "REQ#", "POOL#", "PAGE#", "STATEMENT#", "PROGRESS#", "TREE#"
ACCOUNT, PROFILE, SETTINGS, PROJECTS = "ACCOUNT", "PROFILE#", "SETTINGS#", "PROJECTS#"
STATEMENTS, STATEMENT_KEYS = "STATEMENTS", "STATEMENT-KEYS"
ENDPOINT, DELIVERY, DUE = "WEBHOOK#", "DELIVERY#", "DUE#"
DUE_SHARDS = 4
"""Partitions that deliveries wait in until they are due again."""
LATE, UNLISTED, LIST = "LATE#", "UNLISTED#", "LIST#"
_PAST_GROUPS = "$"
"""Comes after the `#` that ends a name and before all that names are made of, whose last is before `~`."""
_KEYABLE = re.compile(r"[A-Za-z0-9._:/-]{1,256}")
_NAMELESS = "-"
"""In an entry's key for what cannot be in it. No name comes before it."""


def unchanged(version_read: int) -> dict[str, Any]:
    """The condition that an item is still of the version that was read; version 0: it was not there."""
    if not version_read:
        return {"ConditionExpression": NEW}
    values = {":version_read": {"N": str(version_read)}}
    return {"ConditionExpression": UNCHANGED, "ExpressionAttributeValues": values}


def as_read(payload_hash: str) -> dict[str, Any]:
    """The condition that a decision is there, and on the payload that was read."""
    return {"ConditionExpression": AS_READ, "ExpressionAttributeValues": {":payload_hash": {"S": payload_hash}}}


# Counter documents --------------------------------------------------------------------------------------------------


def document_key(counter: CounterId) -> Item:
    """Where a counter document is."""
    slot = counter.slot if counter.pool is None else f"{pools_of(counter.slot)}{quote(counter.pool, safe='')}"
    return _item(documents_of(counter.organization, counter.group), slot)


def documents_of(organization: str, group: str) -> str:
    """The partition with a group's documents."""
    return f"{COUNTER}{organization}#{group}"


def pools_of(slot: str) -> str:
    """How the sort keys of the projects' own counters begin, for the windows of a slot."""
    return f"{POOL}{slot}#"


def counter_of_key(item: Item) -> CounterId:
    """What `document_key` named."""
    _, organization, group = _pk(item).split("#")
    slot = _sk(item)
    if not slot.startswith(POOL):
        return CounterId(organization, group, slot)
    slot, _, project = slot.removeprefix(POOL).rpartition("#")
    return CounterId(organization, group, slot, unquote(project))


def is_document(item: Item) -> bool:
    """Whether this is a counter document."""
    return _pk(item).startswith(COUNTER) and not _sk(item).startswith(PAGE)


def page_key(document: CounterId, number: str) -> Item:
    """Where a further page of a day's totals is."""
    return _item(documents_of(document.organization, document.group), f"{PAGE}{document.slot}#{number}")


def pages_between(first: str, last: str) -> tuple[str, str]:
    """Between which sort keys the pages of these days lie."""
    return f"{PAGE}{first}#", f"{PAGE}{last}$"  # in the order of keys $ follows #


def day_of_page(item: Item) -> str:
    """The day that `page_key` named."""
    return _sk(item).split("#")[1]


# Decisions and their days -------------------------------------------------------------------------------------------


def decision_key(key: RequestKey) -> Item:
    """Where the decision on a request is."""
    shard = zlib.crc32(key.request_id.encode()) % DECISION_SHARDS
    return _item(f"{DAY}{key.organization}#{key.day.isoformat()}#{shard}", f"{REQUEST}{key.request_id}")


def decisions_of(organization: str, day: date) -> list[str]:
    """The partitions with a day's decisions."""
    return [f"{DAY}{organization}#{day.isoformat()}#{shard}" for shard in range(DECISION_SHARDS)]


def after_request(request_id: str) -> str:
    """The sort key after which the decisions on later request ids stand."""
    return f"{REQUEST}{request_id}"


class DecisionName(NamedTuple):
    """What a decision's key says. `request_id`: also of a void that of the request."""

    organization: str
    day: str
    request_id: str


def name_of_decision(item: Item) -> DecisionName:
    """What `decision_key` named."""
    _, organization, day, _ = _pk(item).split("#")
    return DecisionName(organization, day, _sk(item).removeprefix(REQUEST).removesuffix(VOID))


def is_decision(item: Item) -> bool:
    """Whether this is a decision."""
    return _sk(item).startswith(REQUEST)


def list_key(organization: str, day: str, decided_at: str, digest: str) -> Item:
    """Where the list of a day has rows that were decided at a moment."""
    return _item(list_of(organization, day), f"{_sortable(decided_at)}#{digest}")


def list_of(organization: str, day: str) -> str:
    """The partition with the list of a day."""
    return f"{LIST}{organization}#{day}"


def listed_until(decided_at: str, *, included: bool) -> str:
    """The sort key before which all rows are that were decided by a moment, or before it."""
    return f"{decided_at}#{'~' * included}"


def listed_at(item: Item) -> str:
    """When the rows of an item of a list were decided, written so that it sorts."""
    return _sk(item).partition("#")[0]


def _sortable(moment: str) -> str:
    """Without the Z a moment without decimals sorts before those with some."""
    return moment.removesuffix("Z")


def marker_key(counter: CounterId) -> Item:
    """Where it is marked that a day's document of a group was begun."""
    day = day_of_slot(counter.slot)
    if day is None:
        raise ValueError(f"{counter} is not the document of a UTC day")
    shard = _marker_shard(counter.organization)
    return _item(f"{DAY}{day.isoformat()}#{shard}", f"{ORGANIZATION}{counter.organization}#{counter.group}")


def markers_of(day: date, organization: str = "") -> list[tuple[str, str]]:
    """Partition, and how the sort keys begin, of a day's markers: of one organization or of all."""
    shards = [_marker_shard(organization)] if organization else range(MARKER_SHARDS)
    beginning = f"{ORGANIZATION}{organization}{'#' * bool(organization)}"
    return [(f"{DAY}{day.isoformat()}#{shard}", beginning) for shard in shards]


def markers_between(day: date, prefix: str, after: str) -> list[tuple[str, str, str]]:
    """Partition, first and last sort key of a day's markers of the organizations that begin so, past one of them."""
    first = f"{ORGANIZATION}{after}{_PAST_GROUPS}" if after else f"{ORGANIZATION}{prefix}"
    return [(pk, first, f"{ORGANIZATION}{prefix}~") for pk, _ in markers_of(day)]


def marked_by(item: Item) -> tuple[str, str]:
    """Organization and group that `marker_key` named."""
    _, organization, group = _sk(item).split("#")
    return organization, group


def _marker_shard(organization: str) -> int:
    return zlib.crc32(organization.encode()) % MARKER_SHARDS


# Organizations ------------------------------------------------------------------------------------------------------


def account_key(organization: str) -> Item:
    """Where an organization's account is."""
    return _item(f"{ORGANIZATION}{organization}", ACCOUNT)


def is_account(item: Item) -> bool:
    """Whether this is an organization's account."""
    return _sk(item) == ACCOUNT


def organization_of_account(item: Item) -> str:
    """Whose account `account_key` named."""
    return _pk(item).removeprefix(ORGANIZATION)


def version_key(organization: str, kind: str, effective_at: datetime, number: int) -> Item:
    """Where an older version of the profile or of the settings (`kind`) is. In the order in which they took effect."""
    return _item(f"{ORGANIZATION}{organization}", f"{kind}{_when(effective_at)}#{number:012}")


def versions_until(kind: str, when: datetime, number: int = 10**12 - 1) -> tuple[str, str]:
    """First and last sort key of the versions that took effect by a moment; of that very moment, up to a number."""
    return kind, f"{kind}{_when(when)}#{number:012}"


def _when(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def projects_key(organization: str, digest: str, part: int) -> Item:
    """Where a part of a list of projects is."""
    return _item(f"{ORGANIZATION}{organization}", f"{projects_of(digest)}{part:06}")


def projects_of(digest: str) -> str:
    """How the sort keys of a list's parts begin."""
    return f"{PROJECTS}{digest}#"


def statement_key(organization: str, day: str, revision: int) -> Item:
    """Where a revision of a day's statement is."""
    return _item(f"{ORGANIZATION}{organization}", f"{statements_of(day)}{revision:06}")


def statements_of(day: str) -> str:
    """How the sort keys of a day's statements begin."""
    return f"{STATEMENT}{day}#"


def head_key(organization: str) -> Item:
    """Where number and hash of an organization's newest statement are."""
    return _item(f"{ORGANIZATION}{organization}", STATEMENTS)


def tree_key(organization: str, day: str) -> Item:
    """Where the Merkle tree of a day's newest statement is."""
    return _item(f"{ORGANIZATION}{organization}", f"{TREE}{day}")


def statement_public_key(fingerprint: str) -> Item:
    """Where the public half of a key that signs statements is."""
    return _item(STATEMENT_KEYS, fingerprint)


def progress_key(organization: str, day: date) -> Item:
    """Where it is kept what an unfinished proof has read."""
    return _item(f"{ORGANIZATION}{organization}", f"{PROGRESS}{day.isoformat()}")


def late_key(organization: str, day: str) -> Item:
    """Where it is marked that a day is queued to be closed again."""
    return _item(f"{LATE}{organization}", day)


def unlisted_key(organization: str, day: str, model: str) -> Item:
    """Where it is marked that a day's first request for a model that no group lists was announced.

    The model stands there as it is: quoted, its 128 characters could be more than the 1,024 bytes that a sort key has.
    """
    return _item(f"{UNLISTED}{organization}", f"{day}#{model}")


def unlisted_of_key(item: Item) -> tuple[str, str, str]:
    """Organization, day and model that `unlisted_key` named."""
    day, _, model = _sk(item).partition("#")
    return _pk(item).removeprefix(UNLISTED), day, model


def late_of_key(item: Item) -> tuple[str, str]:
    """Organization and day that `late_key` named."""
    return _pk(item).removeprefix(LATE), _sk(item)


# Outgoing webhooks --------------------------------------------------------------------------------------------------


def endpoint_key(organization: str, name: str) -> Item:
    """Where an endpoint is."""
    return _item(f"{ORGANIZATION}{organization}", f"{ENDPOINT}{name}")


def endpoint_of_key(item: Item) -> str:
    """The endpoint that `endpoint_key` named."""
    return _sk(item).removeprefix(ENDPOINT)


def delivery_key(organization: str, endpoint: str, when: str, event: str) -> Item:
    """Where an attempt is."""
    return _item(f"{ORGANIZATION}{organization}", f"{deliveries_of(endpoint)}{when}#{event}")


def deliveries_of(endpoint: str) -> str:
    """How the sort keys of an endpoint's attempts begin."""
    return f"{DELIVERY}{endpoint}#"


def due_key(when: str, endpoint: str, event: str) -> Item:
    """Where a delivery waits until it is due again."""
    return _item(f"{DUE}{zlib.crc32(endpoint.encode()) % DUE_SHARDS}", f"{when}#{endpoint}#{event}")


def due_partitions() -> list[str]:
    """The partitions in which deliveries wait."""
    return [f"{DUE}{shard}" for shard in range(DUE_SHARDS)]


# Quarantine and API keys --------------------------------------------------------------------------------------------


def quarantine_of(day: str) -> str:
    """The partition with the entries of events that were received on a UTC day."""
    return f"{QUARANTINE}{day}"


def quarantine_key(day: str, organization: str | None, request_id: str | None, digest: str) -> Item:
    """Where an entry is. What an event calls itself is in it only where that cannot be taken for another part."""
    return _item(quarantine_of(day), "#".join((_keyable(organization), _keyable(request_id), digest)))


def refusals_of(organization: str, request_id: str = "") -> str:
    """How the sort keys of an organization's entries begin: of all, or of those of one id."""
    return f"{_keyable(organization)}#" + (f"{_keyable(request_id)}#" if request_id else "")


def refusals_between(prefix: str, after: str, last: str) -> tuple[str, str]:
    """First and last sort key of the entries of the organizations that begin so, past one of them, up to another.

    Empty: of all; from the first one; up to the last one.
    """
    return f"{after}{_PAST_GROUPS}" if after else prefix or _NAMELESS, f"{refusals_of(last) if last else prefix}~"


def refused_name(item: Item) -> str:
    """The name in the order of which `quarantine_key` put the entry; of one that could not be taken over, `-`."""
    return _sk(item).partition("#")[0]


def refusal_key(day: date, organization: str | None, place: str) -> Item:
    """The key of an entry, by its place among those of an organization, or of all."""
    beginning = "" if organization is None else refusals_of(organization)
    return _item(quarantine_of(day.isoformat()), f"{beginning}{place}")


def refusal_of_key(item: Item, organization: str | None) -> str:
    """The place that `refusal_key` named."""
    return _sk(item) if organization is None else _sk(item).partition("#")[2]


def part_key(sk: str, number: int) -> str:
    """The sort key of an entry's further part, from 2 on; the first part is the entry itself."""
    return sk if number == 1 else f"{sk}#{number}"


def is_quarantined(item: Item) -> bool:
    """Whether this is an entry, not a further part of one."""
    return _pk(item).startswith(QUARANTINE) and "code" in item


def api_key_key(digest: str) -> Item:
    """Where an API key is, by the hash of it."""
    return _item(f"{KEY}{digest}", "KEY")


def _keyable(part: str | None) -> str:
    return part if part is not None and _KEYABLE.fullmatch(part) else _NAMELESS


def _item(pk: str, sk: str) -> Item:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _pk(item: Mapping[str, Any]) -> str:
    pk: str = item["pk"]["S"]
    return pk


def _sk(item: Mapping[str, Any]) -> str:
    sk: str = item["sk"]["S"]
    return sk
