"""What a stack costs, from its own settings, and which of its prices are old."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from spillway.contracts.prices import find_price
from spillway.twin.deployer.project import read_project, read_stack_config
from stacks.pricing import price_at_peak, price_per_hour, private_capacity, stale_prices
from stacks.settings import StackSettings
from stacks.sites import burst_sites
from stacks.stack_file import read_settings
from tests.stacks.files import PASSPHRASE, ROOT, changed, example, flat


def settings(stack: str) -> StackSettings:
    return read_settings(read_stack_config(read_project(ROOT), stack, PASSPHRASE).values)


@pytest.mark.parametrize(
    ("stack", "gpus", "cloud", "instance_type", "region"),
    [
        ("dev", 1, "azure", "Standard_NC4as_T4_v3", "eastus"),
        ("prod", 12, "ec2", "g6.12xlarge", "us-east-1"),
    ],
)
def test_a_pool_costs_its_list_price(stack: str, gpus: int, cloud: Any, instance_type: str, region: str) -> None:
    chosen = settings(stack)
    here = chosen.azure.location if cloud == "azure" and chosen.azure else chosen.aws.region
    listed = find_price(cloud, instance_type, here)
    assert private_capacity(chosen) == (gpus, pytest.approx(listed.usd_per_gpu_hour)), region
    hourly = price_per_hour(chosen, burst_sites(chosen))
    assert hourly["private"] == pytest.approx(gpus * listed.usd_per_gpu_hour, abs=1e-4)


def test_a_pool_that_is_bought_as_spot_costs_what_spot_does() -> None:
    """As the catalogue knows it, and as the stack file says where it says it."""
    change: dict[str, Any] = {"spillway:private_cluster.gpu_pool.capacity_type": "SPOT"}
    spot = find_price("ec2", "g6.12xlarge", "us-east-1", "spot").usd_per_hour
    assert private_capacity(read_settings(flat(changed(example("prod"), change)))) == (12, pytest.approx(spot / 4))
    change["spillway:cost_guard.prices"] = {"ec2/g6.12xlarge/us-east-1": 1.6}
    assert private_capacity(read_settings(flat(changed(example("prod"), change)))) == (12, pytest.approx(0.4))


def test_a_stack_costs_more_at_its_peak() -> None:
    """By the list: one to two ml.g5.xlarge, two more for the asynchronous endpoint, one to two Standard_NC4as_T4_v3."""
    chosen = settings("local")
    sites = burst_sites(chosen)
    assert price_per_hour(chosen, sites)["total"] == pytest.approx(0.9 + 1.408 + 0.526)
    assert price_at_peak(chosen, sites) == pytest.approx(0.9 + (2 + 2) * 1.408 + 2 * 0.526)


def with_cluster(**changes: Any) -> StackSettings:
    given = settings("local").model_dump(mode="json", exclude_none=True)
    cluster = {**given["private_cluster"], **changes}
    given["private_cluster"] = {key: value for key, value in cluster.items() if value is not None}
    return StackSettings.model_validate(given)


def test_machines_of_ones_own_are_written_off() -> None:
    owned = {"purchase_usd": 310_000, "years": 4, "power_kw": 10.2, "usd_per_kwh": 0.12, "overhead": 1.4}
    chosen = with_cluster(usd_per_node_hour=None, owned=owned, nodes=2, gpus_per_node=8)
    gpus, usd = private_capacity(chosen)
    assert gpus == 16
    assert usd == pytest.approx(310_000 / 4 / 8 / 8760 + 10.2 * 0.12 * 1.4 / 8)


def test_a_node_has_one_price() -> None:
    for changes in ({"owned": {"purchase_usd": 1000}}, {"usd_per_node_hour": None}):
        with pytest.raises(ValueError, match="exactly one of usd_per_node_hour and owned"):
            with_cluster(**changes)


def test_old_prices_are_told_unless_they_are_ones_own() -> None:
    chosen = settings("local")
    sites = burst_sites(chosen)
    assert stale_prices(chosen, sites, date.today()) == []
    later = date.today() + timedelta(days=2000)
    assert [price.instance_type for price in stale_prices(chosen, sites, later)] == [
        "Standard_NC4as_T4_v3",
        "ml.g5.xlarge",
    ]
    given = chosen.model_dump(mode="json", exclude_none=True)
    given["cost_guard"]["prices"] = {"sagemaker/ml.g5.xlarge/us-east-1": 1.4}
    own = StackSettings.model_validate(given)
    assert [price.instance_type for price in stale_prices(own, burst_sites(own), later)] == ["Standard_NC4as_T4_v3"]
