"""Log groups of CloudWatch: who writes to them, and the key that encrypts them.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from spillway.conformance.flows import documents
from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.world import World
from spillway.contracts.resources import Resource

_LOG_GROUP: Final = "aws:cloudwatch/logGroup:LogGroup"
TO_LOGS: Final = ("logs:CreateLogStream", "logs:PutLogEvents")


def to_logs(world: World, group: str, actions: Sequence[str] = TO_LOGS) -> list[Call]:
    arn = f"arn:aws:logs:{world.region}:{world.account}:log-group:{group}:log-stream:any"
    return [Call(action, arn) for action in actions]


def log_group(world: World, holder: Resource, name: str) -> list[Door]:
    """CloudWatch Logs encrypts with the group's key, which has to let it; source: Amazon CloudWatch Logs User Guide,
    encrypt-log-data-kms."""
    group = next((one for one in world.graph.of(_LOG_GROUP) if one.props.get("name") == name), None)
    if group is None:
        return [Door("log group", partial(_no_group, holder, name))]
    key = world.by_arn(group.props.get("kmsKeyId"), "aws:kms/key:Key")
    return [Door("key of the log group", partial(_encrypts, world, key, group))] if key else []


def _no_group(holder: Resource, name: str) -> Iterator[Closed]:
    yield Closed(holder, "", f"log group {name} is not in the plan, and nobody may create it", "Make the log group.")


def _encrypts(world: World, key: Resource, group: Resource) -> Iterator[Closed]:
    arn = f"arn:aws:logs:{world.region}:{world.account}:log-group:{group.props.get('name')}"
    call = Call("kms:GenerateDataKey", "*", {"kms:EncryptionContext:aws:logs:arn": arn})
    principal = f"logs.{world.region}.amazonaws.com"
    for statement in documents.allowing(key.props.get("policy"), call):
        if principal in documents.listed((statement.get("Principal") or {}).get("Service")):
            return
    yield Closed(key, "policy", f"the key does not let CloudWatch Logs encrypt {group.name}", "Allow it for its ARN.")
