"""What mappings of senders' entries share: request ids that fit, and models by the platform's name for them."""

import hashlib
import re
from typing import Any

from gratis.rules.request import REQUEST_ID

HASHED = "sha256:"
"""Begins the request id of an entry whose own id our alphabet or length does not take; the digest in hex follows."""
PLATFORM = ("openai", "text-completion-openai")
"""The providers that are the platform; all others are other providers, or other proxies."""
PLATFORM_PREFIXES = ("openai/", "text-completion-openai/", "responses/")
"""What gateways write before a name of the platform, one or several of them."""
_DATE = re.compile(r"-(\d{4}-\d\d-\d\d|\d{4})")


def fitting(stated: str) -> str:
    """An id as it is, or its digest where our alphabet or length does not take it."""
    return stated if re.fullmatch(REQUEST_ID, stated) else HASHED + hashlib.sha256(stated.encode()).hexdigest()


def model_of(provider: str, stated: Any, *served: Any) -> str | None:
    """The model as the platform names it; another provider's has its name before it. None if none is named.

    What served the request decides only where `stated` names nothing, or an undated name of which it is a dated id: a
    proxy writes its own route's name there.
    """
    model = bare(provider, stated)
    found = [name for each in served if (name := bare(provider, each))]
    if model is None:
        model = found[0] if found else None
    elif found and found[0].startswith(model) and _DATE.fullmatch(found[0].removeprefix(model)):
        model = found[0]
    if model is None or provider in PLATFORM or model.startswith(f"{provider}/"):
        return model
    return f"{provider}/{model}"


def bare(provider: str, stated: Any) -> str | None:
    """A name without what gateways write before the platform's own; None where it names nothing (`None/None`)."""
    if not isinstance(stated, str) or stated.rpartition("/")[2].strip() in ("", "None"):
        return None
    if provider in PLATFORM:
        while prefix := next((each for each in PLATFORM_PREFIXES if stated.startswith(each)), ""):
            stated = stated.removeprefix(prefix)
    return str(stated)
