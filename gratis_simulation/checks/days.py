"""The newest statement of a closed day is what its records add up to, and says that they hold."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.checks.record import record_of


def check(ended: Ended) -> None:
    """Judges the days that were closed when everything else was done; on all days, no revision may be missing."""
    items = [item for key, item in ended.run.table.items.items() if key[1].startswith("STATEMENT#")]
    statements = [json.loads(item["statement"]["S"]) for item in items]
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for stated in sorted(statements, key=lambda each: int(each["revision"])):
        day = (stated["organization"], stated["day"])
        if stated["revision"] != newest.get(day, {"revision": 0})["revision"] + 1:
            raise Broken("proved", f"a revision is missing before {stated['id']}")
        newest[day] = stated
    of_days: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in map(record_of, ended.decisions):
        of_days[record["organization"], record["id"].split(":")[1]].append(record)
    for day in ended.run.closed:
        _is_proved(newest.get(day), sorted(of_days[day], key=lambda record: str(record["id"])))


def _is_proved(stated: dict[str, Any] | None, records: Sequence[dict[str, Any]]) -> None:
    if stated is None:
        raise Broken("proved", f"the day of {records[0]['id']} has no statement")
    if "number" not in stated:
        raise Broken("proved", f"{stated['id']} was made by the last release, and this one left it at that")
    digest = bytes(32)
    for record in records:
        written = json.dumps(record, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(digest + written.encode()).digest()
    free = [record for record in records if record["verdict"] == "free"]
    voids = [record for record in records if record["reason"] == "void"]
    sums = {
        "decisions": len(records) - 2 * len(voids),
        "free": len(free) - 2 * sum(record["reason"] == "void" for record in free),
        "voids": len(voids),
        "free_tokens": sum(record["tokens"]["total"] for record in free),
        "billed_tokens": sum(record["tokens"]["total"] for record in records if record["verdict"] == "billed"),
        "hash": digest.hex(),
    }
    told = {"voids": 0, **stated}
    told = {name: told[name] for name in sums}
    amounts = [Decimal(record["amount_usd"] or 0) for record in records]
    if told != sums or Decimal(stated["amount_usd"]) != sum(amounts):
        raise Broken("proved", f"the statement {stated['id']} says {told}, the records make {sums}")
    wrong = [each for each in stated["differences"] if each["kind"] != "duplicate"]
    if wrong:
        raise Broken("proved", f"{stated['id']}: {wrong}")
