"""Zones are asked for: letters differ by region and account."""

from __future__ import annotations

from typing import Any

import boto3
import pulumi
import pytest

from components.connectivity.aws_zones import ZonesError, three_zones
from spillway.twin.aws import functions
from tests.support.recording import record


class Clients:
    def call(self, service: str, region: str, operation: str, params: dict[str, Any]) -> Any:
        name = {"DescribeAvailabilityZones": "describe_availability_zones"}.get(operation)
        return getattr(boto3.client(service, region_name=region), name or "describe_instance_type_offerings")(**params)


def zones(monkeypatch: pytest.MonkeyPatch, region: str, gpu_type: str | None) -> tuple[str, ...]:
    """As the twin's own functions answer a program in that region."""
    from tests.support import recording

    def call(_: Any, asked: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        clients: Any = Clients()
        return functions.invoke(clients, region, asked.token, dict(asked.args))

    monkeypatch.setattr(recording._Mocks, "call", call)
    found: list[tuple[str, ...]] = []
    record(lambda: found.append(three_zones(None, region, gpu_type)))
    return found[0]


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("region", "letters"),
    [("eu-central-1", "abc"), ("ap-southeast-2", "abc"), ("ap-northeast-1", "acd"), ("ca-central-1", "abd")],
)
def test_the_first_three_that_the_account_has(monkeypatch: pytest.MonkeyPatch, region: str, letters: str) -> None:
    assert zones(monkeypatch, region, None) == tuple(region + letter for letter in letters)


@pytest.mark.usefixtures("aws")
def test_a_zone_without_eks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters are shuffled per account in us-east-1: here its c is the zone without."""
    shuffled = dict(zip("abcd", ("use1-az6", "use1-az1", "use1-az3", "use1-az2"), strict=True))
    told = [{"ZoneName": f"us-east-1{letter}", "ZoneId": id_, "State": "available"} for letter, id_ in shuffled.items()]
    monkeypatch.setattr(Clients, "call", lambda *_: {"AvailabilityZones": told})
    assert zones(monkeypatch, "us-east-1", None) == ("us-east-1a", "us-east-1b", "us-east-1d")


@pytest.mark.usefixtures("aws")
def test_a_gpu_that_no_chosen_zone_offers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert zones(monkeypatch, "us-east-1", "g6.12xlarge")
    with pytest.raises(ZonesError, match=r"g0\.12xlarge is offered nowhere in ca-central-1"):
        zones(monkeypatch, "ca-central-1", "g0.12xlarge")
