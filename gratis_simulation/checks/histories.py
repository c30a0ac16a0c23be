"""An account's whole history, put together from its item and what lies beside it."""

from operator import itemgetter

from gratis.rules.account import Account
from gratis.table.account_items import Beside, StoredAccount, of_item
from gratis_simulation.machines.table import Item, Table


def whole(stored: StoredAccount) -> Account:
    """All versions of the account, oldest first."""
    number_of = itemgetter(0)
    return Account(
        id=stored.id,
        profile=tuple(stored.profile.model(row) for _, row in sorted(stored.profile.newest_first(), key=number_of)),
        sharing=tuple(stored.sharing.model(row) for _, row in sorted(stored.sharing.newest_first(), key=number_of)),
    )


def whole_of(item: Item, table: Table) -> Account:
    """The account of an item. `table`: where older versions lie; they never change."""
    return whole(of_item(item, Beside(table, "ledger")))  # type: ignore[arg-type]  # a client by its looks
