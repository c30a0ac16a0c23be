"""The examples of other programmes: each gives away what fits, and bills what does not fit or has no price."""

from importlib.resources import files
from pathlib import Path

import pytest

from gratis.rules.offer import Group
from gratis.rules.offer_file import offer_from
from tests.builders.events import request
from tests.builders.ledger import Desk

EXAMPLES = sorted(Path(str(files("gratis") / "data" / "offers" / "examples")).glob("*.json"))
WHEN = "2026-03-11T12:00"


def model_of(group: Group) -> str:
    return sorted(group.models)[0].replace("*", "x") if group.models else "x"


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_gives_its_quota_and_no_more(file: Path) -> None:
    offer = offer_from(str(file))
    (version,) = offer.versions
    for group in version.groups:
        desk = Desk(offer)
        quota = group.quota(4)
        assert quota is not None
        if group.unit == "usd":  # dollars need a price, and these models have none here: nothing is given away unpriced
            (unpriced,) = desk.decide(request(1000, WHEN, model=model_of(group)))
            assert (unpriced.verdict, unpriced.reason, unpriced.group) == ("billed", "no_price", group.name)
            continue
        if group.unit == "requests":
            *_, first, too_much = desk.decide(*(request(1, WHEN, model=model_of(group)) for _ in range(int(quota) + 1)))
        else:
            first, too_much = desk.decide(*(request(t, WHEN, model=model_of(group)) for t in (int(quota), 1)))
        assert (first.verdict, first.reason, first.group) == ("free", "within_quota", group.name)
        assert (too_much.verdict, too_much.reason) == ("billed", "over_quota")
