"""The cluster in AWS: control plane, nodes, add-ons and controllers → the APIs that they live on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from spillway.conformance.flows import documents
from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import cluster_services, pod_identities, rights
from spillway.conformance.flows.doors.vpc_endpoints import Place, api, caller_context
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.workloads import CHART
from spillway.conformance.flows.world import World
from spillway.conformance.graph import chart_of
from spillway.conformance.rule import Source
from spillway.contracts.resources import Resource

_TEMPLATE: Final = "aws:ec2/launchTemplate:LaunchTemplate"


def flows(world: World) -> Iterator[Flow]:
    if world.eks:
        yield from _cluster(world, world.eks)
        yield from _controllers(world)


def _cluster(world: World, cluster: Resource) -> Iterator[Flow]:
    key = cluster.get("encryptionConfig.provider.keyArn")
    calls = [Call("ec2:DescribeSubnets"), Call("elasticloadbalancing:DescribeLoadBalancers")]
    for action in ("kms:Encrypt", "kms:Decrypt", "kms:ListGrants", "kms:DescribeKey"):
        calls += rights.decrypts(world, key, action)
    doors = rights.identity(world, cluster.props.get("roleArn"), rights.service(world, "eks"), calls, cluster)
    yield Flow("EKS control plane", "EC2, load balancers, its key", "tcp/443", (*doors, *rights.key_policy(world, key)))
    templates = {str(one.get("launchTemplate.id")) for one in world.graph.of("aws:eks/nodeGroup:NodeGroup")}
    for template in filter(None, (world.by_id(one, _TEMPLATE) for one in sorted(templates))):
        door = Door("key of the volumes", partial(_volumes_key, world, template))
        yield Flow(template.name, "key of its volumes", "tcp/443", (door,))
    arn = str(cluster.outputs.get("arn", "*"))
    asked = {
        "eks": Call("eks:DescribeCluster", arn),
        "ec2": Call("ec2:DescribeInstances"),
        "ecr.api": Call("ecr:GetAuthorizationToken"),
        "ecr.dkr": Call("ecr:BatchGetImage", f"arn:aws:ecr:{world.region}:602401143452:repository/eks/pause"),
    }
    for role in sorted({str(one.props.get("nodeRoleArn")) for one in world.graph.of("aws:eks/nodeGroup:NodeGroup")}):
        for service, call in asked.items():
            doors = _by_role(world, Place(world.node_subnets), service, [call], role, cluster, "ec2")
            yield Flow("node", service, "tcp/443", tuple(doors))


def _by_role(
    world: World, place: Place, service: str, calls: Sequence[Call], role: Any, holder: Resource, principal: str
) -> list[Door]:
    own = [Call(one.action, one.resource, {**caller_context(world.account), **one.context}) for one in calls]
    return [
        *api(world, place, service, own),
        *rights.identity(world, role, [rights.Trusted(f"{principal}.amazonaws.com")], calls, holder),
    ]


def _volumes_key(world: World, template: Resource) -> Iterator[Closed]:
    """Nodes start only where Auto Scaling and EC2 may use the key of their volumes.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html (read 2026-11-29)
    """
    for device in template.props.get("blockDeviceMappings") or ():
        key = world.by_arn((device.get("ebs") or {}).get("kmsKeyId"), "aws:kms/key:Key")
        for service in ("ec2", "autoscaling"):
            via = {"kms:CallerAccount": world.account, "kms:ViaService": f"{service}.{world.region}.amazonaws.com"}
            calls = [Call(f"kms:{action}", "*", dict(via)) for action in ("CreateGrant", "Decrypt")]
            # A statement for the account's root leaves it to IAM, where the services' own roles have nothing.
            if key and not all(_to_services(key, call) for call in calls):
                yield Closed(
                    key,
                    "policy",
                    f"the key of {template.name}'s volumes does not let {service} use it, so no node starts",
                    "Allow its use by that service for the account.",
                )


def _to_services(key: Resource, call: Call) -> bool:
    principals = [one.get("Principal") for one in documents.allowing(key.props.get("policy"), call)]
    named = [name for one in principals for name in documents.listed(one.get("AWS") if isinstance(one, dict) else one)]
    return any(str(name) == "*" or "AWSServiceRoleForAutoScaling" in str(name) for name in named)


def _controllers(world: World) -> Iterator[Flow]:
    """What runs in ``kube-system`` with a role of its own, and the APIs that it lives on."""
    place = Place(world.node_subnets)
    for found in world.graph.of(cluster_services.ADDON):
        name, arn = found.props.get("addonName"), found.props.get("serviceAccountRoleArn")
        if name == "vpc-cni":
            calls = [Call("ec2:AssignPrivateIpAddresses"), Call("ec2:CreateNetworkInterface")]
            yield Flow(
                "vpc-cni", "ec2", "tcp/443", (*_own(world, place, "ec2", calls), *_of_account(world, found, arn, calls))
            )
        for one in found.props.get("podIdentityAssociations") or ():
            calls = _volumes(world)
            doors = pod_identities.associated(world, "kube-system", one["serviceAccount"], one["roleArn"], calls)
            yield Flow(str(name), "ec2", "tcp/443", (*_own(world, place, "ec2", calls[:1]), *doors))
    for release in world.graph.of(CHART):
        asked, account = _chart(world, release)
        for service, calls in asked.items():
            doors = (*_own(world, place, service, calls), *_of_chart(world, release, account, calls))
            yield Flow(chart_of(release), service, "tcp/443", doors)


def _own(world: World, place: Place, service: str, calls: Sequence[Call]) -> list[Door]:
    return api(world, place, service, [Call(one.action, one.resource, caller_context(world.account)) for one in calls])


def _of_account(world: World, addon: Resource, arn: Any, calls: Sequence[Call]) -> list[Door]:
    """The role of an add-on's service account, by the cluster's tokens."""
    own = pod_identities.issuer(world)
    provider = next((one for one in world.graph.of(rights.PROVIDER) if one.props.get("url") == own), None)
    if provider is None:
        return [Door("token issuer", partial(_no_provider, addon))]
    host = str(own).removeprefix("https://")
    claims: dict[str, str | None] = {
        f"{host}:sub": "system:serviceaccount:kube-system:aws-node",
        f"{host}:aud": "sts.amazonaws.com",
    }
    trusted = rights.Trusted(provider.id or "", "sts:AssumeRoleWithWebIdentity", claims, "Federated")
    return rights.identity(world, arn, [trusted], calls, addon)


def _no_provider(addon: Resource) -> Iterator[Closed]:
    yield Closed(
        addon,
        "serviceAccountRoleArn",
        "no OpenID Connect provider of the plan stands for the cluster's issuer, so its tokens open no role",
        "Register the cluster's issuer as a provider.",
    )


def _volumes(world: World) -> list[Call]:
    """What the storage driver does with EC2, and with the key of the nodes' volumes."""
    calls = [Call("ec2:CreateVolume"), Call("ec2:AttachVolume")]
    for template in world.graph.of("aws:ec2/launchTemplate:LaunchTemplate"):
        for device in template.props.get("blockDeviceMappings") or ():
            key = (device.get("ebs") or {}).get("kmsKeyId")
            calls += rights.decrypts(world, key, "kms:GenerateDataKeyWithoutPlaintext")
            calls += [
                Call(one.action, one.resource, {"kms:GrantIsForAWSResource": "true"})
                for one in rights.decrypts(world, key, "kms:CreateGrant")
            ]
    return list({(one.action, one.resource): one for one in calls}.values())


