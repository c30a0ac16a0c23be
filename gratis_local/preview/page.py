"""The parts of a report's page. Whatever comes from an event is escaped here, and only here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

MAX_PAGE_ROWS = 2000
"""Of a table; the page stays one that a browser opens at once."""


def document(title: str, lead: str, *sections: str) -> str:
    """A self-contained page: it loads nothing, and no script runs on it."""
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head>\n"
        f'<body><h1>{escape(title)}</h1><p class="muted">{escape(lead)}</p>\n'
        + "\n".join(sections)
        + "</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A part of the page under a heading; nothing if there is nothing in it."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>" if any(parts) else ""


def tiles(figures: Mapping[str, str]) -> str:
    """Figures in large type."""
    shown = (f'<div class="tile">{escape(name)}<b>{escape(value)}</b></div>' for name, value in figures.items())
    return f'<div class="tiles">{"".join(shown)}</div>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], figures: Iterable[str] = ()) -> str:
    """A table. `figures`: the heads of columns of numbers. A cell that is a verdict has its colour."""
    if not rows:
        return ""
    right = [head in set(figures) for head in heads]
    head = "".join(_cell("th", text, figure) for text, figure in zip(heads, right, strict=True))
    body = "".join(
        f"<tr>{''.join(_cell('td', text, figure) for text, figure in zip(row, right, strict=True))}</tr>\n"
        for row in rows[:MAX_PAGE_ROWS]
    )
    more = len(rows) - MAX_PAGE_ROWS
    note = f'<p class="muted">{more:,} more rows: --json prints them all.</p>' if more > 0 else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>{note}'


def card(title: str, content: str, width: int = 24, note: str = "") -> str:
    """A widget on the grid of 24 columns."""
    below = f"<small>{escape(note)}</small>" if note else ""
    return f'<div class="card" style="--width:{width}"><h3>{escape(title)}</h3>{content}{below}</div>\n'


def legend(entries: Iterable[tuple[str, str, str]]) -> str:
    """Colour, label and figure of each line."""
    items = (
        f'<li><i style="--of:{color}"></i>{escape(label)} <span class="muted">{escape(figure)}</span></li>'
        for color, label, figure in entries
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def bars(entries: Sequence[tuple[str, str, float]]) -> str:
    """Colour, label and value: a horizontal bar each."""
    most = max((value for _, _, value in entries), default=0) or 1
    rows = (
        f'<span>{escape(label)}</span><i style="--of:{color};--part:{value / most:.1%}"></i><span>{value:,.6g}</span>'
        for color, label, value in entries
    )
    return f'<div class="bars">{"".join(rows)}</div>'


def _cell(kind: str, text: str, figure: bool) -> str:
    style = "figure" if figure else text if text in ("free", "billed") else ""
    return f"<{kind} class={style}>{escape(text)}</{kind}>" if style else f"<{kind}>{escape(text)}</{kind}>"
