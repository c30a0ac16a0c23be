"""The simulation can fail: it finds each deliberate fault within a few worlds, and each of its checks is needed."""

from itertools import chain

import pytest

from gratis.rules import decision
from gratis_simulation.checks import CHECKS
from gratis_simulation.worlds.world import build
from tests.simulation.faults import FAULTS, FITS
from tests.simulation.faulty import Fault

FIRST = 1
"""The first seed in which every fault is looked for: none is picked by hand."""
MOST = 2000
"""Worlds within which a fault must be found."""
SOME = 100
"""Worlds that are shown to a fault which one check alone must find."""
SOUND = Fault("none", "none")


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=fault.name, marks=[pytest.mark.nightly] * fault.rare) for fault in FAULTS],
)
def test_a_deliberate_fault_is_found(fault: Fault) -> None:
    with fault.in_place():
        promises = ({broken.promise for broken in fault.findings(seed)} for seed in range(FIRST, FIRST + MOST))
        assert any(fault.promise in found for found in promises), f"{MOST} worlds went by: {fault.name}"


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.alone], ids=lambda fault: f"only {fault.alone}")
def test_a_check_finds_what_no_other_check_finds(fault: Fault) -> None:
    with fault.in_place():
        found = {broken.check for seed in range(FIRST, FIRST + SOME) for broken in fault.findings(seed)}
    assert found == {fault.alone}


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.only], ids=lambda fault: fault.name)
def test_worlds_of_an_intake_find_what_no_other_worlds_find(fault: Fault) -> None:
    with fault.in_place():
        found = {build(seed).intake for seed in range(FIRST, FIRST + SOME) if fault.findings(seed)}
    assert found == {fault.only}


def test_every_check_is_needed() -> None:
    """What finds nothing that another would not find as well could be left out."""
    assert {fault.alone for fault in FAULTS if fault.alone} == {*CHECKS, "machines"}


def test_without_a_fault_the_same_worlds_keep_every_promise() -> None:
    assert not list(chain.from_iterable(map(SOUND.findings, range(FIRST, FIRST + 100))))


EXACT_FIT = Fault("as above", "never wrongly billed", ((FITS, "some_used + some_units < some_quota"),))


def test_the_core_is_itself_again_after_a_fault() -> None:
    before = decision.decide.__code__
    with EXACT_FIT.in_place():
        assert decision.decide.__code__ != before
    assert decision.decide.__code__ is before


@pytest.mark.parametrize(("form", "places"), [("some_a.there_is_no_such_name", 0), ("some_a is None", "[0-9]+")])
def test_a_fault_is_a_change_of_one_place_that_is_there(form: str, places: object) -> None:
    with pytest.raises(LookupError, match=f"{places} places in"), Fault("", "", ((form, "None"),)).in_place():
        pass
