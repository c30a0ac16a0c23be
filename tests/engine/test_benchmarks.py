"""The benchmarks still run, and what they compare is right: each design decides every event once and counts exactly."""

import contextlib
import gc
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks import growth, plots, report, stream, workloads
from benchmarks.asking import Asking, key_of, warm
from benchmarks.before import lines
from benchmarks.bench import SIZES, STREAMED, TABLE, Bench, Figures, Size, as_deployed
from benchmarks.closing import Store, closing, fill
from benchmarks.cold_start import FUNCTIONS, Start
from benchmarks.growth import Grown, Growth, Point, Reads
from benchmarks.meter import Meter, size_of
from benchmarks.packed import Packed
from benchmarks.packing import PackedReceipts, figures, hot
from benchmarks.player import _answer
from benchmarks.receiving import Receiving, receiving
from benchmarks.traffic import STREAM, account
from gratis import config, moment
from gratis.closing.proof import Proof
from gratis.closing.proving import prove
from gratis.table.keys import DECISION_SHARDS
from gratis.table.ledger import Ledger
from gratis_local.functions import ROOT

RESULTS = ROOT / "benchmarks/results.json"
DESIGNS = ("gratis", "idempotent_update", "single_transaction")


@pytest.fixture(scope="module")
def bench(engine_url: str) -> Iterator[Bench]:
    with as_deployed(engine_url):
        yield Bench(engine_url)


def decisions(client: Any, organization: str) -> list[list[Any] | dict[str, Any]]:
    """The receipts that a design left of today, in its own form."""
    (event,) = workloads.single("when", 1).batches
    day = json.loads(event["Records"][0]["body"])[0]["time"][:10]
    found: list[Any] = []
    for shard in range(DECISION_SHARDS):
        key = {":pk": {"S": f"DAY#{organization}#{day}#{shard}"}}
        answer = client.query(TableName=TABLE, KeyConditionExpression="pk = :pk", ExpressionAttributeValues=key)
        found += [json.loads(item["receipt"]["S"]) for item in answer["Items"]]
    return found


def free(receipt: list[Any] | dict[str, Any]) -> bool:
    return (receipt["verdict"] if isinstance(receipt, dict) else receipt[4]) == "free"


@pytest.mark.parametrize("design", DESIGNS)
def test_each_design_decides_every_event_once_even_if_a_batch_comes_twice(bench: Bench, design: str) -> None:
    load = bench._ready(design, "batch_100", Size(100, 100))
    for batch in (*load.batches, *load.batches):
        bench.designs[design].handle(batch)
    found = decisions(bench.designs[design].client, load.organizations[0])
    assert (len(found), sum(map(free, found))) == (100, 100)


@pytest.mark.parametrize("design", DESIGNS)
def test_each_design_bills_what_does_not_fit(bench: Bench, design: str) -> None:
    load = bench._ready(design, "spent_quota", Size(100, 100))
    bench._run(design, load)
    found = decisions(bench.designs[design].client, load.organizations[0])
    assert (len(found), sum(map(free, found))) == (102, 2)


def test_what_single_events_take_is_what_the_designs_are_made_of(bench: Bench) -> None:
    found = bench.workload("single", Size(2, 2, repeats=1))
    taken = {design: (each.write_units, each.read_units, each.calls) for design, each in found.items()}
    assert taken == {
        "gratis": ((8 + 4) / 2, 2, 2),  # the day's first event also writes its marker and checks the account
        "idempotent_update": (5, 1, 6),
        "single_transaction": (4, 1, 2),
    }


def test_a_batch_of_100_takes_two_units_an_event_and_three_calls(bench: Bench) -> None:
    found = bench._counted("gratis", "batch_100", Size(100, 100))
    documents_markers_and_checks_of_the_account = 2 * (2 + 2 + 2)
    assert found == ((100 * 2 + documents_markers_and_checks_of_the_account) / 100, 3 / 100, 3 / 100)


def test_the_study_of_packed_receipts_is_exact_below_the_floor_of_a_transaction(bench: Bench) -> None:
    design = PackedReceipts(config.new_dynamodb(), TABLE)
    load = hot("packed", "study", 100)
    write_units, *_ = figures(bench, design, load)
    assert 1 < write_units < 1.3
    for batch in load.batches:  # once more
        design.handle(batch)
    ledger: Any = Ledger(Packed(design.client), TABLE)  # type: ignore[arg-type]  # a client by its looks
    (organization,) = load.organizations
    day = date.fromisoformat(json.loads(workloads.text_of(load.batches[0]["Records"][0]))[0]["time"][:10])
    proof = prove(ledger, organization, day, lambda _: config.config().offer, datetime.now(UTC))
    assert isinstance(proof, Proof)
    assert (proof.holds, proof.statement["decisions"]) == (True, 400)  # with the batch that began the day


