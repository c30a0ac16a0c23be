"""Changes of organizations' accounts in the ledger table: append-only versions of profile and settings. SPEC section 4.

What if this dies on any line, runs twice, or two of it run at once? What lies beside an account's item is put there
first, and never changes: a copy that nobody speaks of harms nobody. Then a version is appended by one transaction, on
the condition that the account still has the version that was read. Of two writers one is refused, reads again, and
appends after the other. The transaction also notes the account's new version on the documents that a decision could be
committed to which was taken before: so no such commit holds any more. decisions/017 tells why.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gratis.errors import Busy, Rejected
from gratis.rules.account import Account, Profile, Settings
from gratis.rules.window import UTC_DAY, CounterId
from gratis.table import keys
from gratis.table.account_items import MAX_ITEM_BYTES, Beside, StoredAccount, stored_account, with_versions
from gratis.table.dynamo import MAX_ATTEMPTS, Pause, pause, translated
from gratis.table.keys import Item, account_key, unchanged

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_ITEMS = 100
"""Items in one transaction, and in one batch read. An offer of 50 groups needs more only around midnight."""
MAX_WRITES = 25
"""Items in one batch write."""
AHEAD = timedelta(hours=1)
"""How far beyond a change events can lie that were read before it: five minutes, and whatever the clocks are off."""

Change = Callable[[Account], Account]


class Accounts:
    """Reads and appends to accounts. `max_bytes`: of the versions that stay in an account's item."""

    def __init__(
        self, client: "DynamoDBClient", table: str, *, pause: Pause = pause, max_bytes: int = MAX_ITEM_BYTES
    ) -> None:
        self.client = client
        self.table = table
        self.pause = pause
        self.max_bytes = max_bytes
        self.beside = Beside(client, table)

    def put(self, account: Account) -> None:
        """Store a history as it is, in place of what is there; meant for before there is traffic. Raises Busy."""
        before = self.read(account.id)
        empty = stored_account(account.id, {"version": {"N": str(before.version)}}, self.beside)
        written = with_versions(empty, account.profile, account.sharing, self.max_bytes)
        self._put_beside(written.beside)
        try:
            self.client.put_item(TableName=self.table, Item=written.item)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def get(self, organization: str) -> StoredAccount | None:
        """The account as it is now; None for an organization that nobody has told us of. Raises Busy."""
        stored = self.read(organization)
        return stored if stored.version else None

    def read(self, organization: str) -> StoredAccount:
        """The account as it is now; an empty one if there is none. Raises Busy."""
        try:
            answer = self.client.get_item(TableName=self.table, Key=account_key(organization), ConsistentRead=True)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return stored_account(organization, answer.get("Item"), self.beside)

    def append(self, organization: str, change: Change, groups: Sequence[str]) -> StoredAccount:
        """Apply `change` to the account as it is, again if somebody else was faster. Raises Busy, Rejected.

        `change` gets as much of the history as it goes by (`StoredAccount.to_change`) and adds to it. `groups`: in
        whose documents decisions may just now be committed.
        """
        for attempt in range(1, MAX_ATTEMPTS + 1):
            stored = self.read(organization)
            known = stored.to_change()
            changed = change(known)
            profile, sharing = changed.profile[len(known.profile) :], changed.sharing[len(known.sharing) :]
            if not profile and not sharing:
                return stored
            written = with_versions(stored, profile, sharing, self.max_bytes)
            self._put_beside(written.beside)
            since = min([each.effective_at for each in profile] + [each.effective_at for each in sharing])
            if self._replace(stored, written.item, self._noted_on(organization, groups, since)):
                return stored_account(organization, written.item, self.beside)
            self.pause(attempt)
        raise Busy(f"the account of {organization} is being changed by others")

    def _noted_on(self, organization: str, groups: Sequence[str], since: datetime) -> Sequence[CounterId]:
        """The documents of the days on which an event can lie that the change matters to and that was read before it.

        A first profile can take effect long ago. Who is judged without one has the account in the commit's condition.
        """
        days = sorted({UTC_DAY.slot(since), UTC_DAY.slot(since + AHEAD)})
        return [CounterId(organization, group, day) for day in days for group in groups]

    def _replace(self, stored: StoredAccount, item: Item, documents: Sequence[CounterId]) -> bool:
        """Write if the stored account is still as it was read; says whether it was."""
        put: Any = {"Put": {"TableName": self.table, "Item": item, **unchanged(stored.version)}}
        there = self._there(documents)
        first = sorted(documents, key=lambda document: document not in there)[: MAX_ITEMS - 1]
        notes = [self._note(document, item["version"], there=document in there) for document in first]
        try:
            self.client.transact_write_items(TransactItems=[put, *notes])
        except self.client.exceptions.TransactionCanceledException as cancelled:
            codes = {reason.get("Code") for reason in cancelled.response.get("CancellationReasons", [])}
            if "ValidationError" in codes:
                raise Rejected("internal_error", f"DynamoDB does not take it: {cancelled}") from cancelled
            return False
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return True

    def _note(self, document: CounterId, version: Item, *, there: bool) -> Any:
        """On a document that is there the account's new version; of one that is not, that it still is not."""
        named = {"TableName": self.table, "Key": keys.document_key(document)}
        if not there:
            return {"ConditionCheck": named | {"ConditionExpression": keys.NEW}}
        note = {
            "UpdateExpression": "SET account_version = :account ADD version :one",
            "ConditionExpression": keys.THERE,
            "ExpressionAttributeValues": {":account": version, ":one": {"N": "1"}},
        }
        return {"Update": named | note}

    def _there(self, documents: Iterable[CounterId]) -> set[CounterId]:
        """Those of the documents that exist."""
        wanted = [keys.document_key(document) for document in islice(documents, MAX_ITEMS)]
        if not wanted:
            return set()
        request: Any = {self.table: {"Keys": wanted, "ConsistentRead": True}}
        try:
            answer = self.client.batch_get_item(RequestItems=request)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        if answer.get("UnprocessedKeys"):
            raise Busy("DynamoDB left documents unread")
        return {keys.counter_of_key(item) for item in answer["Responses"].get(self.table, [])}

    def _put_beside(self, items: Sequence[Item]) -> None:
        waiting: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
        attempts = 0
        while waiting:
            page, waiting = waiting[:MAX_WRITES], waiting[MAX_WRITES:]
            try:
                answer = self.client.batch_write_item(RequestItems={self.table: page})
            except (ClientError, BotoCoreError) as error:
                raise translated(error) from error
            unprocessed = answer.get("UnprocessedItems", {}).get(self.table, [])
            waiting += unprocessed
            if unprocessed:
                attempts += 1
                if attempts > MAX_ATTEMPTS:
                    raise Busy(f"DynamoDB left {len(waiting)} items unwritten")
                self.pause(attempts)


