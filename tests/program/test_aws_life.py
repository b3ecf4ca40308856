"""`prod` taken through its life in AWS: in stages, changed, rolled back by an alarm, taken down, and up again.

After each step a second `up` would change nothing, and no rule finds anything but what the example exempts. Driven by
the embedded deployer, and by Pulumi's own engine where it is on PATH.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies.catalogue import ALL
from policies.judge import judge
from policies.resources import Context
from spillway.twin.deployer.api import DeployerError, UpResult
from spillway.twin.deployer.policy import plain_resources
from stacks.stack_file import read_settings
from tests.program.emulated_sagemaker import alarm, answer_5xx, client, serving
from tests.program.engines import ENGINES
from tests.program.site import Site, site
from tests.stacks.files import changed, flat
from tests.support.packages import small_package
from tests.support.waiting import eventually

pytestmark = [pytest.mark.heavy, pytest.mark.soak, pytest.mark.timeout(1800)]

S = "spillway:"
FOUNDATION = {f"{S}stage": "foundation"}
LARGER = "spillway-test-burst-real-time-ml-g5-2xlarge"
QUESTIONS = [policy for policy in ALL if policy.name in ("services-accept", "changes-go-through", "flows-open")]


@pytest.fixture(params=ENGINES)
def prod(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = site(tmp_path, "prod", {f"{S}protect_data": False})
    try:
        yield replace(made, engine=request.param)
    finally:
        made.servers.stop()


def up(made: Site, changes: dict[str, Any]) -> UpResult:
    deployer = made.changed_to(changes)
    done = deployer.up()
    policies = read_settings(flat(changed(made.config, changes))).policies
    verdict = judge(plain_resources(done.resources), policies, Context(), QUESTIONS)
    assert [(v.finding.rule, v.finding.message) for v in verdict.violations] == []
    assert {step.op for step in deployer.preview().steps} <= {"same", "read"}
    return done


def endpoints(made: Site) -> set[str]:
    return {one["EndpointName"] for one in client(made).list_endpoints()["Endpoints"]}


def test_it_is_brought_up_changed_rolled_back_taken_down_and_brought_up_again(prod: Site, tmp_path: Path) -> None:
    up(prod, FOUNDATION)
    up(prod, {})
    first, _ = serving(prod)

    second = {f"{S}package.path": str(small_package(tmp_path / "second", slots=6))}
    up(prod, second)
    assert serving(prod)[0] != first

    larger = {**second, f"{S}burst.sagemaker.instance_type": "ml.g5.2xlarge"}
    up(prod, larger)
    assert {one for one in endpoints(prod) if "real-time" in one} == {LARGER}
    served, _ = serving(prod, LARGER)

    third = {**larger, f"{S}package.path": str(small_package(tmp_path / "third", slots=8))}
    answer_5xx(prod, [1.0], LARGER)
    eventually(lambda: alarm(prod) == "ALARM", 20, "the alarm of the rollout fires")
    with pytest.raises(DeployerError, match=r"RollingBack.*burst-5xx"):
        prod.changed_to(third).up()
    assert serving(prod, LARGER)[0] == served
    answer_5xx(prod, [0.0] * 99, LARGER)
    eventually(lambda: alarm(prod) == "OK", 20, "the alarm is calm")
    up(prod, larger)
    assert client(prod).describe_endpoint_config(EndpointConfigName=serving(prod, LARGER)[0])
    up(prod, third)

    prod.changed_to(third).destroy()
    assert endpoints(prod) == set()
    up(prod, {**third, **FOUNDATION})
    up(prod, third)
    assert LARGER in endpoints(prod)
