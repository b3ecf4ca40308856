from __future__ import annotations

import json
from typing import Any

import pytest

from spillway.conformance.flows.families.jobs import FAMILY
from spillway.contracts.resources import Resource
from spillway.contracts.task_files import FILES_VARIABLE, pack
from tests.conformance.flows.plans import ACCOUNT, REGION, allow, asked, inline, made, role, trusting, world

JOBS = {
    "region": REGION,
    "queue_url": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/jobs",
    "bucket": "batches",
    "requests": "requests/jobs/",
    "marks": "jobs/",
    "endpoint": "later",
}
OUTPUT = {"s3OutputPath": "s3://batches/results", "s3FailurePath": "s3://batches/failures"}
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:jobs"
RIGHTS = (
    allow("sqs:*", QUEUE_ARN),
    allow("s3:PutObject", "arn:aws:s3:::batches/requests/jobs/*"),
    allow("s3:PutObject", "arn:aws:s3:::batches/jobs/*"),
    allow("s3:GetObject", "arn:aws:s3:::batches/*"),
    allow("s3:ListBucket", "arn:aws:s3:::batches"),
    allow("sagemaker:InvokeEndpointAsync", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/later"),
    allow("kms:*", "arn:key"),
)


def queue(**props: Any) -> Resource:
    redrive = json.dumps({"deadLetterTargetArn": "arn:letters", "maxReceiveCount": 100})
    return made(
        "aws:sqs/queue:Queue", "jobs", {"name": "jobs", "kmsMasterKeyId": "arn:key", "redrivePolicy": redrive, **props}
    )


def plan(rights: tuple[dict[str, Any], ...] = RIGHTS, kept: Resource | None = None, **config: Any) -> list[Resource]:
    """A gateway in Fargate with jobs, and what it needs."""
    runs = role("task", trusting("ecs-tasks"))
    files = pack({"/etc/spillway/routing.json": json.dumps({"sites": [], "jobs": JOBS})})
    containers = [{"name": "files", "environment": [{"name": FILES_VARIABLE, "value": files}]}]
    props = {"containerDefinitions": json.dumps(containers), "taskRoleArn": runs.outputs["arn"]}
    task = made("aws:ecs/taskDefinition:TaskDefinition", "task", props, arn="arn:task")
    asynchronous = config or {"asyncInferenceConfig": {"outputConfig": OUTPUT}}
    return [
        runs,
        inline(runs, *rights),
        task,
        made("aws:ecs/service:Service", "service", {"taskDefinition": "arn:task"}),
        kept or queue(),
        made("aws:sagemaker/endpointConfiguration:EndpointConfiguration", "config", {"name": "config", **asynchronous}),
        made("aws:sagemaker/endpoint:Endpoint", "later", {"name": "later", "endpointConfigName": "config"}),
    ]


def told(resources: list[Resource], door: str) -> str:
    """What is closed at doors of that name."""
    doors = [one for flow in FAMILY.flows(world(*resources)) for one in flow.doors if one.name.startswith(door)]
    assert doors
    return " ".join(closed.message for closed in asked(doors))


def test_a_gateway_with_all_its_rights_has_open_doors() -> None:
    assert [flow.target for flow in FAMILY.flows(world(*plan()))] == [
        "queue jobs",
        "jobs in bucket batches",
        "asynchronous endpoint later",
    ]
    assert [told(plan(), door) for door in ("rights", "queue", "endpoint")] == ["", "", ""]


@pytest.mark.parametrize("number", range(len(RIGHTS)))
def test_each_right_is_needed(number: int) -> None:
    left = RIGHTS[:number] + RIGHTS[number + 1 :]
    assert RIGHTS[number]["Action"].partition(":")[0] in told(plan(left), "rights of task")


def test_a_queue_without_dead_letters_loses_what_nobody_can_hand_on() -> None:
    assert "is lost then" in told(plan(kept=queue(redrivePolicy=None)), "queue")
    assert "does not make" in told(plan(kept=queue(name="other")), "queue")


def test_the_endpoint_has_to_be_an_asynchronous_one() -> None:
    assert "no asynchronous endpoint" in told(plan(tags={}), "endpoint")
