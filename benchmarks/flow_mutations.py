"""Whether the flows' walker sees what breaks an arrow of `prod`.

`python benchmarks/flow_mutations.py [--stack prod] [--count 150] [--seed 1] [--all] [--json]` rehearses the stack,
walks it, and changes one thing at a time: `--count` changes drawn by the seed from every one that the operators below
can make, the same number of each operator as far as it has so many (`--all`: every one). A change is caught where the
walker then names a closed door that was not closed before. It is named where a finding is on the changed resource, and
beside it where the finding is on a resource that the changed one refers to, or that refers to it (what was dropped
cannot be named itself). Target: 97 % caught and named in one of the two ways; ends with 1 below it.

How changes are chosen: by what kinds of resource decide over a packet, a name or a right in the services'
documentation, not by what the walker reads. Each operator says why it breaks an arrow by construction:

- `drop`: a resource of these kinds is there because something passes it, and nothing else names it by ID, so that a
  plan can lack it. Left out: interface endpoints (calls fall back to NAT) and what `SPARE` names, with the reason.
- `port`, `peer`: a rule that admits one port or one peer is moved to another; groups and policies deny what is left.
- `refer`: a property that names a resource names another of its kind instead, or none.
- `statement`, `action`, `on`, `claim`: a statement of an IAM document is taken away, or is for another action,
  resource or claimant. Roles of the plan hold what their bearers call and no more, so that each statement has a user.
  Left out are the statements for what this plan does not use: see `UNUSED`.
- `label`: a selector, or the labels that it selects, change on one side alone.
- `switch`: a property that lets nothing through when turned.
- `wall`: a denial is put before everything else.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":  # run as a script: its own folder, which has a `policies`, too, gives way
    sys.path[0] = str(ROOT)

from spillway.conformance.flows.walk import walk  # noqa: E402 - found only from the root
from spillway.conformance.graph import Graph  # noqa: E402
from spillway.contracts.resources import Resource  # noqa: E402

TARGET = 0.97
OTHER_PORT, OTHER_RANGE = 4444, "203.0.114.0/24"

LEAVES = (
    "aws:ec2/route:Route",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:ec2/vpnGatewayRoutePropagation:VpnGatewayRoutePropagation",
    "aws:ec2/vpnConnection:VpnConnection",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
    "aws:route53/resolverEndpoint:ResolverEndpoint",
    "aws:route53/record:Record",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation",
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
    "aws:lb/listener:Listener",
    "aws:ecs/service:Service",
    "aws:scheduler/schedule:Schedule",
    "aws:lambda/permission:Permission",
    "aws:sns/topicPolicy:TopicPolicy",
    "aws:sns/topicSubscription:TopicSubscription",
    "kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "kubernetes:core/v1:Service",
    "kubernetes:monitoring.coreos.com/v1:PodMonitor",
    "kubernetes:monitoring.coreos.com/v1:ServiceMonitor",
    "azure-native:network:PrivateDnsZoneGroup",
    "azure-native:network:VirtualNetworkGatewayConnection",
    "azure-native:privatedns:VirtualNetworkLink",
    "azure-native:managedidentity:FederatedIdentityCredential",
    "azure-native:authorization:RoleAssignment",
)
ADDONS = ("coredns", "eks-pod-identity-agent")
UNUSED = (
    ("*-standby-execution-policy", "ecr:"),  # its images are public ones
    ("*-burst-key", "cloudwatch.amazonaws.com"),  # no alarm publishes to topics under this key
    ("*-logs-key", ":root"),  # CloudWatch Logs uses it, by a statement of its own
    ("*-volumes-key", ":root"),  # EC2 and Auto Scaling use it, by statements of their own
    # The policy of the load balancers' controller is AWS's own, for more than this plan asks of it:
    ("*-balancer-controller-policy", "acm:ListCertificates"),  # certificates by search
    ("*-balancer-controller-policy", "DeleteTags"),  # tags of groups that change later
    (
        "*-balancer-controller-policy",
        '"elasticloadbalancing:RemoveTags"], "Resource": ["arn:aws:elasticloadbalancing:*:*:targetgroup',
    ),
    ("*-balancer-controller-policy", 'ModifyListener"'),  # listeners that change later
)
SPARE = (
    "*-default-deny",  # a denial
    "*-compile-engines",  # of jobs that this plan does not have
    "*-email-*",
    "*-node-AmazonSSMManagedInstanceCore",  # for people who look into a node
    "*-gpu-metrics-podmonitor",  # of pods that a chart brings
    "*-burst-sg-endpoints",  # the containers are isolated from the network: they call no API
)
OPTIONAL_ROLES = (
    "*-vault-secrets-user",
    "*-azureml-storage-blob-contributor",
    "*-azureml-models-blob-contributor",  # what serves reads the models with an identity of its own
    "*-azureml-*-network-approver",
    "*-azureml-registry-acr-pull",
)
"""Azure ML's documentation does not ask for the first two (how-to-identity-based-service-authentication); the workspace
is Contributor of what the others are about, and a Contributor may pull and approve."""


@dataclass(frozen=True)
class Mutation:
    """``after``: the resource as changed; ``None``: it is gone."""

    operator: str
    resource: Resource
    what: str
    after: Resource | None


def edited(resource: Resource, operator: str, what: str, edit: Callable[[Any], None]) -> Mutation:
    props = copy.deepcopy(dict(resource.props))
    edit(props)
    return Mutation(operator, resource, what, replace(resource, props=props))


def put(path: str, value: Any) -> Callable[[Any], None]:
    """Sets the value at a dotted path that exists; ``None`` takes it away."""
    *way, last = path.split(".")

    def edit(props: Any) -> None:
        for part in way:
            props = props[int(part)] if isinstance(props, list) else props[part]
        if value is None and isinstance(props, dict):
            props.pop(last)
        elif value is None:
            del props[int(last)]
        else:
            props[int(last) if isinstance(props, list) else last] = value

    return edit


def spare(resource: Resource, names: Sequence[str]) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(resource.name, name) for name in names)


# --- operators ------------------------------------------------------------------------------------------------------


def drops(graph: Graph) -> Iterator[Mutation]:
    for found in graph.of(*LEAVES):
        if not spare(found, (*SPARE, *OPTIONAL_ROLES)):
            yield Mutation("drop", found, "dropped", None)
    for found in graph.of("aws:eks/addon:Addon"):
        if found.props["addonName"] in ADDONS:
            yield Mutation("drop", found, "dropped", None)


def group_rules(graph: Graph) -> Iterator[Mutation]:
    for found in graph.of("aws:ec2/securityGroup:SecurityGroup"):
        for way in ("ingress", "egress"):
            for number, rule in enumerate(found.props.get(way) or ()):
                at = f"{way}.{number}"
                yield edited(found, "port", f"{at} to port {OTHER_PORT}", _ports(at))
                yield edited(found, "drop", f"{at} dropped", put(at, None))
                for place in range(len(rule.get("cidrBlocks") or ())):
                    yield edited(found, "peer", f"{at} to {OTHER_RANGE}", put(f"{at}.cidrBlocks.{place}", OTHER_RANGE))
    for found in graph.of("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"):
        if spare(found, SPARE):
            continue
        yield edited(found, "port", f"to port {OTHER_PORT}", _ports(""))
        if found.name.endswith("-s3"):
            yield edited(found, "refer", "another prefix list", put("prefixListId", "pl-of-another-service"))


def _ports(at: str) -> Callable[[Any], None]:
    def edit(props: Any) -> None:
        put(f"{at}.fromPort".lstrip("."), OTHER_PORT)(props)
        put(f"{at}.toPort".lstrip("."), OTHER_PORT)(props)

    return edit


def references(graph: Graph) -> Iterator[Mutation]:
    """Another of the kind, where there is one that does not serve as well; else none."""
    others = {
        "aws:ec2/route:Route": "routeTableId",
        "aws:ec2/routeTableAssociation:RouteTableAssociation": "subnetId",
        "aws:ec2/vpnGatewayRoutePropagation:VpnGatewayRoutePropagation": "routeTableId",
        "aws:ec2/vpnConnection:VpnConnection": "vpnGatewayId",
        "aws:ec2/vpnGateway:VpnGateway": "vpcId",
        "aws:ec2/internetGateway:InternetGateway": "vpcId",
        "aws:lb/targetGroup:TargetGroup": "vpcId",
        "aws:lambda/permission:Permission": "sourceArn",
        "azure-native:privatedns:VirtualNetworkLink": "virtualNetwork.id",
        "azure-native:authorization:RoleAssignment": "principalId",
        "azure-native:managedidentity:FederatedIdentityCredential": "subject",
    }
    for kind, path in others.items():
        for found in graph.of(kind):
            if not spare(found, OPTIONAL_ROLES):
                yield edited(found, "refer", f"{path} to another", put(path, f"{found.get(path)}-of-another"))
    private = next(one for one in graph.of("aws:ec2/subnet:Subnet") if "private" in one.name)
    gateway = graph.of("aws:ec2/internetGateway:InternetGateway")[0]
    idle = next(one for one in graph.of("aws:ec2/securityGroup:SecurityGroup") if one.name.endswith("-deployer"))
    for found in graph.of("aws:ec2/natGateway:NatGateway"):
        yield edited(found, "refer", "no address", put("allocationId", None))
        yield edited(found, "refer", "into a private subnet", put("subnetId", private.id))
    for found in graph.of("aws:ec2/route:Route"):
        if found.props.get("natGatewayId"):
            yield edited(found, "refer", "past the NAT gateway", _past_nat(gateway.id))
    for found in graph.of("aws:ec2/vpcEndpoint:VpcEndpoint"):
        if found.props.get("securityGroupIds"):
            yield edited(found, "refer", "security group that admits nobody", put("securityGroupIds", [idle.id]))
    for found in graph.of("aws:ecs/service:Service"):
        yield edited(found, "refer", "security group", put("networkConfiguration.securityGroups", [idle.id]))
        yield edited(found, "port", "container port", put("loadBalancers.0.containerPort", OTHER_PORT))
    yield from roles(graph)


def _past_nat(gateway: Any) -> Callable[[Any], None]:
    def edit(props: Any) -> None:
        del props["natGatewayId"]
        props["gatewayId"] = gateway

    return edit


def roles(graph: Graph) -> Iterator[Mutation]:
    """A bearer of a role is given the role of flow logs, which trusts nobody else."""
    other = next(one for one in graph.of("aws:iam/role:Role") if one.name.endswith("-flow-logs-role"))
    paths = {
        "aws:lambda/function:Function": ("role",),
        "aws:ecs/taskDefinition:TaskDefinition": ("taskRoleArn", "executionRoleArn"),
        "aws:scheduler/schedule:Schedule": ("target.roleArn",),
        "aws:eks/podIdentityAssociation:PodIdentityAssociation": ("roleArn",),
        "aws:sagemaker/model:Model": ("executionRoleArn",),
        "aws:eks/cluster:Cluster": ("roleArn",),
        "aws:eks/nodeGroup:NodeGroup": ("nodeRoleArn",),
    }
    for kind, ways in paths.items():
        for found in graph.of(kind):
            for path in ways:
                yield edited(found, "refer", f"{path} to another role", put(path, other.outputs["arn"]))


def iam(graph: Graph) -> Iterator[Mutation]:
    kinds = {
        "aws:iam/rolePolicy:RolePolicy": "policy",
        "aws:iam/role:Role": "assumeRolePolicy",
        "aws:ec2/vpcEndpoint:VpcEndpoint": "policy",
        "aws:sns/topicPolicy:TopicPolicy": "policy",
        "aws:kms/key:Key": "policy",
    }
    for kind, path in kinds.items():
        for found in graph.of(kind):
            statements = json.loads(found.props[path])["Statement"] if found.props.get(path) else []
            for number, statement in enumerate(statements):
                if not any(spare(found, [name]) and text in json.dumps(statement) for name, text in UNUSED):
                    yield from _statement(found, path, number, statement)


def _statement(found: Resource, path: str, number: int, statement: dict[str, Any]) -> Iterator[Mutation]:
    def change(operator: str, what: str, edit: Callable[[list[Any]], None]) -> Mutation:
        document = json.loads(found.props[path])
        edit(document["Statement"])
        return edited(found, operator, f"statement {number}: {what}", put(path, json.dumps(document)))

    yield change("statement", "taken away", lambda all_: all_.pop(number))
    yield change("action", "for another action", lambda all_: all_[number].update(Action="iam:ListAccountAliases"))
    if found.type == "aws:iam/rolePolicy:RolePolicy" and statement["Resource"] != "*":
        elsewhere = "arn:aws:s3:::somewhere/else"
        yield change("on", "on another resource", lambda all_: all_[number].update(Resource=elsewhere))
    equals = (statement.get("Condition") or {}).get("StringEquals") or {}
    for key in equals:
        yield change(
            "claim",
            f"{key} of another",
            lambda all_, key=key: all_[number]["Condition"]["StringEquals"].update({key: "another"}),
        )


def cluster(graph: Graph) -> Iterator[Mutation]:
    present = [
        (
            one.get("metadata.namespace"),
            one.get("spec.template.metadata.labels") or one.get("spec.jobTemplate.spec.template.metadata.labels"),
        )
        for one in graph.of("kubernetes:apps/v1:Deployment", "kubernetes:batch/v1:CronJob")
    ]
    for found in graph.of("kubernetes:networking.k8s.io/v1:NetworkPolicy"):
        labels = found.get("spec.podSelector.matchLabels") or {}
        if not any(
            space == found.get("metadata.namespace") and labels.items() <= own.items() for space, own in present
        ):
            continue
        for way in ("ingress", "egress"):
            for number in range(len(found.get(f"spec.{way}") or ())):
                at = f"spec.{way}.{number}"
                yield edited(found, "drop", f"{at} dropped", put(at, None))
                yield edited(found, "port", f"{at} to port {OTHER_PORT}", put(f"{at}.ports", [{"port": OTHER_PORT}]))
                key = "from" if way == "ingress" else "to"
                yield edited(
                    found,
                    "peer",
                    f"{at} for other namespaces",
                    put(f"{at}.{key}", [{"namespaceSelector": {"matchLabels": {"name": "another"}}}]),
                )
        for label in labels:
            yield edited(found, "label", "podSelector", put("spec.podSelector.matchLabels", {label: "another"}))
    for found in graph.of("kubernetes:core/v1:Service"):
        yield edited(found, "label", "selector", put("spec.selector", {"app.kubernetes.io/name": "another"}))
        yield edited(found, "port", "targetPort", _each_port(targetPort="another"))
        yield edited(found, "port", "port", _each_port(port=OTHER_PORT, name="another"))
    for found in graph.of("kubernetes:apps/v1:Deployment"):
        labels = "spec.template.metadata.labels"
        yield edited(found, "label", "labels", put(labels, {"app.kubernetes.io/name": "another"}))
    for found in graph.of(
        "kubernetes:monitoring.coreos.com/v1:PodMonitor", "kubernetes:monitoring.coreos.com/v1:ServiceMonitor"
    ):
        if found.get("spec.selector.matchLabels"):
            yield edited(
                found, "label", "selector", put("spec.selector.matchLabels", {"app.kubernetes.io/name": "another"})
            )


def _each_port(**changes: Any) -> Callable[[Any], None]:
    def edit(props: Any) -> None:
        for one in props["spec"]["ports"]:
            one.update(changes)

    return edit


def entrances(graph: Graph) -> Iterator[Mutation]:
    for found in graph.of("aws:lb/listener:Listener"):
        yield edited(found, "port", f"port {OTHER_PORT}", put("port", OTHER_PORT))
        yield edited(found, "drop", "forwards nowhere", put("defaultActions", []))
    for found in graph.of("aws:lb/targetGroup:TargetGroup"):
        yield edited(
            found,
            "port",
            "port of the health check",
            put("healthCheck", {**found.props["healthCheck"], "port": str(OTHER_PORT)}),
        )
        yield edited(found, "switch", "targetType", put("targetType", "instance"))
    for found in graph.of("aws:route53/record:Record"):
        yield edited(found, "refer", "leads elsewhere", put("records", ["elsewhere.example.net"]))
        if found.props.get("failoverRoutingPolicies"):
            yield edited(found, "refer", "name outside the zone", put("name", "inference.example.net"))
    for found in graph.of("aws:acm/certificate:Certificate"):
        yield edited(found, "refer", "another name", put("domainName", "another.example.com"))
    for found in graph.of("aws:ec2/vpc:Vpc"):
        yield edited(found, "switch", "enableDnsSupport", put("enableDnsSupport", False))
    for found in graph.of("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
        yield edited(found, "label", "service account", put("serviceAccount", "another"))
    for found in graph.of("aws:iam/openIdConnectProvider:OpenIdConnectProvider"):
        yield edited(found, "refer", "issuer", put("url", "https://oidc.example.net/another"))
        yield edited(found, "claim", "audience", put("clientIdLists", ["another"]))
    for found in graph.of("aws:route53/resolverEndpoint:ResolverEndpoint"):
        yield edited(found, "drop", "one address", put("ipAddresses.0", None))


def azure(graph: Graph) -> Iterator[Mutation]:
    wall = {
        "name": "wall",
        "priority": 90,
        "direction": "Inbound",
        "access": "Deny",
        "protocol": "*",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "*",
    }
    for found in graph.of("azure-native:network:NetworkSecurityGroup"):
        yield edited(found, "wall", "denies everything", lambda p: p["securityRules"].insert(0, wall))
    notebooks = next(one for one in graph.of("azure-native:privatedns:PrivateZone") if one.name.endswith("-notebooks"))
    for found in graph.of("azure-native:network:PrivateDnsZoneGroup"):
        if len(found.props["privateDnsZoneConfigs"]) == 1:
            yield edited(found, "refer", "another zone", put("privateDnsZoneConfigs.0.privateDnsZoneId", notebooks.id))
    for found in graph.of("azure-native:network:LocalNetworkGateway"):
        yield edited(found, "peer", "another range", put("localNetworkAddressSpace.addressPrefixes", [OTHER_RANGE]))
    for found in graph.of("azure-native:authorization:RoleAssignment"):
        if not spare(found, OPTIONAL_ROLES):
            role = "acdd72a7-3385-48ef-bd42-f606fba81ae7"  # Reader
            yield edited(found, "action", "another role", put("roleDefinitionId", f"/roleDefinitions/{role}"))
    for found in graph.of("azure-native:managedidentity:FederatedIdentityCredential"):
        yield edited(found, "claim", "another issuer", put("issuer", "https://oidc.example.net/another"))
        yield edited(found, "claim", "another audience", put("audiences", ["another"]))


OPERATORS = (drops, group_rules, references, iam, cluster, entrances, azure)


def drawn(pool: Sequence[Mutation], count: int, seed: int) -> list[Mutation]:
    """One of each operator in turn. Most changes that there are to make are of IAM documents."""
    chance = random.Random(seed)
    mixed = chance.sample(pool, len(pool))
    turns = [[one for one in mixed if one.operator == name] for name in sorted({one.operator for one in pool})]
    in_turn = (one for row in zip_longest(*turns) for one in row if one)
    return list(islice(in_turn, count))


# --- judging --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """``named``: itself, beside, elsewhere, or nothing where it was not caught."""

    mutation: Mutation
    named: str


def doors(graph: Graph) -> dict[tuple[str, str, str, str], str]:
    """Every closed door of every flow → URN of the resource that the report names."""
    found = {}
    for answer in walk(graph):
        for door, closed in answer.closed:
            urn = closed.resource.urn if closed.resource else ""
            found[(answer.flow.name, answer.flow.over, door.name, f"{urn} {closed.message}")] = urn
    return found


def judge(graph: Graph, before: dict[Any, str], mutation: Mutation) -> Verdict:
    resources = [mutation.after if one is mutation.resource else one for one in graph.resources]
    changed = Graph([one for one in resources if one])
    now = doors(changed)
    fresh = {urn for key, urn in now.items() if key not in before}
    if not fresh:
        return Verdict(mutation, "")
    if mutation.resource.urn in fresh:
        return Verdict(mutation, "itself")
    beside = {one.urn for one in _around(graph, mutation.resource)} | {
        one.urn for one in (_around(changed, mutation.after) if mutation.after else ())
    }
    return Verdict(mutation, "beside" if fresh & beside else "elsewhere")


def _around(graph: Graph, resource: Resource) -> list[Resource]:
    """What it refers to by ID, ARN or name, and what refers to it."""
    own, text = _handles(resource), _text(resource)
    return [
        one
        for one in graph.resources
        if one.urn != resource.urn
        and (any(handle in text for handle in _handles(one)) or any(handle in _text(one) for handle in own))
    ]


def _text(resource: Resource) -> str:
    return json.dumps([dict(resource.props), dict(resource.outputs)], default=str)


def _handles(resource: Resource) -> list[str]:
    metadata = resource.props.get("metadata") or {}
    names = [
        metadata.get("name"),
        (metadata.get("labels") or {}).get("app.kubernetes.io/name"),
        metadata.get("namespace"),
        resource.props.get("serviceAccount"),
    ]
    names += [str(resource.id).rpartition("/")[2], str(resource.props.get("name", "")).rstrip(".")]
    found = [resource.id, resource.outputs.get("arn"), resource.outputs.get("principalId"), *names]
    return [one for one in found if isinstance(one, str) and len(one) > 3]


# --- running --------------------------------------------------------------------------------------------------------


def rehearse(stack: str) -> Graph:
    from tests.program.site import stood_up

    with tempfile.TemporaryDirectory() as folder:
        return stood_up(Path(folder), stack)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", default="prod")
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    graph = rehearse(asked.stack)
    started = time.perf_counter()
    before = doors(graph)
    walked = time.perf_counter() - started
    pool = [mutation for operator in OPERATORS for mutation in operator(graph)]
    chosen = pool if asked.all else drawn(pool, asked.count, asked.seed)
    verdicts = [judge(graph, before, mutation) for mutation in chosen]
    return report(asked, graph, len(pool), walked, verdicts)


def report(asked: argparse.Namespace, graph: Graph, pool: int, walked: float, verdicts: list[Verdict]) -> int:
    caught = [one for one in verdicts if one.named]
    share = len(caught) / len(verdicts)
    named = {how: sum(one.named == how for one in verdicts) for how in ("itself", "beside", "elsewhere")}
    answers = walk(graph)
    figures = {
        "stack": asked.stack,
        "flows": len(answers),
        "open": sum(one.open for one in answers),
        "walk_s": round(walked, 3),
        "seed": asked.seed,
        "possible": pool,
        "mutations": len(verdicts),
        "caught": len(caught),
        "share": round(share, 4),
        "named": named,
        "operators": dict(Counter(one.mutation.operator for one in verdicts)),
        "missed": [_line(one) for one in verdicts if not one.named],
        "named_elsewhere": [_line(one) for one in verdicts if one.named == "elsewhere"],
    }
    if asked.json:
        print(json.dumps(figures))
    else:
        print(f"{asked.stack}: {figures['flows']} flows, {figures['open']} open, walked in {walked:.3f} s")
        print(f"{len(verdicts)} of {pool} changes, seed {asked.seed}: {len(caught)} caught, {share:.1%}")
        print(f"named: itself {named['itself']}, beside {named['beside']}, elsewhere {named['elsewhere']}")
        print("operators: " + ", ".join(f"{name} {count}" for name, count in figures["operators"].items()))
        for what in ("missed", "named_elsewhere"):
            for line in figures[what]:
                print(f"  {what.replace('_', ' ')}: {line}")
    return int((named["itself"] + named["beside"]) / len(verdicts) < TARGET)


def _line(verdict: Verdict) -> str:
    return f"{verdict.mutation.operator} {verdict.mutation.resource.name}: {verdict.mutation.what}"


if __name__ == "__main__":
    sys.exit(main())
