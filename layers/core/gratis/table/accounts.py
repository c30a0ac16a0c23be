"""Organizations in the ledger table: append-only versions of profile and sharing settings. SPEC section 4.

What if this dies on any line, runs twice, or two of it run at once? A version is appended by one conditional write on
the version of the whole account. Of two writers one is refused, reads again, and appends after the other.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from gratis.errors import Busy, Rejected
from gratis.rules.account import Account, Profile, Settings
from gratis.rules.formats import FORMAT
from gratis.table.dynamo import MAX_ATTEMPTS, Pause, pause, translated
from gratis.table.keys import Item, account_key, unchanged
from gratis.table.ledger import account_of, format_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_HISTORY_BYTES = 250_000
"""Of an account's history. Past it nothing more can be shared, only less: DynamoDB's limit is 400 KB."""

Change = Callable[[Account], Account]


class Accounts:
    """Reads and appends to accounts."""

    def __init__(self, client: "DynamoDBClient", table: str, *, pause: Pause = pause) -> None:
        self.client = client
        self.table = table
        self.pause = pause

    def put(self, account: Account) -> None:
        """Store a history as it is, in place of what is there. Raises Busy."""
        try:
            self.client.put_item(TableName=self.table, Item=_item(account, 1))
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error

    def get(self, organization: str) -> Account | None:
        """The account as it is now; None for an organization that nobody has told us of. Raises Busy."""
        item = self._read(organization)
        return account_of(item) if item else None

    def append(self, organization: str, change: Change) -> Account:
        """Apply `change` to the account as it is, again if somebody else was faster. Raises Busy, Rejected."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            read = self._read(organization)
            account = account_of(read) if read else None
            changed = change(account or Account(id=organization))
            if changed == account or self._replace(changed, read):
                return changed
            self.pause(attempt)
        raise Busy(f"the account of {organization} is being changed by others")

    def _read(self, organization: str) -> Item | None:
        try:
            answer = self.client.get_item(TableName=self.table, Key=account_key(organization), ConsistentRead=True)
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return answer.get("Item")

    def _replace(self, account: Account, read: Item | None) -> bool:
        """Write if the stored account is still as it was read; says whether it was. What we do not know stays."""
        version = int(read["version"]["N"]) if read else 0
        item = (read or {}) | _item(account, version + 1, format_of(read) if read else FORMAT)
        try:
            self.client.put_item(TableName=self.table, Item=item, **unchanged(version))
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        except (ClientError, BotoCoreError) as error:
            raise translated(error) from error
        return True


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
    changed = account.model_copy(update={"sharing": (*account.sharing, settings)})
    if settings.shares_more_than(last) and len(_text(changed)) > MAX_HISTORY_BYTES:
        raise Rejected("too_many_changes", "the settings were changed too often, with too many projects, to share more")
    return changed


_WHEN_AND_WHO = {"effective_at", "actor", "confirmed"}


def _same(one: Profile | Settings, other: Profile | Settings) -> bool:
    return one.model_dump(exclude=_WHEN_AND_WHO) == other.model_dump(exclude=_WHEN_AND_WHO)


def _item(account: Account, version: int, form: int = FORMAT) -> Item:
    """`form`: of the item that it replaces; a later release's stays as it is."""
    fields = {"version": {"N": str(version)}, "format": {"N": str(max(form, FORMAT))}}
    return account_key(account.id) | fields | {"account": {"S": _text(account)}}


def _text(account: Account) -> str:
    return account.model_dump_json(exclude_defaults=True)
