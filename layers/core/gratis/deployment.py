"""Whether a deployment's offers can take over from those that it has: asked before anything is switched over. Pure.

An offer holds from its first day on, and what was decided before stays as it was decided. So one that is added must
begin on a day to come, and one that is left out must be out of reach of late events and of proofs.
"""

from datetime import date, timedelta

from gratis.config import configured_offer
from gratis.rules.offer import Offer, Version
from gratis.rules.offer_file import OfferInvalid

OUT_OF_REACH = timedelta(days=46)
"""After an offer was followed by another: decisions of its last day are no longer kept, and it is not closed again."""


def check(named: str, ends: str, before: str | None, today: date) -> None:
    """Raises OfferInvalid with what is wrong with the parameters Offer and OfferEnds.

    `before`: the parameter Offer of the deployment that is replaced; None for the first one.
    """
    offer = _read(named, ends)
    if before is None or before.split() == named.split():
        return
    known = _read(before, "")
    last = known.versions[-1].dates.ends
    if last is not None and last + OUT_OF_REACH <= today:
        return
    for gone in sorted(known.ids - offer.ids):
        until = _begins(offer.versions[0]) + OUT_OF_REACH
        if until > today:
            raise OfferInvalid(
                f"Offer: {gone} was in force and is not named any more; name it before {offer.versions[0].offer} until "
                f"{until}, so that late events and proofs are judged by it"
            )
    for added in (version for version in offer.versions if version.offer not in known.ids):
        if _begins(added) <= today:
            raise OfferInvalid(
                f"Offer: {added.offer} starts on {_begins(added)}, which is not after today ({today}): what it gives "
                f"from then on would be given a second time"
            )


def _begins(version: Version) -> date:
    """The first day on which anything is decided under a version."""
    return max(version.since, version.dates.starts)


def _read(named: str, ends: str) -> Offer:
    try:
        return configured_offer(named, ends)
    except KeyError as error:
        raise OfferInvalid(f"Offer: {error.args[0]}") from None
    except OSError as error:
        raise OfferInvalid(f"Offer: {error.filename}: {error.strerror}") from None
    except OfferInvalid as error:
        raise OfferInvalid(f"Offer: {error}") from None
    except ValueError:
        raise OfferInvalid(f"OfferEnds: {ends!r} is no day like 2026-12-31") from None
