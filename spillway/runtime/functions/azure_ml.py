"""Azure ML for the cost signal and the cut-off: live instances by Resource Manager, and their minimum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError

from spillway.contracts.function_config import AzureMachines, AzureSource, HeldDeployment
from spillway.runtime.functions import azure
from spillway.runtime.functions.site import CapacityError, Live

SETTLED = ("Succeeded", "Failed", "Canceled")
"""A deployment's states in which nothing is being changed."""


def read(asked: Mapping[str, Any], bearer: str | None = None) -> list[Live]:
    """Live instances that Resource Manager reports at each address."""
    source = AzureSource.of(asked)
    bearer = azure.token(source.identity) if bearer is None else bearer
    return [_instances(one, azure.call(one.url, bearer)) for one in source.machines]


def _instances(machines: AzureMachines, answer: Any) -> Live:
    count, size = _at(answer, machines.count), _at(answer, machines.size)
    if not isinstance(count, int):
        raise CapacityError(f"{machines.url} does not report {'.'.join(machines.count)}")
    if not isinstance(size, str):
        raise CapacityError(f"{machines.url} does not report {'.'.join(machines.size)}")
    return Live(size, count, machines.percent, _is_settled(answer))


def _is_settled(answer: Mapping[str, Any]) -> bool:
    return answer.get("properties", {}).get("provisioningState", "Succeeded") in SETTLED


def _at(value: Any, path: Iterable[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def hold(asked: Mapping[str, Any], minimum: int, held: bool, bearer: str | None = None) -> None:
    """Switch the deployment's autoscale setting off and lower its count to ``minimum``, or switch it on again."""
    target = HeldDeployment.of(asked)
    bearer = azure.token(target.identity) if bearer is None else bearer
    setting = azure.call(target.autoscale_url, bearer)["properties"]
    if setting.get("enabled", True) == held:
        # A change has to name the profiles, too.
        changed = {"profiles": setting["profiles"], "enabled": not held}
        azure.call(target.autoscale_url, bearer, {"properties": changed})
    if held:
        _lower(target.deployment_url, minimum, bearer)


def _lower(url: str, minimum: int, bearer: str) -> None:
    """Azure takes minutes for it, and no other change meanwhile: the next minute asks again."""
    live = azure.call(url, bearer)
    if not _is_settled(live) or live["sku"]["capacity"] <= minimum:
        return
    try:
        azure.call(url, bearer, {"sku": {"capacity": minimum}})
    except HTTPError as error:
        if error.code != HTTPStatus.CONFLICT:
            raise
