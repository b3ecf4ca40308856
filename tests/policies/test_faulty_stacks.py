"""The example stacks pass; more than forty faulty ones, made from `prod`, are caught by the policy meant for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from policies.judge import Verdict, judge
from policies.resources import Context
from spillway.contracts.frozen import Settings
from spillway.contracts.resources import Resource
from spillway.twin.deployer.policy import plain_resources
from stacks.stack_file import parse_settings, policy_context
from tests.policies.faults import FAULTS
from tests.policies.support import repeated
from tests.stacks.files import changed, example, flat, secrets_for
from tests.support.packages import small_package
from tests.support.plans import preview

pytestmark = pytest.mark.heavy


@dataclass(frozen=True)
class Planned:
    """An example stack as planned from nothing, and what its file says of the policies."""

    resources: list[Resource]
    settings: Settings
    context: Context

    def verdict(self, resources: list[Resource]) -> Verdict:
        return judge(resources, self.settings, self.context)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Planned]:
    @cache
    def plan(stack: str) -> Planned:
        folder: Path = tmp_path_factory.mktemp(stack)
        config = changed(example(stack), {"spillway:package.path": str(small_package(folder / "package"))})
        config.update(secrets_for(config))
        result = preview(folder / "project", config)
        settings = parse_settings(flat(config))
        secrets = frozenset(value for key, value in config.items() if key.startswith("spillway-secrets:"))
        context = replace(policy_context(settings, folder), secrets=secrets)
        return Planned(plain_resources(result.resources), settings.policies, context)

    return plan


@pytest.mark.parametrize("stack", ["local", "dev", "prod"])
def test_an_example_stack_passes(planned, stack: str) -> None:  # pyright: ignore[reportMissingParameterType]
    verdict = planned(stack).verdict(planned(stack).resources)
    told = [
        (v.policy.name, v.finding.resource and v.finding.resource.name, v.finding.message) for v in verdict.mandatory
    ]
    assert told == []
    assert all(exempted.reason for exempted in verdict.exempted)


def test_there_are_at_least_forty_faults() -> None:
    assert len(FAULTS) >= 40


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_by_the_policy_meant_for_it(planned: Callable[[str], Planned], fault: str) -> None:
    meant, apply = FAULTS[fault]
    prod = planned("prod")
    faulty = apply(prod.resources)
    before = {(v.policy.name, v.finding.message) for v in prod.verdict(prod.resources).violations}
    new = [v for v in prod.verdict(faulty).violations if (v.policy.name, v.finding.message) not in before]
    # What a policy forbids the cloud itself may refuse as well: a fault that leaves something out, mostly.
    assert {v.policy.name for v in new} - {"services-accept", "changes-go-through"} == {meant}
    for violation in new:
        resource = violation.finding.resource
        own = getattr(prod.settings, violation.policy.key).model_dump()
        assert resource is None or repeated(violation, [resource], own) == []