def _chart(world: World, release: Resource) -> tuple[dict[str, list[Call]], str]:
    """What a chart's controller asks of which service, and its service account."""
    chart = chart_of(release)
    if chart == "cluster-autoscaler":
        return _autoscaler(world, release), str(release.get("values.rbac.serviceAccount.name") or chart)
    if chart == "aws-load-balancer-controller":
        here: dict[str, str | None] = {"aws:RequestedRegion": world.region}
        asked = {
            service: [Call(one.action, one.resource, {**here, **one.context}) for one in calls]
            for service, calls in _balancers(world).items()
        }
        return asked, str(release.get("values.serviceAccount.name") or chart)
    return {}, ""


def _autoscaler(world: World, release: Resource) -> dict[str, list[Call]]:
    """https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/cloudprovider/aws/README.md"""
    cluster = str(release.get("values.autoDiscovery.clusterName"))
    tag: dict[str, str | None] = {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{cluster}": "owned"}
    group = f"arn:aws:autoscaling:{world.region}:{world.account}:autoScalingGroup:any"
    nodes = f"arn:aws:eks:{world.region}:{world.account}:nodegroup/{cluster}/any/any"
    return {
        "autoscaling": [
            Call("autoscaling:DescribeAutoScalingGroups"),
            Call("autoscaling:SetDesiredCapacity", group, tag),
            Call("autoscaling:TerminateInstanceInAutoScalingGroup", group, tag),
        ],
        "ec2": [Call("ec2:DescribeInstanceTypes"), Call("ec2:DescribeLaunchTemplateVersions")],
        "eks": [Call("eks:DescribeNodegroup", nodes)],
    }


def _balancers(world: World) -> dict[str, list[Call]]:
    """What a Service's load balancer takes, from its security group to its targets.

    https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/main/docs/install/iam_policy.json
    """
    tag = "elbv2.k8s.aws/cluster"
    new: dict[str, str | None] = {f"aws:RequestTag/{tag}": "any", f"aws:ResourceTag/{tag}": None}
    own: dict[str, str | None] = {f"aws:RequestTag/{tag}": None, f"aws:ResourceTag/{tag}": "any"}
    foreign: dict[str, str | None] = {f"aws:RequestTag/{tag}": None, f"aws:ResourceTag/{tag}": None}
    group = f"arn:aws:ec2:{world.region}:{world.account}:security-group/any"
    ours = f"arn:aws:elasticloadbalancing:{world.region}:{world.account}"
    targets = f"{ours}:targetgroup/any/any"
    made = {"ec2:CreateAction": "CreateSecurityGroup"}
    grouped = {"elasticloadbalancing:CreateAction": "CreateTargetGroup"}
    first: dict[str, str | None] = {"iam:AWSServiceName": "elasticloadbalancing.amazonaws.com"}
    return {
        "ec2": [
            Call("ec2:DescribeSubnets"),
            Call("ec2:DescribeSecurityGroups"),
            Call("ec2:CreateSecurityGroup"),
            Call("ec2:CreateTags", group, {**new, **made}),
            Call("ec2:AuthorizeSecurityGroupIngress", group, foreign),  # the nodes' own
            Call("ec2:DeleteSecurityGroup", group, own),
        ],
        "elasticloadbalancing": [
            Call("elasticloadbalancing:DescribeLoadBalancers"),
            Call("elasticloadbalancing:CreateLoadBalancer", f"{ours}:loadbalancer/net/any/any", new),
            Call("elasticloadbalancing:CreateTargetGroup", targets, new),
            Call("elasticloadbalancing:AddTags", targets, {**new, **grouped}),
            Call("elasticloadbalancing:CreateListener", f"{ours}:loadbalancer/net/any/any"),
            Call("elasticloadbalancing:AddTags", f"{ours}:listener/net/any/any/any", new),
            Call("elasticloadbalancing:ModifyTargetGroupAttributes", targets, own),
            Call("elasticloadbalancing:RegisterTargets", targets),
            Call("iam:CreateServiceLinkedRole", "*", first),
        ],
    }


def _of_chart(world: World, release: Resource, account: str, calls: Sequence[Call]) -> list[Door]:
    space, found = release.props.get("namespace"), world.graph.of(pod_identities.ASSOCIATION)
    arn = next((one.props.get("roleArn") for one in found if one.props.get("serviceAccount") == account), None)
    if arn:
        return pod_identities.associated(world, str(space), account, arn, calls)
    others = {_chart(world, one)[1] for one in world.graph.of(CHART)}
    near = [
        one for one in found if one.props.get("namespace") == space and one.props.get("serviceAccount") not in others
    ]
    return [Door("Pod Identity", partial(_no_role, release, near))]


def _no_role(release: Resource, near: list[Resource]) -> Iterator[Closed]:
    yield Closed(
        near[0] if near else release,
        "serviceAccount" if near else "values",
        "nothing gives the chart's service account a role, and with a hop limit of 1 it cannot use the node's",
        "Associate its service account with a role by Pod Identity.",
    )


FAMILY: Final = Family(
    "flow-cluster-apis",
    "The cluster's control plane, nodes and controllers reach the APIs that they live on, with the right to call them",
    Source(
        "Amazon EKS: role with the trust that Pod Identity requires",
        "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html",
        "2026-11-29",
    ),
    flows,
)
