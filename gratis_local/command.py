"""A command whose options take several files after one name, as shells expand a pattern: `--records a.json b.json`."""

from collections.abc import Iterator
from typing import Any

import typer.core


class TakesFiles(typer.core.TyperCommand):
    """Each option that may be repeated takes all words up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, the option's name before each of its files."""
        several = {name for each in self.params if getattr(each, "multiple", False) for name in each.opts}
        return super().parse_args(ctx, list(_repeated(args, several)))


def _repeated(args: list[str], several: set[str]) -> Iterator[str]:
    taking, taken = "", 0
    for each in args:
        if each.startswith("-") and each != "-":
            taking, taken = (each, 0) if each in several else ("", 0)
            yield each
            continue
        if taking and taken:
            yield taking
        taken += 1
        yield each
