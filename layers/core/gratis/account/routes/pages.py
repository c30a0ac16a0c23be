"""The account page: its files, as they are, to whoever asks; and the JSON Schema of a usage event."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from gratis.account.routes.call import Routes

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
"""By how a file's name ends; no other file is served."""
SCHEMA_PATH = "/page/usage-event.schema.json"
"""Where the JSON Schema of a usage event is."""
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def pages(folder: Path) -> Routes:
    """Routes to the files of this folder, `/` being its index.html, and to the event's JSON Schema."""
    routes = Routes()

    @cache
    def files() -> dict[str, Path]:
        """By their names. What a request names is looked up here, and never becomes a path."""
        return {file.name: file for file in folder.iterdir() if file.suffix in CONTENT_TYPES}

    @routes.get("/", include_in_schema=False)
    def page() -> Response[Any]:
        return page_file("index.html")

    @routes.get(SCHEMA_PATH, include_in_schema=False)
    def event_schema() -> Response[Any]:
        from gratis.account import event_documents  # noqa: PLC0415 - no other route needs it at a start

        written = json.dumps(event_documents.event_schema(), indent=1)
        return Response(200, "application/schema+json", written, headers=PAGE_HEADERS)

    @routes.get("/page/<name>", include_in_schema=False)
    def page_file(name: str) -> Response[Any]:
        file = files().get(name)
        if file is None:
            raise NotFoundError
        return Response(200, CONTENT_TYPES[file.suffix], file.read_text(encoding="utf-8"), headers=PAGE_HEADERS)

    return routes
