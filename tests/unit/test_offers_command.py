"""`gratis offers`: what ships, what an offer includes in words, how it changed, and what is wrong with a file."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gratis.rules.offer_file import examples, offer_from, shipped, shipped_ids
from gratis.rules.offer_words import changes, history, included
from gratis_local.cli import app
from tests.builders.offers import small_offer, small_offer_stated


def offers(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["offers", *arguments])


def written(folder: Path, content: Any) -> str:
    file = folder / "own.json"
    file.write_text(json.dumps(content))
    return str(file)


def test_what_ships_is_listed_with_its_quotas() -> None:
    listed = offers("list")
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    assert lines[0::2] == [*shipped_ids(), *map(str, examples())]
    assert lines[3].startswith(
        "  data-sharing-2025: 2025-01-01 to 2025-04-30, 2 versions; 1m: 1,000,000 tokens a day for tiers 3, 4, 5; "
        "250,000 tokens a day for tiers 1, 2; 10m: 10,000,000"
    )


def test_an_offer_is_shown_as_it_is_on_a_day_and_as_it_changed() -> None:
    shown = offers("show", "data-sharing", "--on", "2025-03-07").stdout.splitlines()
    assert shown[0] == "data-sharing@2025-03-06: from 2025-01-01 on"
    assert shown[1].startswith("  read in: OpenAI")
    assert "  evals: 7 runs a week, 2025-01-01 to 2026-11-30" in shown
    assert "  undated: gpt-4o is gpt-4o-2024-08-06" in shown
    gap = shown.index("")
    assert shown[gap + 1].startswith("data-sharing@2025-01-01: the first version read in: OpenAI")
    assert "  10m, new: codex-mini-latest" in shown[gap:]
    assert "  required, new: a positive balance" in shown[gap:]


@pytest.mark.parametrize("file", examples(), ids=lambda file: file.stem)
def test_every_example_is_right_and_can_be_shown(file: Path) -> None:
    assert offers("check", str(file)).exit_code == 0
    assert offers("show", str(file)).stdout.startswith(f"{file.stem}@")


@pytest.mark.parametrize("offer_id", shipped_ids())
def test_each_version_that_ships_names_its_source_and_says_what_changed(offer_id: str) -> None:
    offer = shipped(offer_id)
    heads = [line for line in history(offer) if not line.startswith(" ")]
    assert len(heads) == len(offer.versions)
    for line, version in zip(heads, offer.versions, strict=True):
        assert line.startswith(f"{version.name}:")
        assert line.endswith(f" read in: {version.source} (seen by {version.seen})")
        assert "nothing changed" not in line


def test_every_kind_of_change_is_said() -> None:
    group = {"name": "1m", "models": ["a-1", "b-1"], "quotas": {"4": 10}}
    dollars = {"name": "credit", "models": ["grok-*"], "unit": "usd", "quotas": {"*": "1.50"}}
    left_out = {"reason": "flex", "sentence": "flex is not included", "service_tiers": ["flex"]}
    second = {
        "effective_at": "2025-02-01",
        "window": "utc_day",
        "overflow": "close",
        "requires": ["positive_balance"],
        "groups": [{**group, "models": ["b-1", "c-1"], "quotas": {"4": 20}}, dollars],
        "excludes": [left_out],
        "aliases": {"c": "c-1"},
    }
    first = {"effective_at": "2025-01-01", "window": "utc_day", "groups": [group], "excludes": []}
    (before, after) = small_offer(offer={"versions": [first, second]}).versions
    assert [*changes(before, after)] == [
        "new: credit: $1.5 a day: grok-*",
        "1m: 20 tokens a day for tier 4 (before: 10 tokens a day for tier 4)",
        "1m, new: c-1",
        "1m, no more: a-1",
        "required, new: a positive balance",
        "left out, new: flex: flex is not included (service tiers: flex)",
        "undated, new: c is c-1",
        "a request that does not fit is billed whole and closes the window",
    ]
    assert next(iter(changes(after, before))) == "no more: credit: $1.5 a day"


def test_an_offer_says_whether_it_runs_on_the_day() -> None:
    (version,) = small_offer(offer={"ends": "2025-02-28"}).versions
    days = [next(included(version, version.dates.starts.replace(*day))) for day in ((2024, 12, 31), (2025, 3, 1))]
    assert days == [
        "small@2025-01-01: 2025-01-01 to 2025-02-28 (not started)",
        "small@2025-01-01: 2025-01-01 to 2025-02-28 (ended)",
    ]


def test_a_file_that_is_right_is_said_to_be(tmp_path: Path) -> None:
    checked = offers("check", written(tmp_path, small_offer_stated()))
    assert (checked.exit_code, checked.stderr) == (0, "")
    assert checked.stdout.startswith("OK small: from 2025-01-01 on, 1 version; 1m: 1,000 tokens a day for tier 4")


def test_every_mistake_of_a_file_is_said_on_a_line_of_its_own(tmp_path: Path) -> None:
    content = small_offer_stated(window="utc_hour", overflow="wait")
    file = written(tmp_path, content | {"starts": "soon", "colour": "red"})
    checked = offers("check", file)
    assert (checked.exit_code, checked.stdout) == (2, "")
    lines = checked.stderr.removeprefix("gratis: ").splitlines()
    assert lines == [
        f"{file}: {said}"
        for said in (
            'starts: must be a day like 2026-01-31, not "soon"',
            'versions[0].window: must be "utc_day", "utc_week", "rolling_24h", '
            '{"calendar": "day", "zone": "Europe/Paris"} or {"rolling_hours": 720}, not "utc_hour"',
            'versions[0].overflow: must be "skip" or "close", not "wait"',
            "colour: is no field that an offer file has here",
        )
    ]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (
            "data-sharing-2052",
            "no offer 'data-sharing-2052'; there are data-sharing, data-sharing-2025; or name a",
        ),
        ("nowhere.json", "nowhere.json: No such file or directory"),
    ],
)
@pytest.mark.parametrize("command", ["show", "check"])
def test_an_offer_that_is_not_there_is_told_so(command: str, named: str, said: str) -> None:
    answer = offers(command, named)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in answer.stderr


def test_a_file_that_is_no_json_or_no_text_is_told_so(tmp_path: Path) -> None:
    for number, content in enumerate((b"{", b"\xff\xfe", b"[]", b"")):
        file = tmp_path / f"{number}.json"
        file.write_bytes(content)
        answer = offers("check", str(file))
        assert (answer.exit_code, "Traceback" in answer.output) == (2, False)
        assert str(file) in answer.stderr


def test_examples_are_read_like_any_file() -> None:
    assert {offer_from(str(file)).versions[0].offer for file in examples()} == {file.stem for file in examples()}
