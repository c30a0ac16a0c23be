"""The platform's pages, fetched live with the openai SDK."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from gratis import moment
from gratis_local.sources import Unusable

Named = list[tuple[str, Any]]
"""Pages, and how each is called in an error."""
KEY = "OPENAI_ADMIN_KEY"
MAX_DAYS = 31
"""In one page of usage by the day."""


def fetched(days: Sequence[date], key: str, advance: Callable[[int], None]) -> tuple[Named, Named]:
    """Usage and costs of these days, page by page. Raises Unusable. `advance`: told of each day that a page brings."""
    try:
        from openai import OpenAI, OpenAIError  # noqa: PLC0415 - of all commands only this one needs it
    except ImportError:
        raise Unusable("--openai: needs the package openai, which is not installed: pip install openai") from None
    span: dict[str, Any] = {
        "start_time": int(moment.midnight(min(days)).timestamp()),
        "end_time": int((moment.midnight(max(days)) + moment.DAY).timestamp()),
        "bucket_width": "1d",
    }
    try:
        organization: Any = OpenAI(admin_api_key=key).admin.organization.usage
        by_model = span | {"limit": MAX_DAYS, "group_by": ["model", "service_tier", "project_id"]}
        usage = _pages("usage", lambda more: organization.completions(**by_model, **more), advance)
        by_item = span | {"limit": 180, "group_by": ["line_item", "project_id"]}
        costs = _pages("costs", lambda more: organization.costs(**by_item, **more), lambda _: None)
    except OpenAIError as error:
        raise Unusable(f"--openai: {error}") from None
    return usage, costs


def _pages(name: str, ask: Callable[[dict[str, str]], Any], advance: Callable[[int], None]) -> Named:
    pages: Named = []
    more: dict[str, str] = {}
    while True:
        page = ask(more).model_dump(mode="json")
        pages.append((f"{name}, page {len(pages) + 1}", page))
        advance(len(page["data"]))
        if not page.get("has_more") or not page.get("next_page"):
            return pages
        more = {"page": page["next_page"]}
