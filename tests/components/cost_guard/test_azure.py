"""What watches Azure: alerts and dashboard, the budget, and the federated credential."""

from __future__ import annotations

import re
from typing import Any

import pytest

from components.base import StackContext
from components.cost_guard.azure import AzureCostGuard, AzureCostGuardArgs
from components.cost_guard.settings import CostSettings
from components.monitoring.azure import AzureMonitoring, AzureMonitoringArgs, window
from components.monitoring.settings import MonitoringSettings
from tests.support.recording import Recorded, context, of_type, record

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
ENDPOINT = "/subscriptions/s/onlineEndpoints/burst"


def one(found: list[Recorded], name: str) -> dict[str, Any]:
    (only,) = of_type(found, f"azure-native:{name}")
    return only.inputs


def watched(
    settings: dict[str, Any] | None = None,
    emails: tuple[str, ...] = ("a@example.com",),
    stack: StackContext | None = None,
) -> list[Recorded]:
    args = AzureMonitoringArgs(
        settings=MonitoringSettings.model_validate(settings or {}),
        resource_group_name="rg",
        location="westeurope",
        tenant_id="tenant",
        endpoint_id=ENDPOINT,
        deployment_ids={"blue": f"{ENDPOINT}/deployments/blue"},
        notify_emails=emails,
    )
    return record(lambda: AzureMonitoring(stack or context(), args))


def criteria(found: list[Recorded]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    alerts = {r.inputs["ruleName"]: r.inputs for r in of_type(found, "azure-native:monitor:MetricAlert")}
    return {name.removeprefix("spillway-test-"): (a, a["criteria"]["allOf"][0]) for name, a in alerts.items()}


def test_alerts_watch_latency_failures_refusals_and_gpus() -> None:
    found = criteria(watched({"max_latency_p99_s": 4, "max_gpu_utilisation": 0.8, "max_failures_per_minute": 3}))
    assert set(found) == {"latency-p99", "failures", "refusals", "gpu-saturation-blue"}
    latency, failures, refusals, gpu = (
        found[n][1] for n in ("latency-p99", "failures", "refusals", "gpu-saturation-blue")
    )
    assert (latency["metricName"], latency["threshold"]) == ("RequestLatency_P99", 4000)
    assert failures["dimensions"] == [{"name": "statusCodeClass", "operator": "Include", "values": ["5xx"]}]
    assert refusals["dimensions"] == [{"name": "statusCode", "operator": "Include", "values": ["429"]}]
    assert (failures["threshold"], refusals["threshold"]) == (3, 3)
    assert (gpu["metricName"], gpu["threshold"]) == ("GpuUtilizationPercentage", 80)
    assert found["gpu-saturation-blue"][0]["scopes"] == [f"{ENDPOINT}/deployments/blue"]
    assert found["latency-p99"][0]["scopes"] == [ENDPOINT]
    for alert, _ in found.values():
        assert alert["actions"] == [{"actionGroupId": "spillway-test-notices-id"}]


def test_action_group_tells_every_address() -> None:
    group = one(watched(emails=("a@example.com", "b@example.com")), "monitor:ActionGroup")
    assert [r["emailAddress"] for r in group["emailReceivers"]] == ["a@example.com", "b@example.com"]
    assert len(group["groupShortName"]) <= 12


@pytest.mark.parametrize(("minutes", "found"), [(1, "PT1M"), (2, "PT5M"), (5, "PT5M"), (16, "PT30M"), (60, "PT1H")])
def test_window_is_one_that_azure_offers(minutes: int, found: str) -> None:
    assert window(minutes) == found


def test_a_dashboard_of_a_long_stack_has_a_name_that_azure_takes() -> None:
    """As azure-mgmt-portal has it: 3 to 24 letters, digits and hyphens. `plan --write` makes names such as this one."""
    board = one(watched(stack=context(prefix="spillway-prod-planned-for-winter")), "portal:Dashboard")
    assert re.fullmatch(r"[a-zA-Z0-9-]{3,24}", board["dashboardName"])


def test_dashboard_shows_endpoint_and_deployment() -> None:
    (lens,) = one(watched(), "portal:Dashboard")["properties"]["lenses"]
    shown = [part["metadata"]["settings"]["content"]["options"]["chart"]["metrics"][0] for part in lens["parts"]]
    assert {metric["name"] for metric in shown} >= {"RequestLatency_P99", "GpuUtilizationPercentage"}
    assert len({(part["position"]["x"], part["position"]["y"]) for part in lens["parts"]}) == len(lens["parts"])
    assert of_type(watched({"dashboard": False}), "azure-native:portal:Dashboard") == []


def budget(settings: dict[str, Any], group: str | None = "/groups/notices") -> dict[str, Any]:
    args = AzureCostGuardArgs(
        settings=CostSettings.model_validate(settings),
        resource_group_name="rg",
        subscription_id=SUBSCRIPTION,
        node_group_name="nodes",
        action_group_id=group,
    )
    return one(record(lambda: AzureCostGuard(context(), args)), "consumption:Budget")


def test_budget_holds_the_settings_and_tells_in_time() -> None:
    found = budget(
        {
            "budgets": {"azure_usd_per_month": 4000, "alert_percents": [50, 100]},
            "notify_emails": ["finops@example.com"],
        }
    )
    assert found["amount"] == 4000
    assert found["timeGrain"] == "Monthly"
    assert found["scope"] == f"/subscriptions/{SUBSCRIPTION}"
    assert found["filter"]["dimensions"] == {"name": "ResourceGroupName", "operator": "In", "values": ["rg", "nodes"]}
    assert re.fullmatch(r"\d{4}-\d\d-01T00:00:00Z", found["timePeriod"]["startDate"])
    notices = found["notifications"]
    assert set(notices) == {"actual-50", "actual-100", "forecast-100"}
    assert notices["forecast-100"]["thresholdType"] == "Forecasted"
    for notice in notices.values():
        assert notice["contactEmails"] == ["finops@example.com"]
        assert notice["contactGroups"] == ["/groups/notices"]


def test_budget_without_an_address_tells_the_owners() -> None:
    notices = budget({}, group=None)["notifications"]
    assert all(notice["contactRoles"] == ["Owner"] for notice in notices.values())