def test_a_batch_leaves_hardly_anything_to_the_garbage_collector(bench: Bench) -> None:
    load = bench._ready("gratis", "batch_100", Size(1000, 100))
    first, *others = load.batches
    bench.designs["gratis"].handle(first)
    gc.collect()
    gc.disable()
    try:
        for batch in others:
            bench.designs["gratis"].handle(batch)
        assert gc.collect() < 100 * len(others)
    finally:
        gc.enable()


def test_nothing_is_counted_once_the_meter_is_off(bench: Bench) -> None:
    meter, client = Meter(), bench.designs["gratis"].client
    with meter.attached(client):
        client.get_item(TableName=TABLE, Key={"pk": {"S": "a"}, "sk": {"S": "b"}}, ConsistentRead=True)
    client.get_item(TableName=TABLE, Key={"pk": {"S": "a"}, "sk": {"S": "b"}}, ConsistentRead=True)
    assert (meter.calls, meter.read_units, meter.write_units) == (1, 1, 0)


def test_the_size_of_an_item_is_that_of_its_names_and_values() -> None:
    assert size_of({"pk": {"S": "é"}, "n": {"N": "1234"}, "b": {"B": b"123"}}) == (2 + 2) + (1 + 2 + 2) + (1 + 3)


def test_a_zipf_day_is_packed_as_the_queue_would_hand_it_on() -> None:
    load = workloads.zipf_day("zipf", 2000)
    groups = [[message["attributes"]["MessageGroupId"] for message in batch["Records"]] for batch in load.batches]
    assert max(map(len, groups)) == 10
    assert 1500 < load.events < 2500
    for batch in load.batches:
        for message in batch["Records"]:
            events = json.loads(message["body"])
            assert {event["subject"] for event in events} == {message["attributes"]["MessageGroupId"]}


def test_over_the_stream_each_event_is_decided_once_even_if_a_shard_is_read_again(bench: Bench) -> None:
    load = workloads.hot_single("shard", 150, STREAM)
    bench.accounts.put(account("shard_org"))
    for batch in (*load.batches, *load.batches):
        bench.designs[STREAMED].handle(batch)
    found = decisions(bench.designs[STREAMED].client, "shard_org")
    assert (load.events, len(load.batches), len(found)) == (150, 1, 150)


def test_what_an_invocation_of_the_stream_takes_is_what_the_curve_says(bench: Bench) -> None:
    size = Size(0, 0, stream=200)
    (batch,) = bench._ready(STREAMED, "single_stream", size).batches
    events = [json.loads(workloads.text_of(record))[0] for record in batch["Records"]]
    documents = {(event["subject"], event["data"]["model"]) for event in events}
    write_units, *_ = bench._counted(STREAMED, "single_stream", size)
    assert write_units == 2 + 2 * len(documents) / 200
    assert abs(write_units - stream.write_units(200)) < 0.1


def test_the_curve_of_the_stream_lies_between_a_batch_of_one_and_full_commits() -> None:
    assert stream.write_units(1) == pytest.approx(4)
    assert stream.write_units(10_000, 1) == pytest.approx(2 + 2 / 99)
    falling = [stream.write_units(records) for records in stream.RECORDS]
    assert falling == sorted(falling, reverse=True)


def test_below_the_break_even_the_queue_costs_less_and_from_it_on_the_stream() -> None:
    at = stream.break_even()
    assert stream.dollars_over_stream(at - 1) >= stream.dollars_over_queue() > stream.dollars_over_stream(at)


def test_neither_a_commit_nor_the_account_api_takes_more_once_the_day_holds_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "DECIDED", (0, 300))
    points, reads = Growth(bench).by_decisions()
    assert len({(each.write_units, each.read_units, each.calls) for each in points}) == 1
    at = [{(each.route, each.calls, each.read_units) for each in reads if each.decided == level} for level in (0, 300)]
    assert at[0] == at[1]
    assert {route for route, *_ in at[0]} == set(growth.ROUTES)


def test_a_single_event_on_a_wide_day_takes_a_page_and_not_the_whole_day(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "ROWS", (1, 300))
    measured = Growth(bench)
    (narrow, wide), (_, before) = measured.by_rows(1, measured.gratis), measured.by_rows(1, measured.before)
    assert narrow.write_units == 4
    assert wide.write_units <= 8 < before.write_units


def test_the_webhook_is_measured_against_the_validation_of_the_same_batch(engine_url: str, bench: Bench) -> None:
    found = receiving(engine_url, rounds=2)
    assert all(floor > 0 for floor in found.floor)
    assert len(found.function) == len(found.sending) == len(found.floor) == 2
    assert all(0 < sending < function for sending, function in zip(found.sending, found.function, strict=True))


def test_a_check_is_one_batch_read_beside_the_keys(bench: Bench) -> None:
    checks, reads, meter = warm(bench, key_of(bench), rounds=2)
    assert (meter.calls, meter.read_units, meter.write_units) == (2, 3, 0)
    assert len(checks) == len(reads) == 2


