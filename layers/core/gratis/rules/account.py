"""An organization's account: append-only versions of its profile and of its sharing settings. SPEC section 4."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Annotated, Literal, NamedTuple, Protocol, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from gratis.rules.names import Identifier, ProjectName


class _Data(BaseModel):
    """An error does not show what was found: a log names an account that cannot be read, and nothing it holds.

    Built when it is first used: not every function that knows the types reads an account. So what stands in a module is
    made without (`model_construct`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


class Profile(_Data):
    """What the platform knows of an organization. One version; the defaults are those of an unknown one."""

    effective_at: AwareDatetime
    tier: Annotated[int, Field(strict=True, ge=0)] | None = None
    plan: Literal["standard", "enterprise_excluded"] = "standard"
    zero_data_retention: Annotated[bool, Field(strict=True)] = False
    eligible: Annotated[bool, Field(strict=True)] = True
    positive_balance: Annotated[bool, Field(strict=True)] = True
    actor: str | None = None


class Sharing(_Data):
    """One setting: off, on, or on for selected projects."""

    mode: Literal["disabled", "enabled", "selected"] = "disabled"
    projects: tuple[ProjectName, ...] | None = None

    @model_validator(mode="after")
    def _selected_names_projects(self) -> Self:
        if self.mode == "selected" and self.projects is None:
            raise ValueError("mode 'selected' needs 'projects'")
        return self

    @property
    def is_on(self) -> bool:
        """Whether anything at all is shared."""
        return self.mode == "enabled" or (self.mode == "selected" and bool(self.projects))

    def covers(self, project: str | None) -> bool:
        """Whether traffic of `project` (None: of no project) is shared."""
        if self.mode == "selected":
            return project is not None and project in self.chosen
        return self.mode == "enabled"

    @cached_property
    def chosen(self) -> frozenset[str]:
        """The selected projects, for look-ups: there may be many thousands."""
        return frozenset(self.projects or ())

    def shares_more_than(self, other: "Sharing") -> bool:
        """Whether this shares what `other` does not: opting in. Narrowing and opting out do not."""
        if self.mode == "disabled" or other.mode == "enabled":
            return False
        if self.mode == "enabled" or other.mode == "disabled":
            return True
        return not self.chosen <= other.chosen


class Settings(_Data):
    """What an owner of the organization chose to share. One version."""

    effective_at: AwareDatetime
    actor: str | None = None
    confirmed: bool = False
    traffic: Sharing = Sharing.model_construct()
    evals: Sharing = Sharing.model_construct()
    feedback: Sharing = Sharing.model_construct()

    def shares_more_than(self, other: "Settings") -> bool:
        """Whether this opts in to anything that `other` does not share."""
        pairs = ((self.traffic, other.traffic), (self.evals, other.evals), (self.feedback, other.feedback))
        return any(ours.shares_more_than(theirs) for ours, theirs in pairs)


class _Dated(Protocol):
    @property
    def effective_at(self) -> datetime: ...


_Version = TypeVar("_Version", bound=_Dated)


def in_force(versions: Sequence[_Version], when: datetime) -> tuple[int, _Version] | None:
    """Number (from 1) and content of the version with the latest `effective_at` ≤ `when`; ties: the later one."""
    found = None
    for number, version in enumerate(versions, start=1):
        if version.effective_at <= when and (found is None or version.effective_at >= found[1].effective_at):
            found = (number, version)
    return found


class InForce(NamedTuple):
    """Number (from 1) and content of a version of the profile, and of one of the settings; None: there is none."""

    profile: tuple[int, Profile] | None = None
    settings: tuple[int, Settings] | None = None

    def at(self, when: datetime) -> "InForce":  # noqa: ARG002 - it was looked up for this moment
        """This: it was read for that moment. So a request can be judged by it as by a whole account."""
        return self


class Standing(Protocol):
    """What an organization's account says at a moment. Where it has to be read first, that may raise Busy."""

    def at(self, when: datetime) -> InForce:
        """What is in force."""
        ...


class History(Standing, Protocol):
    """An organization's versions, wherever they are kept."""

    def named(self, profile: int | None, settings: int | None, when: datetime) -> InForce:
        """The versions of these numbers, by which an event of `when` was decided. Raises LookupError."""
        ...


class Account(_Data):
    """An organization's whole history, oldest version first."""

    id: Identifier
    profile: tuple[Profile, ...] = ()
    sharing: tuple[Settings, ...] = ()

    def at(self, when: datetime) -> InForce:
        """What is in force at a moment."""
        return InForce(in_force(self.profile, when), in_force(self.sharing, when))

    def named(self, profile: int | None, settings: int | None, when: datetime) -> InForce:  # noqa: ARG002 - all is here
        """The versions of these numbers. Raises LookupError."""
        return InForce(
            (profile, self.profile[profile - 1]) if profile else None,
            (settings, self.sharing[settings - 1]) if settings else None,
        )
