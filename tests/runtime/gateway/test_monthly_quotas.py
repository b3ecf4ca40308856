"""Quotas of a month over all gateways: what CloudWatch (the twin's moto server) adds up, and what each counts since."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from spillway.contracts.usage import Usage, UsageMetrics
from spillway.runtime.gateway.agent import Agent
from spillway.runtime.gateway.monthly_quotas import Quotas
from spillway.runtime.gateway.token_budgets import TokenBudgets
from spillway.runtime.gateway.usage_report import UsageReport, tokens_of
from tests.support.gateway_rig import Rig

WHERE = UsageMetrics(region="us-east-1", stack="spillway-prod")
NOW = datetime.now(UTC)


@pytest.fixture
def cloudwatch() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("cloudwatch", region_name="us-east-1")


class Gateway:
    """One process: it counts, tells and reads."""

    def __init__(self, cloudwatch: Any, limit: int = 1000) -> None:
        self.cloudwatch = cloudwatch
        self.now = NOW
        self.counts: defaultdict[tuple[str, str, str, str, str], float] = defaultdict(float)
        self.report = UsageReport(WHERE, self.counts, ["alpha"])
        self.quotas = Quotas(
            "spillway-prod", {"alpha": limit}, lambda who: tokens_of(self.counts, who), lambda: self.now
        )

    def answers(self, tokens: int) -> None:
        self.counts["alpha", "P1", "private", "m", "prompt"] += tokens - 100
        self.counts["alpha", "P1", "private", "m", "completion"] += 100
        self.counts["alpha", "P1", "private", "m", "cached"] += 50

    def tell_and_read(self) -> None:
        self.report.publish(self.cloudwatch.put_metric_data)
        self.now = datetime.now(UTC) + timedelta(minutes=1)
        self.quotas.read(self.cloudwatch.get_metric_data)


def test_what_all_gateways_together_answered_counts(cloudwatch: Any) -> None:
    one, other = Gateway(cloudwatch), Gateway(cloudwatch)
    one.answers(600)
    other.answers(300)
    other.tell_and_read()
    one.tell_and_read()
    assert one.quotas.used("alpha") == 900
    assert one.quotas.wait_s("alpha") == 0
    one.answers(150)
    assert one.quotas.used("alpha") == 1050, "what it has counted since it read"
    assert one.quotas.wait_s("alpha") > 0
    assert one.quotas.wait_s("beta") == 0, "who has no quota"


def test_who_has_used_his_month_waits_for_the_next(cloudwatch: Any) -> None:
    gateway = Gateway(cloudwatch, limit=500)
    gateway.answers(500)
    gateway.tell_and_read()
    month = gateway.now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (month + timedelta(days=32)).replace(day=1)
    assert gateway.quotas.wait_s("alpha") == pytest.approx((following - gateway.now).total_seconds(), abs=1)
    gateway.now = following
    assert gateway.quotas.wait_s("alpha") == 0


def test_it_is_said_once_that_a_quota_comes_to_its_end(cloudwatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    gateway = Gateway(cloudwatch)
    said = []
    for tokens in (700, 150, 20, 200):
        gateway.answers(tokens)
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            gateway.tell_and_read()
            said.append([record.getMessage() for record in caplog.records])
    assert said == [
        [],
        ["alpha has used 85 % of the month's tokens"],
        [],
        ["alpha has used 107 % of the month's tokens"],
    ]
    assert list(gateway.quotas.metrics()) == ['spillway_quota_used_ratio{client="alpha"} 1.0700']


def test_an_agent_refuses_who_is_above_his_quota(tmp_path: Path) -> None:
    """In every class, whether or not that has tokens by the minute."""
    table = Rig(tmp_path).table
    alpha = table.clients[0].model_copy(update={"tokens_per_month": 50})
    table = table.model_copy(update={"clients": (alpha, *table.clients[1:]), "usage": WHERE})
    budgets: TokenBudgets = Agent(table).budgets
    assert budgets.reserve("1", "alpha", "P0", 30) == 0
    about = {"id": "1", "client": "alpha", "request_class": "P0", "site": "private", "status": 200, "model": "m"}
    numbers = {
        "streamed": "-",
        "first_ms": "-",
        "duration_ms": 5,
        "reserved": 30,
        "prompt": 40,
        "completion": 20,
        "cached": 0,
    }
    budgets.settle(Usage.model_validate({**about, **numbers}))
    assert budgets.reserve("2", "alpha", "P2", 1) > 0
    assert budgets.refused["alpha", "P2"] == 1
    assert budgets.reserve("3", "gamma", "P1", 10**6) == 0
    assert 'spillway_quota_used_ratio{client="alpha"} 1.2000' in list(budgets.metrics())
