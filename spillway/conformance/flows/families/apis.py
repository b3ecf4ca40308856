"""Who calls an API of AWS: the gateways' agents, tasks, functions, schedules, logs; and functions one of Azure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import azure_callers, rights
from spillway.conformance.flows.doors.log_groups import TO_LOGS, log_group, to_logs
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.gateways import TASK, Caller, calls_aws, containers, gateways, place_of
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts import azure_calls, metrics
from spillway.contracts.property_values import document
from spillway.contracts.resources import Resource

FUNCTION: Final = "aws:lambda/function:Function"


def flows(world: World) -> Iterator[Flow]:
    yield from _agents(world)
    yield from _executions(world)
    yield from _functions(world)
    yield from _schedules(world)
    yield from _flow_logs(world)


def _agents(world: World) -> Iterator[Flow]:
    for gateway in gateways(world):
        heartbeat = gateway.table.get("heartbeat")
        for part, target in (("cutoff", "spill cut-off"), ("live", "live instances")):
            if read := gateway.table.get(part):
                name = f"arn:aws:ssm:{read['region']}:{world.account}:parameter{read['parameter']}"
                host = f"ssm.{read['region']}.amazonaws.com"
                yield _signed(world, gateway.caller, host, target, [Call("ssm:GetParameter", name)])
        if heartbeat:
            call = Call("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": heartbeat["namespace"]})
            host = f"monitoring.{heartbeat['region']}.amazonaws.com"
            yield _signed(world, gateway.caller, host, "heartbeat metric", [call])
        if usage := gateway.table.get("usage"):
            tell = Call("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": metrics.NAMESPACE})
            host = f"monitoring.{usage['region']}.amazonaws.com"
            calls = [tell, Call("cloudwatch:GetMetricData")]
            yield _signed(world, gateway.caller, host, "what clients used", calls)


def _signed(world: World, caller: Caller, host: str, target: str, calls: Sequence[Call]) -> Flow:
    return Flow(f"agent of {caller.name}", target, "tcp/443", calls_aws(world, caller, host, calls))


def _executions(world: World) -> Iterator[Flow]:
    """What ECS does with a task's execution role, from the task's own network interface (Fargate 1.4)."""
    for service in world.graph.of("aws:ecs/service:Service"):
        task = world.by_arn(service.props.get("taskDefinition"), TASK)
        if task is None:
            continue
        trusted = tuple(rights.service(world, "ecs-tasks"))
        caller = Caller("ECS", task, place_of(service), None, task.props.get("executionRoleArn"), trusted)
        for container in containers(task):
            for secret in container.get("secrets") or ():
                # Behind the ARN may stand a key, a stage and a version.
                arn = ":".join(str(secret.get("valueFrom")).split(":")[:7])
                found = world.by_arn(arn, "aws:secretsmanager/secret:Secret")
                key = found.props.get("kmsKeyId") if found else None
                calls = [Call("secretsmanager:GetSecretValue", arn)]
                doors = calls_aws(world, caller, f"secretsmanager.{world.region}.amazonaws.com", calls)
                may = rights.identity(world, caller.role, trusted, rights.decrypts(world, key), task)
                yield Flow(
                    "ECS", f"secrets of {container['name']}", "tcp/443", (*doors, *may, *rights.key_policy(world, key))
                )
        groups = {
            (one.get("logConfiguration") or {}).get("options", {}).get("awslogs-group") for one in containers(task)
        }
        for group in sorted(str(one) for one in groups if one):
            doors = calls_aws(world, caller, f"logs.{world.region}.amazonaws.com", to_logs(world, group))
            yield Flow("ECS", f"log group {group}", "tcp/443", (*doors, *log_group(world, task, group)))


def _functions(world: World) -> Iterator[Flow]:
    """Functions outside a VPC reach every API; what they need is rights."""
    for function in world.graph.of(FUNCTION):
        name, role = str(function.props.get("name")), function.props.get("role")
        calls: list[Call] = to_logs(world, f"/aws/lambda/{name}")
        calls += rights.decrypts(world, function.props.get("kmsKeyArn"))
        if letters := function.get("deadLetterConfig.targetArn"):
            calls.append(Call("sqs:SendMessage", str(letters)))
        if function.get("tracingConfig.mode") == "Active":
            calls += [Call("xray:PutTraceSegments"), Call("xray:PutTelemetryRecords")]
        doors = rights.identity(world, role, rights.service(world, "lambda"), calls, function)
        doors += [
            *rights.key_policy(world, function.props.get("kmsKeyArn")),
            *log_group(world, function, f"/aws/lambda/{name}"),
        ]
        yield Flow(name, "logs, dead letters, traces", "tcp/443", tuple(doors))
        yield Flow(name, "APIs of its task", "tcp/443", tuple(_of_handler(world, function, role)))
        yield from _to_azure(world, function)


def _of_handler(world: World, function: Resource, role: Any) -> list[Door]:
    handler, told = _handler(function), _told(function)
    calls = _CALLS.get(handler, lambda world, told: [])(world, told)
    return rights.identity(world, role, rights.service(world, "lambda"), calls, function)


def _handler(function: Resource) -> str:
    return str(function.props.get("handler")).split(".")[-2]


def _told(function: Resource) -> dict[str, Any]:
    variables = function.get("environment.variables") or {}
    return next((found for value in variables.values() if isinstance(found := document(value), dict)), {})


def _to_azure(world: World, function: Resource) -> Iterator[Flow]:
    if (caller := _CALLERS.get(_handler(function))) is None:
        return
    for client_id, urls in _asked_of_azure(_told(function)):
        doors = azure_callers.doors(world, caller, function.props.get("role"), client_id, urls, function)
        yield Flow(str(function.props.get("name")), "Azure Resource Manager", "tcp/443", doors)


def _cost_signal(world: World, told: dict[str, Any]) -> list[Call]:
    """``spillway/runtime/functions/cost_signal.py``."""
    live = f"arn:aws:ssm:{world.region}:{world.account}:parameter{told.get('live_parameter')}"
    calls = [
        Call("cloudwatch:GetMetricData"),
        Call("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "Spillway"}),
        Call("ssm:GetParameter", live),
        Call("ssm:PutParameter", live),
    ]
    return [*calls, *(azure_callers.TOKEN for _ in _asked_of_azure(told))]


def _cutoff(world: World, told: dict[str, Any]) -> list[Call]:
    """``spillway/runtime/functions/cutoff.py``."""
    parameter = f"arn:aws:ssm:{world.region}:{world.account}:parameter{told.get('parameter')}"
    calls = [
        Call("ssm:GetParameter", parameter),
        Call("ssm:PutParameter", parameter),
        Call("cloudwatch:DescribeAlarms"),
    ]
    return [*calls, *(azure_callers.TOKEN for _ in _asked_of_azure(told))]


def _traffic_switch(world: World, told: dict[str, Any]) -> list[Call]:
    """``spillway/runtime/functions/traffic_switch.py``."""
    return [Call("cloudwatch:DescribeAlarms"), *(azure_callers.TOKEN for _ in _asked_of_azure(told))]


def _asked_of_azure(told: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Client id of who asks, and the addresses at Resource Manager, however the function is told of them."""
    sites: dict[str, Any] = told.get("sites") or {}
    targets: list[dict[str, Any]] = told.get("targets") or []
    for asked in (told, *(one.get("asked") or {} for one in (*sites.values(), *targets))):
        if identity := asked.get("identity"):
            urls = [asked.get(f"{name}_url") for name in ("deployment", "autoscale", "endpoint")]
            urls += [one.get("url") for one in asked.get("machines") or ()]
            yield str(identity.get("client_id")), [str(url) for url in urls if url]


