"""The past from CloudWatch: the twin's own moto server, filled as the cost function fills it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from spillway.contracts import metrics
from spillway.planner.errors import PlannerError
from spillway.planner.history import Fleet, Sizes, read_history, what_if

NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
SAGEMAKER = Fleet("sagemaker", 1.408, least=1, most=4)


@pytest.fixture(scope="module")
def cloudwatch() -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    client = boto3.client("cloudwatch", region_name="us-east-1", endpoint_url=f"http://{host}:{port}", **keys)
    # Two days: one burst instance at 1.408 $/h, and three of them from hour 10 to 15 of each day.
    for hour in range(1, 49):
        instances = 3 if 10 <= hour % 24 < 15 else 1
        for minute in (5, 35):
            at = NOW - timedelta(hours=hour) + timedelta(minutes=minute - 30)
            put(client, at, metrics.BURST_USD_PER_HOUR, 1.408 * instances)
            put(client, at, metrics.USD_PER_GPU_HOUR, 1.0, metrics.BLENDED)
            put(client, at, metrics.BURST_USD_PER_HOUR, 1.408 * instances + 2 * 0.5, stack="spillway-both")
            put(client, at, metrics.BURST_USD_PER_HOUR, 2 * 0.5, "azure_ml", stack="spillway-both")
    yield client
    server.stop()


def put(client: Any, at: datetime, metric: str, value: float, site: str = "", stack: str = "spillway-prod") -> None:
    dimensions = [{"Name": "Stack", "Value": stack}] + ([{"Name": "Site", "Value": site}] if site else [])
    data = {"MetricName": metric, "Timestamp": at, "Value": value, "Dimensions": dimensions}
    client.put_metric_data(Namespace=metrics.NAMESPACE, MetricData=[data])


def test_the_past_is_read_and_priced_with_other_sizes(cloudwatch: Any) -> None:
    history = read_history(cloudwatch, "spillway-prod", NOW, days=2)
    assert len(history.hours) == 48
    assert history.covered == pytest.approx(48 / 48, abs=0.05)
    mean = (10 * 3 + 38 * 1) / 48 * 1.408
    assert history.mean_burst == pytest.approx(mean)
    assert history.mean_blended == pytest.approx(1.0)
    choices = {c.name: c for c in what_if(history, Sizes(2.0, (SAGEMAKER,)))}
    assert choices["as it is"].month == pytest.approx((mean + 2.0) * 730)
    assert choices["as it is"].short_hours == 0
    assert choices["sagemaker: one more at least"].month == pytest.approx(((10 * 3 + 38 * 2) / 48 * 1.408 + 2.0) * 730)
    assert choices["sagemaker: half the most"].month == pytest.approx(((10 * 2 + 38) / 48 * 1.408 + 2.0) * 730)
    assert choices["sagemaker: half the most"].short_hours == pytest.approx(10 / 48)
    assert choices["sagemaker: one fewer at least"].month == pytest.approx(((10 * 3) / 48 * 1.408 + 2.0) * 730)
    assert choices["no burst, and nobody answers what it did"].month == pytest.approx(2.0 * 730)
    assert choices["no burst, and nobody answers what it did"].short_hours == 1


def test_no_metric_is_an_error_and_never_a_bill_of_zero(cloudwatch: Any) -> None:
    with pytest.raises(PlannerError, match="no Spillway/BurstDollarsPerHour of stack 'spillway-dev'"):
        read_history(cloudwatch, "spillway-dev", NOW)


def test_each_site_is_counted_at_its_own_price(cloudwatch: Any) -> None:
    """Azure's dollars are told by site; what is left of the sum is SageMaker's."""
    history = read_history(cloudwatch, "spillway-both", NOW, days=2, sites=("sagemaker", "azure_ml"))
    sizes = Sizes(2.0, (SAGEMAKER, Fleet("azure_ml", 0.5, least=1, most=2)))
    choices = {c.name: c for c in what_if(history, sizes)}
    sagemaker = (10 * 3 + 38 * 1) / 48 * 1.408
    assert choices["as it is"].month == pytest.approx((sagemaker + 2 * 0.5 + 2.0) * 730)
    half = choices["azure_ml: half the most"]
    assert (half.month, half.short_hours) == (pytest.approx((sagemaker + 0.5 + 2.0) * 730), 1)
    more = ((10 * 3 + 38 * 2) / 48 * 1.408 + 2 * 0.5 + 2.0) * 730
    assert choices["sagemaker: one more at least"].month == pytest.approx(more)
    assert choices["azure_ml: one more at least"].month == choices["as it is"].month, "two ran all the time"


@pytest.mark.parametrize("fleet", [Fleet("sagemaker", 0.0, 1, 2), Fleet("sagemaker", 1.0, 3, 2)])
def test_sizes_that_are_none_are_refused(cloudwatch: Any, fleet: Fleet) -> None:
    history = read_history(cloudwatch, "spillway-prod", NOW, days=2)
    with pytest.raises(PlannerError, match="sagemaker: "):
        what_if(history, Sizes(1.0, (fleet,)))
