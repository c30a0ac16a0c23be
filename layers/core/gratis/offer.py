"""The offer: the rules in force, as dated data. SPEC sections 1 and 2; sources in data/offers/*.json."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gratis import moment

EVALS = "evals"
"""The group that counts evaluation runs; its quota is runs, not tokens."""


def _distinct(models: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(models)) != len(models):
        raise ValueError("lists a model twice")
    return models


class _Data(BaseModel):
    """Built when it is first used: not every function that knows the types reads an offer."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Group(_Data):
    """Models that share one quota."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._]{1,32}$")]
    models: Annotated[tuple[str, ...], AfterValidator(_distinct)]
    quotas: Mapping[int, Annotated[int, Field(ge=0)]]
    """Free tokens a window, by usage tier. A tier that is not listed has none."""


class Evals(_Data):
    """Evaluation runs that the platform gives away. Source: the published terms, "up to 7 runs per week"."""

    quota: Annotated[int, Field(ge=0)]
    window: Literal["utc_week"] = "utc_week"


class Version(_Data):
    """One state of an offer, in force from 00:00 UTC of `effective_at` until the next version."""

    effective_at: date
    window: Literal["utc_day", "rolling_24h"]
    overflow: Literal["skip", "close"] = "skip"
    groups: tuple[Group, ...]
    aliases: Mapping[str, str] = {}
    hosted_tools: tuple[str, ...]
    """Tools that the platform hosts; a name counts with its preview and dated variants too."""
    evals: Evals

    @model_validator(mode="after")
    def _groups_are_distinct(self) -> Self:
        names = [group.name for group in self.groups]
        if len(set(names)) != len(names) or EVALS in names:
            raise ValueError(f"group names must be distinct and not {EVALS!r}: {names}")
        _distinct(tuple(model for group in self.groups for model in group.models))
        return self

    def resolve(self, model: str) -> str:
        """The dated model id that an undated alias stands for; any other id as it is."""
        return self.aliases.get(model, model)

    def group_of(self, model: str) -> Group | None:
        """The group that lists `model`, aliases resolved."""
        return self._by_model.get(self.resolve(model))

    def hosts(self, tool: str) -> bool:
        """Whether the platform runs this tool: `web_search` hosts `web_search_preview_2025_03_11` too."""
        return self._hosted.fullmatch(tool) is not None

    @cached_property
    def _by_model(self) -> dict[str, Group]:
        return {model: group for group in self.groups for model in group.models}

    @cached_property
    def _hosted(self) -> re.Pattern[str]:
        listed = "|".join(map(re.escape, self.hosted_tools)) or "(?!)"
        return re.compile(rf"({listed})(_preview)?(_\d{{4}}_\d{{2}}_\d{{2}})?")


class Offer(_Data):
    """A whole offer. Versions are append-only: an edit would decide the past anew."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    starts: date
    ends: date | None = None
    """The last day of the offer, inclusive; none: it has no end."""
    versions: Annotated[tuple[Version, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _versions_are_in_order(self) -> Self:
        dates = [version.effective_at for version in self.versions]
        if dates != sorted(set(dates)):
            raise ValueError("versions must be in order of effective_at, each day once")
        if dates[0] > self.starts:
            raise ValueError(f"the first version takes effect on {dates[0]}, after the offer starts ({self.starts})")
        if self.ends is not None and self.ends < self.starts:
            raise ValueError(f"ends {self.ends} before it starts ({self.starts})")
        return self

    def started(self, when: datetime) -> bool:
        """Whether `when` is not before the offer's first day."""
        return moment.day_of(when) >= self.starts

    def ended(self, when: datetime) -> bool:
        """Whether `when` is after the offer's last day."""
        return self.ends is not None and moment.day_of(when) > self.ends

    def version_at(self, when: datetime) -> Version:
        """The version in force; before the first one, the first (the offer has not started then)."""
        day = moment.day_of(when)
        in_force = self.versions[0]
        for version in self.versions:
            if version.effective_at <= day:
                in_force = version
        return in_force

    def end_of(self, version: Version) -> datetime | None:
        """The moment at which the next version takes over; None for the last."""
        later = [other.effective_at for other in self.versions if other.effective_at > version.effective_at]
        return moment.midnight(later[0]) if later else None

    def name_of(self, version: Version) -> str:
        """How a decision names the rules it was taken under: `data-sharing-2025@2025-03-06`."""
        return f"{self.id}@{version.effective_at.isoformat()}"


@cache
def shipped(offer_id: str) -> Offer:
    """An offer that ships with Gratis, by its id. Raises KeyError with the ids there are."""
    folder = files("gratis") / "data" / "offers"
    file = folder / f"{offer_id}.json"
    if not file.is_file():
        known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir())
        raise KeyError(f"no offer {offer_id!r}; there are {', '.join(known)}")
    return Offer.model_validate_json(file.read_bytes())