_CALLS: Final = {"cost_signal": _cost_signal, "cutoff": _cutoff, "traffic_switch": _traffic_switch}
_CALLERS: Final[dict[str, azure_calls.Caller]] = {
    "cost_signal": "cost signal",
    "cutoff": "cut-off",
    "traffic_switch": "traffic switch",
}


def _schedules(world: World) -> Iterator[Flow]:
    scheduled: set[Any] = set()
    for schedule in world.graph.of("aws:scheduler/schedule:Schedule"):
        target = schedule.get("target") or {}
        scheduled.add(target.get("arn"))
        calls = [Call("lambda:InvokeFunction", str(target.get("arn")))]
        if letters := (target.get("deadLetterConfig") or {}).get("arn"):
            calls.append(Call("sqs:SendMessage", str(letters)))
        doors = rights.identity(world, target.get("roleArn"), rights.service(world, "scheduler"), calls, schedule)
        yield Flow(schedule.name, str(target.get("arn")).rpartition(":")[2], "tcp/443", tuple(doors))
    for function in world.graph.of(FUNCTION):
        timed = _handler(function) in _CALLS
        if timed and function.outputs.get("arn") not in scheduled:
            yield Flow(
                "clock", str(function.props.get("name")), "tcp/443", (Door("schedule", partial(_idle, function)),)
            )


def _idle(function: Resource) -> Iterator[Closed]:
    yield Closed(function, "", "no schedule calls the function, which has to run each minute", "Schedule it.")


def _flow_logs(world: World) -> Iterator[Flow]:
    for found in world.graph.of("aws:ec2/flowLog:FlowLog"):
        group = str(found.props.get("logDestination")).rpartition(":log-group:")[2]
        calls = [*to_logs(world, group, (*TO_LOGS, "logs:DescribeLogStreams")), Call("logs:DescribeLogGroups")]
        trusted = rights.service(world, "vpc-flow-logs")
        doors = rights.identity(world, found.props.get("iamRoleArn"), trusted, calls, found)
        yield Flow("VPC flow logs", f"log group {group}", "tcp/443", (*doors, *log_group(world, found, group)))


FAMILY: Final = Family(
    "flow-apis",
    "Each part reaches the APIs of AWS that it calls, is who its role trusts, and has the right",
    Source(
        "AWS: Policy evaluation logic",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html",
        "2026-11-29",
    ),
    flows,
)
