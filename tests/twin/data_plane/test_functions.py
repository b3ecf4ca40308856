"""Deployed functions run as they were deployed: their files, their environment, their time limit."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spillway.twin.data_plane.deployed import aws_client
from spillway.twin.data_plane.processes.functions import Deployment, Environments, Runner, period_of
from tests.support.waiting import eventually

REGION = "eu-west-1"
CODE = {
    "spillway/runtime/probe.py": """
import os, time
def handler(event, context):
    import boto3
    boto3.client("ssm").put_parameter(
        Name="/probe/" + event.get("name", "schedule"), Value=os.environ["WHO"], Type="String", Overwrite=True)
    return {"name": context.function_name, "left": context.get_remaining_time_in_millis() > 0}
def slow(event, context):
    time.sleep(0 if event.get("quick") else 30)
    return "quick"
seen = []
def calls(event, context):
    print("nothing that is printed is an answer")
    seen.append(event)
    return len(seen)
def needs_more(event, context):
    from spillway.contracts import classes
""",
}


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for name, text in CODE.items():
            content.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def deployed(aws: str) -> str:
    role = aws_client("iam", aws).create_role(RoleName="probe", AssumeRolePolicyDocument=json.dumps({}))["Role"]["Arn"]
    client = aws_client("lambda", aws, REGION)
    for handler in ("handler", "slow", "needs_more", "calls"):
        client.create_function(
            FunctionName=f"probe-{handler}",
            Runtime="python3.13",
            Role=role,
            Handler=f"spillway.runtime.probe.{handler}",
            Code={"ZipFile": archive()},
            Timeout=2 if handler == "slow" else 20,
            Environment={"Variables": {"WHO": "deployed"}},
        )
    return aws


@pytest.fixture
def environment(aws: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "twin",
        "AWS_SECRET_ACCESS_KEY": "twin",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": aws,
    }


@pytest.fixture
def deployment(deployed: str, tmp_path: Path) -> Deployment:
    return Deployment(deployed, REGION, tmp_path)


@pytest.fixture
def environments(environment: dict[str, str], deployment: Deployment) -> Iterator[Environments]:
    warm = Environments(environment, deployment.session)
    yield warm
    warm.end()


@pytest.fixture
def runner(deployment: Deployment, environment: dict[str, str]) -> Iterator[Runner]:
    running = Runner(deployment, environment)
    yield running
    running.end()


def parameter(aws: str, name: str) -> str | None:
    client = aws_client("ssm", aws, REGION)
    found = client.get_parameters(Names=[f"/probe/{name}"])["Parameters"]
    return found[0]["Value"] if found else None


def step_until(runner: Runner, done: Callable[[], bool]) -> None:
    def step() -> bool:
        runner.step(time.monotonic())
        return done()

    eventually(step, within_s=20)


def test_a_call_reaches_the_twin_with_the_functions_own_environment(
    deployment: Deployment, environments: Environments, aws: str
) -> None:
    result = environments.call(deployment.function("probe-handler"), {"name": "direct"})
    assert result.error == ""
    assert result.value == {"name": "probe-handler", "left": True}
    assert parameter(aws, "direct") == "deployed"


def test_a_second_call_finds_the_environment_warm(deployment: Deployment, environments: Environments) -> None:
    cold, warm = (environments.call(deployment.function("probe-calls"), {}) for _ in range(2))
    assert (cold.value, warm.value) == (1, 2)
    assert warm.seconds < cold.seconds


def test_changed_settings_need_a_new_environment(deployment: Deployment, environments: Environments, aws: str) -> None:
    environments.call(deployment.function("probe-calls"), {})
    client = aws_client("lambda", aws, REGION)
    client.update_function_configuration(FunctionName="probe-calls", Environment={"Variables": {"WHO": "somebody"}})
    assert environments.call(deployment.function("probe-calls"), {}).value == 1


def test_the_time_limit_holds_and_the_next_call_starts_anew(deployment: Deployment, environments: Environments) -> None:
    result = environments.call(deployment.function("probe-slow"), {})
    again = environments.call(deployment.function("probe-slow"), {"quick": True})
    assert again.value == "quick"
    assert result.error == "Task timed out after 2.00 seconds"
    assert result.seconds < 4


def test_a_module_that_was_not_deployed_is_missing(deployment: Deployment, environments: Environments) -> None:
    result = environments.call(deployment.function("probe-needs_more"), {})
    assert "No module named 'spillway.contracts'" in result.error


def test_a_schedule_is_run(runner: Runner, aws: str) -> None:
    events = aws_client("events", aws, REGION)
    events.put_rule(Name="each-minute", ScheduleExpression="rate(1 minute)")
    arn = f"arn:aws:lambda:{REGION}:123456789012:function:probe-handler"
    events.put_targets(Rule="each-minute", Targets=[{"Id": "1", "Arn": arn}])
    step_until(runner, lambda: parameter(aws, "schedule") == "deployed")


def test_a_schedule_of_the_scheduler_is_run_in_the_twins_minutes(
    runner: Runner, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPILLWAY_TWIN_MINUTE_S", "2")
    target = {
        "Arn": f"arn:aws:lambda:{REGION}:123456789012:function:probe-handler",
        "RoleArn": "arn:aws:iam::123456789012:role/probe",
        "Input": json.dumps({"name": "scheduler"}),
    }
    client = aws_client("scheduler", aws, REGION)
    window = {"Mode": "OFF"}
    client.create_schedule(Name="m", ScheduleExpression="rate(1 minute)", FlexibleTimeWindow=window, Target=target)
    step_until(runner, lambda: parameter(aws, "scheduler") == "deployed")
    aws_client("ssm", aws, REGION).delete_parameter(Name="/probe/scheduler")
    step_until(runner, lambda: parameter(aws, "scheduler") == "deployed")


def test_an_invocation_is_run_once(runner: Runner, aws: str) -> None:
    payload = json.dumps({"name": "asked"}).encode()
    client = aws_client("lambda", aws, REGION)
    client.invoke(FunctionName="probe-handler", InvocationType="Event", Payload=payload)
    step_until(runner, lambda: parameter(aws, "asked") == "deployed")


@pytest.mark.parametrize(
    ("expression", "seconds"), [("rate(1 minute)", 60), ("rate(2 hours)", 7200), ("cron(0 3 * * ? *)", None)]
)
def test_periods(expression: str, seconds: float | None) -> None:
    assert period_of(expression) == seconds
