"""Whether the roles of Spillway's own processes allow the calls that these make.

``runtime_calls.json`` is read from the runtime's source; a test holds it against that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.aws.policies import statements, texts
from spillway.conformance.services.documented import Found, items, rule
from spillway.contracts.property_values import document
from spillway.contracts.resources import UNKNOWN, Resource
from spillway.contracts.task_files import FILES_VARIABLE, unpack

_FILE: Final = Path(__file__).with_name("runtime_calls.json")
_AGENT: Final = "spillway.runtime.gateway.agent"
_WHEN: Final = {
    "ssm:GetParameter": "cutoff",
    "cloudwatch:PutMetricData": "heartbeat",
    **dict.fromkeys(
        (
            *("s3:GetObject", "s3:PutObject", "sagemaker:InvokeEndpointAsync"),
            *("sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage", "sqs:SendMessage"),
        ),
        "jobs",
    ),
}
"""An agent's call → the part of its routing table without which it is not made."""


@cache
def _calls() -> dict[str, Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Agent:
    """A gateway's agent. ``role``: ``None`` where it is none of the stack's."""

    resource: Resource
    routing: Mapping[str, Any]
    role: Resource | None


def agents(graph: Graph) -> Iterator[Agent]:
    """The gateways' agents of a stack, whose routing table is known."""
    for task in graph.of("aws:ecs/taskDefinition:TaskDefinition"):
        for container in items(document(task.get("containerDefinitions"))):
            variables = {each.get("name"): each.get("value") for each in items(container.get("environment"))}
            if _runs_agent(container) and (routing := _packed_routing(variables.get(FILES_VARIABLE))):
                yield Agent(task, routing, graph.named(task.get("taskRoleArn"), "aws:iam/role:Role"))
                break
    for workload in graph.of("kubernetes:apps/v1:Deployment"):
        pod = workload.get("spec.template.spec")
        if not isinstance(pod, Mapping):
            continue
        container = next((each for each in items(pod.get("containers")) if _runs_agent(each)), None)
        routing = _mounted_routing(graph, workload, pod) if container else None
        if routing and container:
            yield Agent(workload, routing, _pods_role(graph, workload, pod, container))


def _runs_agent(container: Mapping[str, Any]) -> bool:
    return _AGENT in (
        *texts(container.get("command")),
        *texts(container.get("entryPoint")),
        *texts(container.get("args")),
    )


def _packed_routing(packed: Any) -> Any:
    files = unpack(packed) if isinstance(packed, str) else {}
    return next((document(text) for path, text in files.items() if path.endswith("routing.json")), None)


def _mounted_routing(graph: Graph, workload: Resource, pod: Mapping[str, Any]) -> Any:
    names = {(volume.get("configMap") or {}).get("name") for volume in items(pod.get("volumes"))}
    for config in graph.of("kubernetes:core/v1:ConfigMap"):
        there = config.get("metadata.namespace") == workload.get("metadata.namespace")
        data = config.get("data")
        if there and config.get("metadata.name") in names and isinstance(data, Mapping) and "routing.json" in data:
            return document(data["routing.json"])
    return None


def _pods_role(
    graph: Graph, workload: Resource, pod: Mapping[str, Any], container: Mapping[str, Any]
) -> Resource | None:
    """By a token file, or by an association of EKS."""
    variables = {each.get("name"): each.get("value") for each in items(container.get("env"))}
    arn = variables.get("AWS_ROLE_ARN")
    for association in graph.of("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
        account = (association.get("namespace"), association.get("serviceAccount"))
        if account == (workload.get("metadata.namespace"), pod.get("serviceAccountName")):
            arn = arn or association.get("roleArn")
    return graph.named(arn, "aws:iam/role:Role")


def _allows(graph: Graph, role: Resource, action: str) -> bool:
    """Whether a role's policies allow an action anywhere. What is not known may allow it."""
    for attachment in graph.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment"):
        if attachment.get("role") in (role.id, role.get("name")):
            return True
    documents = [
        policy.get("policy")
        for policy in graph.of("aws:iam/rolePolicy:RolePolicy")
        if policy.get("role") in (role.id, role.get("name"), UNKNOWN)
    ]
    documents += [each.get("policy") for each in items(role.get("inlinePolicies"))]
    if UNKNOWN in documents or role.get("inlinePolicies") is UNKNOWN:
        return True
    allowed = [each for one in documents for each in statements(one) if each.get("Effect") == "Allow"]
    return any(fnmatchcase(action.lower(), each.lower()) for one in allowed for each in texts(one.get("Action")))


@rule(
    "runtime-calls-allowed",
    "A role allows each call that the process with that role makes.",
    Source(
        "the calls in spillway/runtime, by botocore's model of their services",
        "https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html",
        _calls()["sources"]["botocore"],
    ),
)
def _calls_allowed(graph: Graph) -> Iterator[Found]:
    for agent in agents(graph):
        jobs = agent.routing.get("jobs") or {}
        of_site = _calls()["calls"].get(jobs.get("module"), {}).get("hand_on", ())
        for action in (*_calls()["calls"][_AGENT]["main"], *of_site):
            part = _WHEN.get(action)
            if agent.role is not None and part and agent.routing.get(part) and not _allows(graph, agent.role, action):
                yield _lacks(agent.resource, agent.role, action)
    for function in graph.of("aws:lambda/function:Function"):
        role = graph.named(function.get("role"), "aws:iam/role:Role")
        for action in sorted(set(_of_function(function))) if role else ():
            if role is not None and not _allows(graph, role, action):
                yield _lacks(function, role, action)


def _lacks(resource: Resource, role: Resource, action: str) -> Found:
    return resource, "", f"calls {action}, which {role.name} does not allow", f"Allow {action} in a policy of the role."


def _of_function(function: Resource) -> Iterator[str]:
    """The actions of a function: its own, and those of the sites' modules that its configuration names."""
    own = str(function.get("handler")).rpartition(".")[0]
    yield from _calls()["calls"].get(own, {}).get("handler", ())
    variables = function.get("environment.variables")
    for value in variables.values() if isinstance(variables, Mapping) else ():
        configuration = document(value)
        if isinstance(configuration, Mapping):
            for part, entry in (("sites", "read"), ("targets", "hold")):
                found = configuration.get(part) or ()
                for site in found.values() if isinstance(found, Mapping) else found:
                    yield from _calls()["calls"].get(site.get("module"), {}).get(entry, ())


RULES: Final[tuple[Rule, ...]] = (_calls_allowed,)