def test_a_checkout_is_told_to_count_and_to_time_and_both_are_compared(bench: Bench) -> None:
    counted, took = (_answer(bench, what, "single") for what in ("counted", "timed"))
    assert counted == (4.04, 2, 2)
    assert took > 0
    found = {"single": {"before": (4.02, 2, 2), "now": counted, "cpu_ratios": [0.9, 1, 1.1]}}
    assert lines(found) == [
        "single: write units 4.02 -> 4.04, read units 2 -> 2, calls 2 -> 2; "
        "client CPU 1.000 times (half of the rounds 0.950 to 1.050)"
    ]


def test_a_run_is_written_as_a_page_with_every_figure_and_plot(tmp_path: Path) -> None:
    figures = {design: Figures(300, 2, 1, 0.5, [10, 12, 11], [100, 90, 95]) for design in DESIGNS}
    starts = {name: Start([0.2, 0.3], [0.2, 0.3], [0.4, 0.4]) for name in FUNCTIONS}
    points = [Point(1, 4, 2, 2, 5), Point(100, 2.04, 0.02, 0.03, 15)]
    grown = Grown(points, points, points, points, points, points, points, [Reads("allowance", 0, 2, 5)])
    of = {name: figures | ({STREAMED: figures["gratis"]} if SIZES[name].stream else {}) for name in SIZES}
    asked = Asking([0.2, 0.3], [0.4, 0.6], [0.6, 0.9], [0.005, 0.005], [0.01, 0.01], 2, 3.0)
    received = Receiving([20, 22], [5, 6], [10, 11])
    measured = report.Measured(of, received, starts, grown, asked)
    shutil.copy(ROOT / "benchmarks/page.md", tmp_path)
    plots.draw(tmp_path / "plots", measured.workloads, grown)
    report.write(tmp_path, measured)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert results["receive_usage_ratio"] == 2
    assert results["workloads"]["single"]["gratis"]["client_cpu_us"] == 11
    assert set(results["cold_start_ratio"].values()) == {1}
    assert "| `single`: write units an event | ≤ 4.1 | 2 | counted | yes |" in page
    assert "| start of `close_day`, times a bare client's | ≤ 1.1 | 1 | 1 to 1 | yes |" in page
    assert results["rounds"]["single"]["gratis"]["events"] == 300
    assert results["asking"]["read_units"] == 3
    assert "| cold, until it was answered | 2.00 × (500 ms) | 3.00 × (750 ms) |" in page
    assert "| warm, an answer | 5.0 ms | 10.0 ms |" in page
    assert "{" not in page
    assert len(list(tmp_path.glob("plots/*.svg"))) == 5


# --- what is committed ---------------------------------------------------------------------------------------------


def test_the_committed_results_have_every_figure() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert set(results["workloads"]) == set(SIZES)
    figures = {"write_units", "read_units", "calls", "client_cpu_us", "usd_per_million"}
    for name, designs in results["workloads"].items():
        assert set(designs) == {*DESIGNS} | ({STREAMED} if SIZES[name].stream else set())
        speed = {"events_per_second"} if name in report.HOT else set()
        assert all(set(each) == figures | speed for each in designs.values())
        rounds = results["rounds"][name]
        assert {len(each["client_cpu_us"]) for each in rounds.values()} == {SIZES[name].repeats}
    nobody_waits = {"check_offer", "send_webhooks"}
    functions = {app.parent.name for app in (ROOT / "functions").glob("*/app.py")} - nobody_waits
    assert set(results["cold_start_ratio"]) == functions
    assert set(results["start_cpu_s"]) == functions
    assert {"ministack", "boto3", "Python"} < results["machine"].keys()
    assert set(results["growth"]) == set(Grown.__dataclass_fields__)
    assert set(results["asking"]) == set(Asking.__dataclass_fields__)


def test_the_committed_pages_show_every_plot() -> None:
    page = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("benchmarks/README.md", "docs/scaling.md"))
    plots = {file.name for file in Path(ROOT / "benchmarks/plots").glob("*.svg")}
    assert {name for name in plots if f"plots/{name})" in page} == plots != set()


def test_closing_asks_of_the_benchmarks_store_what_it_asks_of_the_engine(bench: Bench, tmp_path: Path) -> None:
    day, held = moment.day_of(datetime.now(UTC)) - moment.DAY, []
    with contextlib.closing(Store(tmp_path / "store.sqlite")) as store:
        for client in (bench.designs["gratis"].client, store.client()):
            fill(client, "org_closed", day, 250)
            held.append(closing(client, "org_closed", day))
    engines, stores = held
    assert (engines.decisions, stores.decisions) == (250, 250)
    assert (stores.calls, stores.write_units) == (engines.calls, engines.write_units)


def test_the_benchmarks_store_hands_out_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.closing.PAGE_BYTES", 5000)
    day = moment.day_of(datetime.now(UTC)) - moment.DAY
    with contextlib.closing(Store(tmp_path / "store.sqlite")) as store:
        client = store.client()
        fill(client, "org_closed", day, 250)
        found = closing(client, "org_closed", day)
    assert found.decisions == 250
    assert found.calls > 45
