"""A decision as its item. A module of its own: who goes by the items that the stream carries reads nothing from the
table, and starts without the rules that decide.
"""

from datetime import timedelta

from gratis.rules.receipt import Decision
from gratis.table import keys
from gratis.table.dynamo import Item, format_of

KEEP_DECISIONS = timedelta(days=45)
"""From `occurred_at`: the dedupe horizon (35 days), twice the queue's retention (4 days: before the decision, and after
it for a repeat), and two days to spare."""


def item_of(decision: Decision) -> Item:
    """The item that holds a decision; when it expires is not in it."""
    receipt, added = decision.stored()
    item = keys.decision_key(decision.key) | {"format": {"N": str(decision.format)}, "receipt": {"S": receipt}}
    return item | ({"added": {"S": added}} if added else {})


def decision_of(item: Item) -> Decision:
    """The decision that an item holds; the stream carries the same items."""
    added = item["added"]["S"] if "added" in item else ""
    return Decision.of_stored(keys.name_of_decision(item), format_of(item), item["receipt"]["S"], added)
