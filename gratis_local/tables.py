"""Tables that fit: a row is one line where there is room for it, else a few lines with one cell below the other."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from gratis_local.console import PIPE_COLUMNS

VERDICT_STYLE = {"free": "green", "billed": "yellow"}
NAME_COLUMNS, PROSE_COLUMNS = 22, 24
"""The least that a name and a sentence keep of a row's width; below that, rows go on in the terminal's next line."""


@dataclass(frozen=True)
class Sheet:
    """What a table shows.

    `figures`, `prose` and `names` are heads of columns: of figures, aligned right; of sentences, which are folded; of
    names, which are folded only in a stack. `stacks`: heads that stand one below the other, where a row takes several
    lines; `tight`: columns are one blank apart.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Collection[str] = ()
    prose: Collection[str] = ()
    names: Collection[str] = ()
    stacks: Sequence[Sequence[str]] = ()
    title_style: str = "bold"
    tight: bool = False


def print_fitting(console: Console, *sheets: Sheet) -> None:
    """Print the first of these sheets that fits, or the last one.

    Output that goes to no terminal is read by programs: it is the first sheet, one line a row.
    """
    narrow = console.is_terminal or console.width < PIPE_COLUMNS
    if not (narrow or sheets[0].prose or console.options.ascii_only):
        console.file.writelines(f"{line}\n" for line in lines_of(sheets[0]))
        return
    for sheet in sheets if narrow else sheets[:1]:
        table = _table(sheet)
        if _least_width(table, console) <= console.width:
            break
    _whole(table, console)
    if sheet.tight:
        console.print()


def lines_of(sheet: Sheet) -> Iterator[str]:
    """The lines of a table without folded cells, as rich prints it; rich itself takes half a minute for 20,000 rows."""
    heads = [_head([each]).split("\n") for each in sheet.heads]
    deep = max(map(len, heads))
    above = zip(*([""] * (deep - len(head)) + head for head in heads), strict=True)
    table = [*above, *([written_out(cell) for cell in row] for row in sheet.rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    right = [head in sheet.figures for head in sheet.heads]
    columns = list(zip(widths, right, strict=True))
    across = sum(widths) + 2 * len(widths) + 1
    title = written_out(sheet.title)
    yield set_cell_size(title, max(across, cell_len(title)))
    yield " " * across
    for number, row in enumerate(table, 1):
        yield f" {'  '.join(_aligned(text, *column) for text, column in zip(row, columns, strict=True))}  "
        if number == deep:
            yield f" {'─' * (across - 2)} "
    yield " " * across


def _aligned(text: str, width: int, right: bool) -> str:
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank


def written_out(text: str) -> str:
    """The text with its unprintable characters as escapes: `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _table(sheet: Sheet) -> Table:
    stacks = sheet.stacks or [[head] for head in sheet.heads]
    table = Table(
        *(_column(sheet, stack) for stack in stacks),
        title=Text(written_out(sheet.title)),
        title_justify="left",
        title_style=sheet.title_style,
        box=box.SIMPLE_HEAD,
        padding=(0, 0 if sheet.tight else 1, 0, 0),
        show_edge=not sheet.tight,
    )
    for row in sheet.rows:
        cells = dict(zip(sheet.heads, map(_cell, row), strict=True))
        table.add_row(*(_stacked([cells[head] for head in stack]) for stack in stacks))
    return table


def _column(sheet: Sheet, stack: Sequence[str]) -> Column:
    prose = any(head in sheet.prose for head in stack)
    name = len(stack) > 1 and any(head in sheet.names for head in stack)
    return Column(
        header=_head(stack),
        justify="right" if all(head in sheet.figures for head in stack) else "left",
        overflow="fold",
        no_wrap=not (prose or name),
        max_width=PROSE_COLUMNS if prose else NAME_COLUMNS if name else None,
    )


def _head(stack: Sequence[str]) -> str:
    return "\n".join(stack).replace(" total", "\ntotal")


def _stacked(cells: Sequence[Text]) -> Text:
    for below in cells[1:]:
        below.stylize("dim")
    return Text("\n").join(cells)


def _cell(text: str) -> Text:
    return Text(written_out(text), style=VERDICT_STYLE.get(text, ""))


def _whole(table: Table, console: Console) -> None:
    """Print every figure whole: where a table is wider than the terminal, its rows go on in the next line."""
    width = max(console.width, _least_width(table, console))
    for column in table.columns:
        column.max_width = None
    Console(width=width, file=console.file, force_terminal=console.is_terminal).print(table)


def _least_width(table: Table, console: Console) -> int:
    """Columns that the table takes if nothing is cut, and nothing folded more than it may be."""
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum
