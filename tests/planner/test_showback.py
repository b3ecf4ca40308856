"""Who caused what: from CloudWatch (the twin's moto server) as the agents and the cost function fill it."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from spillway.contracts import metrics
from spillway.contracts.months import month_start, next_month
from spillway.contracts.usage import UsageMetrics
from spillway.page.page import write_page
from spillway.planner.errors import PlannerError
from spillway.planner.showback import (
    NOBODY,
    Showback,
    Whose,
    allocate,
    as_csv,
    cents,
    month_of,
    page_of,
    read_showback,
    split,
)
from spillway.runtime.functions.cost_signal import Value
from spillway.runtime.functions.cost_signal import publish as publish_cost
from spillway.runtime.gateway.usage_report import UsageReport
from tests.support.browser import LOOKS, Look, problems

# The emulated account is the process's: other tests have a stack of the usual name there.
STACK = "spillway-showback"
DAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
NEXT = DAY + timedelta(days=1)
PRIVATE = 13.8048
ALICE, BOB = ("alice", "P0"), ("bob", "P2")
MODEL = "chat"


class At:
    """CloudWatch, where everything is said to have been at a time of the past."""

    def __init__(self, cloudwatch: Any, at: datetime) -> None:
        self._cloudwatch, self._at = cloudwatch, at

    def put_metric_data(self, Namespace: str, MetricData: list[dict[str, Any]]) -> None:  # noqa: N803
        data = [{**one, "Timestamp": self._at} for one in MetricData]
        self._cloudwatch.put_metric_data(Namespace=Namespace, MetricData=data)


@pytest.fixture(scope="module")
def cloudwatch() -> Iterator[Any]:
    """A day: alice by day, bob at night, both in the evening; burst grows from 14:00 to 17:59 and is idle else."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    client = boto3.client("cloudwatch", region_name="us-east-1", endpoint_url=f"http://{host}:{port}", **keys)
    counts: defaultdict[tuple[str, str, str, str, str], float] = defaultdict(float)
    report = UsageReport(UsageMetrics(region="us-east-1", stack=STACK), counts)
    for hour in range(24):
        at = DAY + timedelta(hours=hour, minutes=20)
        for who in ([ALICE] if 8 <= hour < 18 else []) + ([BOB] if hour < 5 or 17 <= hour < 20 else []):
            sites = ["private", "sagemaker"] if 14 <= hour < 18 else ["private"]
            for site in sites:
                counts[(*who, site, MODEL, "prompt")] += 1000.0 + 37 * hour
                counts[(*who, site, MODEL, "completion")] += 333.0
                counts[(*who, site, MODEL, "answers")] += 7
        report.publish(At(client, at).put_metric_data)
        publish_cost(At(client, at), STACK, [Value(metrics.BURST_USD_PER_HOUR, burst_at(hour))])
    yield client
    server.stop()


def burst_at(hour: int) -> float:
    return (5 if 14 <= hour < 18 else 2) * 1.408 + 2 * 0.526


def of_the_day(cloudwatch: Any, **more: Any) -> Showback:
    return read_showback(cloudwatch, STACK, PRIVATE, ["sagemaker", "azure_ml"], (DAY, NEXT), **more)


def test_a_days_bill_is_what_stood_times_its_price_to_the_cent(cloudwatch: Any) -> None:
    found = of_the_day(cloudwatch)
    whole = sum(PRIVATE + burst_at(hour) for hour in range(24))
    assert found.micro_usd == pytest.approx(whole * 1e6, abs=24)
    assert sum(cents(found).values()) == round(whole * 100)
    assert found.unpriced == 0
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert sum(round(float(row["usd"]) * 1e6) for row in rows) == found.micro_usd


def test_each_hours_dollars_go_to_whom_a_site_answered(cloudwatch: Any) -> None:
    lines = {(line.hour.hour, line.whose): line for line in of_the_day(cloudwatch).lines}
    alone = lines[10, Whose(*ALICE, MODEL, "private")]
    assert alone.micro_usd == round(PRIVATE * 1e6)
    assert alone.used[metrics.PROMPT_TOKENS] == 1370
    idle = lines[10, Whose(NOBODY, "", "", "sagemaker+azure_ml")]
    assert idle.micro_usd == round(burst_at(10) * 1e6)
    both = [lines[17, Whose(*who, MODEL, "private")].micro_usd for who in (ALICE, BOB)]
    assert sum(both) == round(PRIVATE * 1e6)
    assert both[0] == pytest.approx(both[1], abs=1), "they used as much"
    spilled = [lines[17, Whose(*who, MODEL, "sagemaker")].micro_usd for who in (ALICE, BOB)]
    assert sum(spilled) == round(burst_at(17) * 1e6)
    assert lines[23, Whose(NOBODY, "", "", "private")].micro_usd == round(PRIVATE * 1e6)


