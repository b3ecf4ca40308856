"""Two stacks in one account and on one cluster: nothing that one makes is the other's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.program.site import plain
from tests.stacks.files import changed, example
from tests.support.packages import small_package
from tests.support.plans import preview

pytestmark = pytest.mark.heavy

OF_ANOTHER = (
    *("aws:iam/rolePolicy:RolePolicy", "azure-native:monitor:DiagnosticSetting", "aws:route53/zone:Zone"),
    "aws:servicediscovery/service:Service",
    *(f"azure-native:machinelearningservices:{kind}" for kind in ("ModelContainer", "ModelVersion", "Datastore")),
)
"""Names within a role, a resource, a namespace and a workspace; zones of one name may be many in Route 53."""
NAMES = ("name", "bucket", "roleName", "resourceGroupName", "dashboardName", "functionName")


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    found = []
    for name in ("search", "vision"):
        folder = tmp_path_factory.mktemp(name)
        package = small_package(folder / "package")
        keys = {"spillway:package.path": str(package), "spillway:name": name, "spillway:dns.record_name": name}
        made = preview(folder / "project", changed(example("local"), keys)).resources
        found.append([(one.type, plain(one.inputs)) for one in made if one.custom])
    return found


def names(resources: list[Any]) -> Iterator[tuple[str, ...]]:
    for kind, inputs in resources:
        metadata = inputs.get("metadata") or {}
        if "name" in metadata:
            yield kind, metadata.get("namespace", ""), metadata["name"]
        elif kind not in OF_ANOTHER:
            yield from ((kind, inputs[key]) for key in NAMES if isinstance(inputs.get(key), str))


def test_no_two_things_have_one_name(stacks: list[list[Any]]) -> None:
    one, other = map(set, map(names, stacks))
    assert len(one) > 100
    assert one & other == set()


def test_no_alarm_budget_or_monitor_counts_the_other(stacks: list[list[Any]]) -> None:
    """An alarm of one that read the other's metric would close its spill."""
    told = []
    for resources in stacks:
        alarms = [inputs for kind, inputs in resources if kind == "aws:cloudwatch/metricAlarm:MetricAlarm"]
        own = {alarm["dimensions"]["Stack"] for alarm in alarms if "Stack" in (alarm.get("dimensions") or {})}
        budgets = [str(inputs) for kind, inputs in resources if kind == "aws:budgets/budget:Budget"]
        assert len(own) == len(budgets) == 1
        told.append((own.pop(), budgets.pop()))
    (search, of_search), (vision, of_vision) = told
    assert search != vision
    assert search in of_search
    assert vision in of_vision
    assert search not in of_vision
