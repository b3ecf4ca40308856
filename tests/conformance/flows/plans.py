"""Fragments of plans: resources whose IDs are known, small enough to read."""

from __future__ import annotations

import json
from typing import Any

from spillway.conformance.flows.flow import Closed, Door
from spillway.conformance.flows.world import World
from spillway.conformance.graph import Graph
from spillway.contracts.resources import Resource

ACCOUNT, REGION = "123456789012", "us-east-1"


def made(type_: str, name: str, props: dict[str, Any] | None = None, /, id: str = "", **outputs: Any) -> Resource:
    """A resource that was made: by default its ID is its name."""
    urn = f"urn:pulumi:test::spillway::{type_}::{name}"
    return Resource(type_, name, urn, props or {}, id=id or name, region=REGION, outputs=outputs)


def world(*resources: Resource) -> World:
    return World(Graph(resources))


def asked(doors: list[Door] | tuple[Door, ...]) -> list[Closed]:
    """What is closed of some doors."""
    return [closed for door in doors for closed in door.closed()]


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def role(name: str, trusts: dict[str, Any]) -> Resource:
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    return made("aws:iam/role:Role", name, {"name": name, "assumeRolePolicy": policy(trusts)}, arn=arn)


def inline(of: Resource, *statements: dict[str, Any]) -> Resource:
    return made("aws:iam/rolePolicy:RolePolicy", f"{of.name}-policy", {"role": of.id, "policy": policy(*statements)})


def trusting(service: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}


def vpc(**props: Any) -> Resource:
    found = {"cidrBlock": "10.0.0.0/16", "enableDnsSupport": True, "enableDnsHostnames": True, **props}
    return made("aws:ec2/vpc:Vpc", "vpc", found)


def subnet(name: str, cidr: str, **props: Any) -> Resource:
    return made(
        "aws:ec2/subnet:Subnet", name, {"vpcId": "vpc", "cidrBlock": cidr, "mapPublicIpOnLaunch": False, **props}
    )


def table(name: str, *subnets: str, **route: Any) -> list[Resource]:
    """A route table with a default route, where one is given, and its subnets."""
    found = [made("aws:ec2/routeTable:RouteTable", name, {"vpcId": "vpc"})]
    kind = "aws:ec2/routeTableAssociation:RouteTableAssociation"
    found += [made(kind, f"{name}-{one}", {"subnetId": one, "routeTableId": name}) for one in subnets]
    if route:
        props = {"routeTableId": name, "destinationCidrBlock": "0.0.0.0/0", **route}
        found.append(made("aws:ec2/route:Route", f"{name}-default", props))
    return found


def network(nat: bool = True) -> list[Resource]:
    """A VPC with a public subnet, and a private one behind NAT."""
    return [
        vpc(),
        subnet("private", "10.0.0.0/24"),
        subnet("public", "10.0.1.0/24"),
        made("aws:ec2/internetGateway:InternetGateway", "igw", {"vpcId": "vpc"}),
        made("aws:ec2/natGateway:NatGateway", "nat", {"subnetId": "public", "allocationId": "eip"}),
        *table("outer", "public", gatewayId="igw"),
        *(table("inner", "private", natGatewayId="nat") if nat else table("inner", "private")),
    ]


def group(name: str, **props: Any) -> Resource:
    return made("aws:ec2/securityGroup:SecurityGroup", name, {"vpcId": "vpc", **props})


def rule(port: int, *cidrs: str, **props: Any) -> dict[str, Any]:
    return {"protocol": "tcp", "fromPort": port, "toPort": port, "cidrBlocks": list(cidrs), **props}


def kubernetes(kind: str, name: str, namespace: str = "apps", **body: Any) -> Resource:
    metadata = {"name": name, "namespace": namespace, **body.pop("metadata", {})}
    return made(f"kubernetes:{kind}", name, {"metadata": metadata, **body}, id=f"{namespace}/{name}")


def deployment(name: str, namespace: str = "apps", port: int = 8000, **spec: Any) -> Resource:
    containers = [{"name": name, "image": "docker.io/x", "ports": [{"name": "http", "containerPort": port}]}]
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers, **spec}}
    return kubernetes("apps/v1:Deployment", name, namespace, spec={"template": template})


def service(name: str, namespace: str = "apps", **spec: Any) -> Resource:
    found = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}], **spec}
    return kubernetes("core/v1:Service", name, namespace, spec=found)


def network_policy(name: str, selects: dict[str, str], namespace: str = "apps", **spec: Any) -> Resource:
    types = [way.capitalize() for way in ("ingress", "egress") if way in spec]
    found = {"podSelector": {"matchLabels": selects}, "policyTypes": types, **spec}
    return kubernetes("networking.k8s.io/v1:NetworkPolicy", name, namespace, spec=found)


def azure(kind: str, name: str, props: dict[str, Any] | None = None, **outputs: Any) -> Resource:
    path = f"/subscriptions/s/resourceGroups/g/providers/{kind}/{name}"
    return made(f"azure-native:{kind}", name, props or {}, id=path, **outputs)
