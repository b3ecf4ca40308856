"""Custom roles, and the wait until rights are in force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pulumi
import pytest
from pulumi_azure_native import authorization, managedidentity

from components import azure_roles
from components.azure_roles import IN_FORCE_S, grant_actions, in_force, left_s
from components.base import Component
from tests.support.recording import context, record

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def ago(seconds: float, now: datetime = NOW) -> str:
    """As Resource Manager writes moments: seven digits behind the second."""
    return f"{now - timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.1234567Z"


def test_the_youngest_assignment_is_waited_for_and_clocks_that_differ_cost_no_more() -> None:
    assert left_s([ago(3600), ago(60)], 180, NOW) == pytest.approx(120, abs=1)
    assert left_s([ago(3600)], 180, NOW) == 0
    assert left_s([ago(-500)], 180, NOW) == 180
    assert left_s([], 180, NOW) == 0


def test_a_role_of_ones_own_is_given_when_azure_knows_it_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(azure_roles.asyncio, "sleep", sleep)
    monkeypatch.delenv(azure_roles.IN_FORCE_VARIABLE, raising=False)

    def build() -> None:
        grant_actions(Component("c", context()), "who", ["*/read"], "p", "/groups/g", {"scope": "/groups/g/x"})

    made = {"azure-native:authorization:RoleDefinition": {"createdOn": ago(20, datetime.now(UTC))}}
    found = [one.name for one in record(build, made)]
    assert found[-2:] == ["spillway-test-role-who", "spillway-test-role-who-scope"]
    assert [one for one in waited if one] == [pytest.approx(IN_FORCE_S - 20, abs=5)]


def test_what_uses_rights_is_made_when_they_are_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(azure_roles.asyncio, "sleep", sleep)
    monkeypatch.delenv(azure_roles.IN_FORCE_VARIABLE, raising=False)

    def build() -> None:
        assignment = authorization.RoleAssignment("a", scope="s", principal_id="p", role_definition_id="r")
        managedidentity.UserAssignedIdentity(
            "user",
            resource_group_name="g",
            opts=pulumi.ResourceOptions(depends_on=[assignment, in_force([assignment])]),
        )

    made = {"azure-native:authorization:RoleAssignment": {"createdOn": ago(20, datetime.now(UTC))}}
    assert [one.name for one in record(build, made)] == ["a", "user"]
    assert [one for one in waited if one] == [pytest.approx(IN_FORCE_S - 20, abs=5)]
