"""The documentation says nothing that is not there."""

import re

from gratis_local.functions import ROOT

NAMED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


def test_every_test_that_the_docs_name_exists() -> None:
    texts = {page: page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")}
    named = [(page.name, *found) for page, text in texts.items() for found in NAMED.findall(text)]
    assert named
    missing = [
        (page, file, test)
        for page, file, test in named
        if not (ROOT / file).is_file() or f"\ndef {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []
