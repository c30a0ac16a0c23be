"""The statements of an organization are one chain, and its head is the last of them."""

import hashlib
import json
from collections import defaultdict
from typing import Any

from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.machines.releases import LAST

BEFORE_ALL = "0" * 64


def check(ended: Ended) -> None:
    """Numbers from 1 on, each once; each names the hash of the one before, whatever was closed side by side.

    Statements of the last release have no number and stand outside.
    """
    chains: dict[str, list[dict[str, Any]]] = defaultdict(list)
    heads = {}
    for (pk, sk), item in ended.run.table.items.items():
        if sk.startswith("STATEMENT#"):
            stated = json.loads(item["statement"]["S"])
            if "number" in stated or not ended.run.world.runs(LAST):
                chains[pk].append(stated)
        elif sk == "STATEMENTS":
            heads[pk] = int(item["version"]["N"]), item["hash"]["S"]
    if chains.keys() != heads.keys():
        raise Broken("proved", f"statements of {sorted(chains)}, heads of {sorted(heads)}")
    for pk, chain in chains.items():
        before = BEFORE_ALL
        for number, stated in enumerate(sorted(chain, key=lambda each: int(each["number"])), start=1):
            if (stated["number"], stated["previous"]) != (number, before):
                raise Broken("proved", f"{stated['id']} is {stated['number']}, not {number}, or not after {before}")
            written = json.dumps(stated, sort_keys=True, separators=(",", ":"))
            before = hashlib.sha256(written.encode()).hexdigest()
        if heads[pk] != (len(chain), before):
            raise Broken("proved", f"the head of {pk} is {heads[pk]}, the chain ends with {len(chain)}, {before}")