def test_a_prompt_that_the_server_knew_costs_a_tenth_of_another() -> None:
    known, new = (Whose(*who, MODEL, "private") for who in (ALICE, BOB))
    used = {known: {metrics.PROMPT_TOKENS: 5000.0, metrics.CACHED_TOKENS: 4000.0}, new: {metrics.PROMPT_TOKENS: 1400.0}}
    parts = allocate({DAY: used}, [(("private",), {DAY: 2.0})], [DAY])
    assert {line.whose: line.micro_usd for line in parts} == {known: 1_000_000, new: 1_000_000}


def test_tokens_are_what_the_agents_counted(cloudwatch: Any) -> None:
    answers, tokens, _ = of_the_day(cloudwatch).by_client()["bob"]
    hours = [*range(5), 17, 17, 18, 19]
    assert answers == 7 * len(hours)
    assert tokens == sum(1333 + 37 * hour for hour in hours)


def test_burst_is_priced_by_site_where_the_cost_function_says_it_by_site(cloudwatch: Any) -> None:
    at = At(cloudwatch, DAY - timedelta(hours=3, minutes=30))
    values = [Value(metrics.BURST_USD_PER_HOUR, 3.0)]
    for site, usd in (("sagemaker", 2.0), ("azure_ml", 1.0)):
        values.append(Value(metrics.BURST_USD_PER_HOUR, usd, {metrics.SITE: site}))
    publish_cost(at, STACK, values)
    hour = DAY - timedelta(hours=4)
    span = hour, hour + timedelta(hours=2)
    found = read_showback(cloudwatch, STACK, 1.0, ["sagemaker", "azure_ml"], span)
    parts = {(line.hour, line.whose.site): line.micro_usd for line in found.lines}
    assert parts == {
        (hour, "private"): 1_000_000,
        (hour, "sagemaker"): 2_000_000,
        (hour, "azure_ml"): 1_000_000,
        (hour + timedelta(hours=1), "private"): 1_000_000,
    }
    assert found.unpriced == 1, "an hour without a metric is no hour that cost nothing"


def test_who_is_expected_and_did_nothing_has_no_line(cloudwatch: Any) -> None:
    found = of_the_day(cloudwatch, expected=[Whose("carol", "P1", MODEL, "private")])
    assert "carol" not in found.by_client()


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_has_each_clients_part_and_reads_well_on_every_screen(
    cloudwatch: Any, tmp_path: Path, look: Look
) -> None:
    found = of_the_day(cloudwatch)
    page = tmp_path / "showback.html"
    write_page(page_of(found, {"package": "minilm 1f0c"}), page)
    text = page.read_text(encoding="utf-8")
    for client, bill in cents(found).items():
        assert f"<td>{client}</td>" in text
        assert f'<td class="number">{bill / 100:,.2f}</td>' in text
    assert f"{sum(cents(found).values()) / 100:,.2f} $" in text
    assert "minilm 1f0c" in text
    assert problems(page, look) == []


@given(st.integers(0, 10**12), st.dictionaries(st.text(max_size=3), st.floats(1e-6, 1e9), min_size=1, max_size=20))
def test_parts_are_the_whole(total: int, weights: dict[str, float]) -> None:
    parts = split(total, weights)
    assert sum(parts.values()) == total
    assert all(abs(parts[who] - total * weights[who] / sum(weights.values())) <= 1.001 for who in weights)


def test_a_month_ends_where_the_next_begins() -> None:
    last = datetime(2028, 2, 29, 23, 59, 59, 5, tzinfo=UTC)
    assert (month_start(last), next_month(last)) == (
        datetime(2028, 2, 1, tzinfo=UTC),
        datetime(2028, 3, 1, tzinfo=UTC),
    )
    assert month_of("2026-12") == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    with pytest.raises(PlannerError, match="write year and month"):
        month_of("November")
