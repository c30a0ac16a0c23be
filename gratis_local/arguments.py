"""Checks the arguments of commands before anything is connected to. Errors name the option and the value."""

import os
import re
from collections.abc import Sequence, Set
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import typer

from gratis import moment
from gratis.closing.chain import Head
from gratis.intake.event_models import FIRST_YEAR, LAST_YEAR
from gratis.rules.names import IDENTIFIER
from gratis.table.api_keys import ROLES, Holder, Role
from gratis_local import places
from gratis_local.sources import Unusable

FIRST_DAY, LAST_DAY = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)
"""No event may occur beyond these."""
WRITTEN_DAY = r"\d{4}-\d{2}-\d{2}"
PAGE_SUFFIXES = (".html", ".htm")


def day_of(text: str, named: str) -> date:
    """A UTC day. `named`: the option or argument that holds it."""
    today = datetime.now(UTC).date()
    try:
        day = {"today": today, "yesterday": today - timedelta(days=1)}.get(text) or date.fromisoformat(text)
    except ValueError:
        raise Unusable(f"{named}: must be a day as YYYY-MM-DD (or 'today', 'yesterday'), not {text!r}") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise Unusable(f"{named}: must be a day from {FIRST_DAY} to {LAST_DAY}, not {day}")
    return day


def period_of(day: str | None, days: int) -> tuple[date, date]:
    """The first and the last of `days` UTC days up to `day`."""
    last = day_of("today" if day is None else day, "--day")
    if days - 1 > (last - FIRST_DAY).days:
        raise Unusable(f"--days: {days} days up to {last} begin before {FIRST_DAY}")
    return last - timedelta(days=days - 1), last


def organization_and_day(organization: str, day: str) -> tuple[str, date]:
    """An organization's id and a UTC day, refused if they are the wrong way round."""
    if re.fullmatch(WRITTEN_DAY, organization) and not re.fullmatch(WRITTEN_DAY, day):
        raise Unusable(f"the organization comes first, then the day: gratis prove {day} {organization}")
    return organization, day_of(day, "DAY")


def holder_of(role: str, organization: str | None, name: str) -> Holder:
    """The holder of the key to be created."""
    if role not in ROLES:
        raise Unusable(f"--role: {role!r} is none of {', '.join(ROLES)}")
    if role == "platform" and organization is not None:
        raise Unusable(f"--organization: a platform key has none, not {organization!r}; leave it out")
    if role != "platform" and organization is None:
        raise Unusable(f"--organization: is missing; a key of the role {role} belongs to one organization")
    if organization is not None and not re.fullmatch(IDENTIFIER, organization):
        raise Unusable(f"--organization: must match {IDENTIFIER}: {organization!r}")
    return Holder(cast("Role", role), organization, name)


def expiry_of(expires: str | None, now: datetime) -> datetime | None:
    """When the key to be created expires; None: never."""
    if expires is None:
        return None
    until = _with_offset(expires, "--expires", "2026-01-31T00:00:00Z")
    if until <= now:
        raise Unusable(f"--expires: {expires!r} is over; a key ends later than now")
    return until


def heads_of(named: Sequence[str]) -> dict[str, Head]:
    """The statements that are known to be in the chains, by organization."""
    heads = {}
    for each in named:
        head = re.fullmatch(rf"({IDENTIFIER.strip('^$')}):([1-9]\d{{0,14}}):([0-9a-f]{{64}})", each)
        if head is None:
            raise Unusable(f"--head: must be ORGANIZATION:NUMBER:HASH, the hash in lower-case hex, not {each!r}")
        heads[head[1]] = Head(int(head[2]), head[3])
    return heads


def organization_of(named: str) -> str:
    """An organization's id."""
    if not re.fullmatch(IDENTIFIER, named):
        raise Unusable(f"ORGANIZATION: must match {IDENTIFIER}: {named!r}")
    return named


def moment_of(as_of: str | None) -> datetime | None:
    """The moment that --as-of names."""
    return None if as_of is None else _with_offset(as_of, "--as-of", "2025-03-11T14:00:00Z")


def _with_offset(text: str, named: str, example: str) -> datetime:
    """A moment with an offset: without one, it would be another moment on each machine."""
    try:
        found = moment.parse(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Unusable(f"{named}: must be a time with an offset, like {example}, not {text!r}")
    return found


def environment_key(name: str, option: str) -> str:
    """A key that is in the environment: on a command line others could read it."""
    key = os.environ.get(name, "")
    if not key:
        raise Unusable(f"{option}: needs a key in the environment, as {name}")
    return key


def event_files(named: Sequence[str]) -> list[str]:
    """Files of events. What is no file may be the name of a sample that ships: `seed-day`, `seed-day.json`."""
    return [each if each == "-" or Path(each).exists() else _sample(each) for each in named]


def _sample(named: str) -> str:
    samples = places.samples()
    for name, file in samples.items():
        if named in (name, file.name, f"events/{file.name}"):
            return str(file)
    raise Unusable(f"{named}: No such file or directory; samples that ship: {', '.join(samples)}")


def refuse_given(context: typer.Context, options: Set[str], why: str) -> None:
    """Refuse options that were given on the command line, but would do nothing."""
    given = (each for each in context.command.params if _is_given(context, each.name or ""))
    if unused := sorted(each.opts[0] for each in given if each.opts[0] in options):
        raise Unusable(f"{', '.join(unused)}: {why}")


def _is_given(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def check_report(file: Path | None, inputs: Sequence[str]) -> None:
    """Refuse a report that could not be written after the work, or that would take the place of what is read."""
    if file is None:
        return
    if file.suffix.lower() not in PAGE_SUFFIXES:
        raise Unusable(f"--report: is a page; name a file that ends in .html, not {str(file)!r}")
    needs_package("matplotlib", "--report: its charts need matplotlib")
    if any(each != "-" and file.exists() and file.samefile(each) for each in inputs):
        raise Unusable(f"--report: {file} holds the events; name another file")
    is_new = not file.exists()
    write_report(file, "", "a")
    if is_new:
        file.unlink()


def needs_package(module: str, why: str) -> None:
    """Raises Unusable where an optional package is not installed."""
    if find_spec(module) is None:
        raise Unusable(f"{why}, which is not installed: `make setup` in a clone does it")


def write_report(file: Path, content: str, mode: str = "w") -> None:
    """Write the page. `mode`: what `open` calls it."""
    try:
        with file.open(mode, encoding="utf-8") as page:
            page.write(content)
    except OSError as error:
        raise Unusable(f"--report: {file}: {error.strerror}") from None
