"""What a month comes to: by its own hours, the last day's mean, and the money set aside for outages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import boto3
import pytest

from spillway.contracts.function_config import CutoffConfig
from spillway.runtime.functions.cost_history import Hour, forecast, hours, hours_left
from spillway.runtime.functions.cutoff import State, decide
from stacks.pricing import usd_per_hour
from stacks.sites import burst_sites
from stacks.stack_file import read_settings
from tests.stacks.files import example, flat, secrets_for

NOW = datetime(2026, 11, 6, tzinfo=UTC)
LEFT_H = 25 * 24
AT_REST, AT_MOST = 3.87, 14.42
"""US dollars an hour of prod's burst endpoints."""


def past(days: float, rate: float = AT_REST) -> list[Hour]:
    return [Hour(NOW - timedelta(hours=passed), rate) for passed in range(int(days * 24), 0, -1)]


def test_hours_left_ends_with_the_month() -> None:
    assert hours_left(datetime(2026, 11, 30, 23, tzinfo=UTC)) == 1
    assert hours_left(datetime(2028, 2, 1, tzinfo=UTC)) == 29 * 24


def test_the_rest_of_the_month_counts_at_the_last_days_mean() -> None:
    assert forecast(past(5), AT_MOST, 0, NOW) == pytest.approx(AT_REST * (5 * 24 + LEFT_H))


def test_an_hour_of_outage_is_not_taken_for_a_month_of_it() -> None:
    """Prod with its private site out on day 5: its live rate for the rest of the month is above its ceiling, 8,000."""
    known = [*past(5)[:-1], Hour(NOW - timedelta(hours=1), AT_MOST)]
    assert AT_REST * 119 + AT_MOST * (1 + LEFT_H) > 8000
    assert forecast(known, AT_MOST, 0, NOW) < 3200


def test_a_stack_without_a_past_goes_by_what_it_costs_now() -> None:
    assert forecast([], 2.0, 0, NOW) == 2.0 * LEFT_H


def test_what_is_set_aside_for_outages_does_not_count_and_what_is_beyond_it_does() -> None:
    out = [Hour(NOW - timedelta(hours=passed), AT_MOST, AT_MOST) for passed in range(10, 0, -1)]
    known = [*past(5)[:-10], *out]
    usual, spent = AT_REST * 110, AT_MOST * 10
    day = AT_REST * 14 / 24
    assert forecast(known, AT_MOST, 1000, NOW) == pytest.approx(usual + day * LEFT_H)
    beyond = forecast(known, AT_MOST, 100, NOW)
    assert beyond == pytest.approx(usual + spent - 100 + (AT_REST * 14 + spent) / 24 * LEFT_H)


def test_an_hour_without_a_word_costs_what_the_one_before_did(aws: None) -> None:
    client, now = boto3.client("cloudwatch"), datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
    for ago, value in ((4, 2.0), (1, 6.0)):
        data = {"MetricName": "BurstDollarsPerHour", "Value": value, "Timestamp": now - timedelta(hours=ago)}
        listed = [{**data, "Dimensions": [{"Name": "Stack", "Value": "prod"}]}]
        client.put_metric_data(Namespace="Spillway", MetricData=listed)
    assert [hour.burst for hour in hours(client, "prod", now)] == [2.0, 2.0, 2.0, 6.0]


def test_an_hour_of_outage_under_prods_ceilings_closes_nothing() -> None:
    """The private site out on day 5, all that prod may burst to for an hour: before, the forecast closed P2 and P1."""
    prod = example("prod")
    settings = read_settings(flat({**prod, **secrets_for(prod)}))
    costs, machines = settings.cost_guard, [one for site in burst_sites(settings) for one in site.machines()]
    assert sum(usd_per_hour(settings, one, one.most) for one in machines if one.least) == pytest.approx(AT_MOST)
    order = tuple(request_class.value for request_class in costs.cutoff.order)
    ceilings, calm = ("burst", "forecast"), ("calm-burst", "calm-forecast")
    config = CutoffConfig("/s", ceilings, calm, order, costs.cutoff.escalate_after_s, costs.cutoff.reopen_after_s, True)
    state = State()
    for minute in range(60):
        now = NOW + timedelta(minutes=minute)
        month = forecast([*past(5), Hour(NOW, AT_MOST)], AT_MOST, costs.outage_usd_per_month, now)
        above = {
            "burst": AT_MOST / costs.max_burst_usd_per_hour,
            "forecast": month / costs.max_forecast_usd,
        }
        alarms = {name: "ALARM" if share > 1 else "OK" for name, share in above.items()}
        alarms |= {f"calm-{n}": "ALARM" if share > costs.cutoff.reopen_below else "OK" for n, share in above.items()}
        state = decide(state, alarms, config, now)
    assert state == State()
