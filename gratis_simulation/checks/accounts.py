"""Accounts are append-only, and what is changed is in force from now on."""

from gratis.rules.account import Account, Profile
from gratis_simulation.broken import Broken
from gratis_simulation.checks.ended import Ended
from gratis_simulation.checks.histories import whole, whole_of
from gratis_simulation.machines.seen import Actor
from gratis_simulation.worlds.world import Change

NOTHING_SET = {part: {"mode": "disabled"} for part in ("traffic", "evals", "feedback")}


def check(ended: Ended) -> None:
    """Every write of an account, and every change that was answered with success."""
    for change in ended.run.table.log:
        if change.key[1] == "ACCOUNT" and change.new is not None and change.actor is not None:
            after = whole_of(change.new, ended.run.table)
            before = whole_of(change.old, ended.run.table) if change.old is not None else Account(id=after.id)
            _appended(before, after, created=change.old is None)
            _takes_effect_at_once(before, after, change.actor)
    _changes_are_kept(ended)


def _changes_are_kept(ended: Ended) -> None:
    """Whoever was told that a change is made finds it in the history."""
    for changed in ended.run.seen.changed:
        final = whole(ended.run.account(changed.step.organization))
        item, organization = changed.account.item, changed.account.id
        told = whole_of(item, ended.run.table) if item else Account(id=organization)
        for name in ("profile", "sharing"):
            said, stands = getattr(told, name), getattr(final, name)
            if stands[: len(said)] != said:
                raise Broken("settings are append-only", f"{changed.step.actor} was told {said}, there is {stands}")
        _took_effect(changed.step, told)


def _took_effect(step: Change, account: Account) -> None:
    """What was asked for is in force; what nobody ever set is off."""
    asked = (step.profile if step.profile is not None else step.sharing) or {}
    versions = account.profile if step.profile is not None else account.sharing
    version = versions[-1].model_dump(mode="json", exclude_none=True) if versions else NOTHING_SET
    for name, wanted in asked.items():
        if name != "confirmed" and version[name] != wanted:
            raise Broken("settings take effect at once", f"{step.actor} set {name} to {wanted}, it is {version[name]}")


def _appended(before: Account, after: Account, *, created: bool) -> None:
    """Exactly one version more, and nothing of the past changed."""
    for old, new in ((before.profile, after.profile), (before.sharing, after.sharing)):
        if new[: len(old)] != old:
            raise Broken("settings are append-only", f"{after.id}: {old} became {new}")
    added = len(after.profile) + len(after.sharing) - len(before.profile) - len(before.sharing)
    if added != 1 and not (created and added == 0):
        raise Broken("settings are append-only", f"{after.id}: {added} versions in one write")


def _takes_effect_at_once(before: Account, after: Account, actor: Actor) -> None:
    """A new version takes effect as it is written, or with a later predecessor; a first profile may be back-dated."""
    begun, written = actor.work.started_at + actor.work.skew, actor.at + actor.work.skew
    for old, new in ((before.profile, after.profile), (before.sharing, after.sharing)):
        for version in new[len(old) :]:
            last = old[-1].effective_at if old else begun
            first_profile = not old and isinstance(version, Profile)
            if not max(begun, last) <= version.effective_at <= max(written, last) and not (
                first_profile and version.effective_at <= written
            ):
                raise Broken("settings take effect at once", f"{after.id}: {version} was written at {written}")