def with_profile(account: Account, profile: Profile, now: datetime) -> Account:
    """The account with one more version of its profile, in force now. Only the first one may be back-dated."""
    if account.profile:
        last = account.profile[-1]
        if profile.effective_at == account.profile[0].effective_at and _same(profile, account.profile[0]):
            return account  # the first one, put again
        if profile.effective_at != now:
            raise Rejected("invalid_value", "effective_at: only an organization's first profile may be back-dated")
        if _same(last, profile):
            return account
        profile = profile.model_copy(update={"effective_at": max(now, last.effective_at)})
    elif profile.effective_at > now:
        raise Rejected("invalid_value", "effective_at: lies in the future; a profile takes effect now")
    return account.model_copy(update={"profile": (*account.profile, profile)})


def with_settings(account: Account, settings: Settings, now: datetime) -> Account:
    """The account with one more version of its sharing settings, in force now; the same settings add none."""
    last = account.sharing[-1] if account.sharing else Settings(effective_at=settings.effective_at)
    if _same(last, settings):
        return account
    settings = settings.model_copy(update={"effective_at": max(now, last.effective_at)})
    return account.model_copy(update={"sharing": (*account.sharing, settings)})


_WHEN_AND_WHO = {"effective_at", "actor", "confirmed"}


def _same(one: Profile | Settings, other: Profile | Settings) -> bool:
    return one.model_dump(exclude=_WHEN_AND_WHO) == other.model_dump(exclude=_WHEN_AND_WHO)
