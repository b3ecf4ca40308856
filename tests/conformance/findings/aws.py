"""The findings of a review of `prod` in AWS at commit 9ca60fb, put back into today's plan with that day's values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from spillway.contracts.resources import Resource
from tests.conformance.findings.mutations import (
    Case,
    Fault,
    added,
    both,
    changed,
    each,
    of_type,
    option,
    routed,
    unawaited,
    without,
)

ACCOUNT = "123456789012"
CLUSTER = "aws:eks/cluster:Cluster"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
SERVICE = "kubernetes:core/v1:Service"
SUBNET = "aws:ec2/subnet:Subnet"
TARGET = "aws:appautoscaling/target:Target"


def private_address(resources: list[Resource]) -> list[Resource]:
    """The deployer is told the API server's own address instead of a tunnel's."""
    own = str(of_type(resources, CLUSTER).outputs["endpoint"])

    def told(provider: Resource) -> Resource:
        kubeconfig = json.loads(provider.props["kubeconfig"])
        kubeconfig["clusters"][0]["cluster"]["server"] = own
        return replace(provider, props={**provider.props, "kubeconfig": json.dumps(kubeconfig)})

    return each("pulumi:providers:kubernetes", told)(resources)


def own_principals_alone(resources: list[Resource]) -> list[Resource]:
    """The S3 endpoint lets this account's principals through, and two buckets of AWS'."""
    everybody = {"Effect": "Allow", "Principal": "*"}
    statements = [
        {
            **everybody,
            "Action": "*",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}},
        },
        {
            **everybody,
            "Action": "s3:GetObject",
            "Resource": [
                "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/*",
                "arn:aws:s3:::al2023-repos-us-east-1-de612dc2/*",
            ],
        },
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    return changed("aws:ec2/vpcEndpoint:VpcEndpoint", "policy", policy, "-s3")(resources)


def mounts_a_secret(resources: list[Resource]) -> list[Resource]:
    """`gateway-tls` is mounted, and nothing makes it."""

    def mounting(gateway: Resource) -> Resource:
        volumes = list(gateway.get("spec.template.spec.volumes") or ())
        secret = {"name": "tls-9ca60fb", "secret": {"secretName": "gateway-tls"}}
        return changed(DEPLOYMENT, "spec.template.spec.volumes", [*volumes, secret])([gateway])[0]

    made = without("kubernetes:core/v1:Secret", "-gateway-tls")
    return both(made, each(DEPLOYMENT, mounting, "-gateway-deployment"))(resources)


def zone_made_here(resources: list[Resource]) -> list[Resource]:
    """The zone that proves the certificate is one of the deployment's own."""
    validation = of_type(resources, "aws:acm/certificateValidation:CertificateValidation")
    names = {name.rstrip(".") for name in validation.props["validationRecordFqdns"]}
    proof = next(one for one in resources if str(one.props.get("name")).rstrip(".") in names)
    others = [one for one in resources if one.id != proof.props["zoneId"]]
    return added("aws:route53/zone:Zone", "new", {"name": "example.com"}, proof.props["zoneId"])(others)


_CLIENTS = [{"ipBlock": {"cidr": "198.51.100.0/24"}}, {"ipBlock": {"cidr": "203.0.113.0/24"}}]
CLIENTS_ALONE = both(
    changed(
        POLICY,
        "spec.ingress",
        [{"ports": [{"protocol": "TCP", "port": 8080}], "from": _CLIENTS}],
        "-gateway-gateway",
    ),
    changed(
        SERVICE,
        "metadata.annotations",
        {
            "service.beta.kubernetes.io/aws-load-balancer-type": "external",
            "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type": "ip",
            "service.beta.kubernetes.io/aws-load-balancer-scheme": "internet-facing",
        },
        "-gateway-service",
    ),
)
"""Pods see the load balancer's addresses, and their policy admits clients'."""


def no_way_to_azure(resources: list[Resource]) -> list[Resource]:
    """Azure ML's endpoint is private; its VPN knows the company alone, and AWS forwards no name of Azure's."""
    ml, network = "azure-native:machinelearningservices", "azure-native:network"
    company = {"localNetworkAddressSpace": {"addressPrefixes": ["10.100.0.0/16"]}}
    return both(
        changed(f"{ml}:OnlineEndpoint", "properties.publicNetworkAccess", "Disabled"),
        without(f"{network}:LocalNetworkGateway"),
        without(f"{network}:VirtualNetworkGatewayConnection"),
        added(f"{network}:LocalNetworkGateway", "azure-vpn-peer", company),
        added(f"{network}:VirtualNetworkGatewayConnection", "azure-vpn", {"enableBgp": False}),
        without("aws:route53/resolverRule:ResolverRule"),
        without("aws:route53/resolverRuleAssociation:ResolverRuleAssociation"),
    )(resources)


def speaks_chat(resources: list[Resource]) -> list[Resource]:
    """A language model whose chats are signed for SageMaker's OpenAI path."""

    def chat(site: dict[str, Any]) -> None:
        endpoint = site["paths"][0]["upstream"].split("/")[2]
        site["paths"].append(
            {"client": "/v1/chat/completions", "upstream": f"/endpoints/{endpoint}/openai/v1/chat/completions"}
        )

    kind = changed(
        DEPLOYMENT, "spec.template.metadata.annotations", {"spillway.dev/kind": "vllm"}, "-model-server-deployment"
    )
    return both(routed("sagemaker", chat), kind)(resources)


def fixed(site: dict[str, Any]) -> None:
    site["capacity"] = "fixed"


def plain_names(resources: list[Resource]) -> list[Resource]:
    """The endpoint is called the same whatever instances it has."""
    name = str(of_type(resources, ENDPOINT, "-burst-real-time").props["name"])
    same = {"name": "spillway-prod-burst"}

    def renamed(target: Resource) -> Resource:
        id_ = str(target.props["resourceId"]).replace(f"endpoint/{name}/", "endpoint/spillway-prod-burst/")
        return replace(target, props={**target.props, "resourceId": id_})

    rename = each(ENDPOINT, lambda one: replace(one, props={**one.props, **same}), "-burst-real-time")
    return both(rename, each(TARGET, renamed))(resources)


def current_package_alone(resources: list[Resource]) -> list[Resource]:
    """The role reads the key of today and no other."""
    address = str(of_type(resources, "aws:sagemaker/model:Model").get("primaryContainer.modelDataUrl"))
    key = address.removeprefix("s3://")

    def narrowed(right: Resource) -> Resource:
        policy = json.loads(right.props["policy"])
        for statement in policy["Statement"]:
            if statement["Action"] == ["s3:GetObject"]:
                statement["Resource"] = f"arn:aws:s3:::{key}"
        return replace(right, props={**right.props, "policy": json.dumps(policy)})

    return each("aws:iam/rolePolicy:RolePolicy", narrowed, "-burst-role-policy")(resources)


HEARTBEAT_ALONE = both(
    added(
        "aws:route53/healthCheck:HealthCheck",
        "beats",
        {"type": "CLOUDWATCH_METRIC", "cloudwatchAlarmName": "spillway-prod-gateway-heartbeat"},
    ),
    changed("aws:route53/record:Record", "healthCheckId", "beats", "-primary"),
)
QUEUE_OF_NOBODY = both(
    added(CONFIGURATION, "later", {"asyncInferenceConfig": {"outputConfig": {}}}),
    added(ENDPOINT, "queue", {"name": "spillway-prod-burst-later", "endpointConfigName": "later"}),
)


def one_instance(resources: list[Resource]) -> list[Resource]:
    def one(resource: Resource) -> Resource:
        variants = [{**variant, "initialInstanceCount": 1} for variant in resource.props["productionVariants"]]
        return replace(resource, props={**resource.props, "productionVariants": variants})

    return each(CONFIGURATION, one)(resources)


NOBODY_IS_ADMIN: Fault = both(
    without("aws:eks/accessPolicyAssociation:AccessPolicyAssociation"),
    changed(CLUSTER, "accessConfig.bootstrapClusterCreatorAdminPermissions", False),
)
SHORT_MONITOR = json.dumps({"Tags": {"Key": "stack", "Values": ["prod"]}})

CASES = (
    Case(
        "AWS B1",
        "aws-call-members",
        "-deployer",
        changed(
            "aws:ec2/securityGroup:SecurityGroup",
            "description",
            "The deployer's machine: nobody calls it, it calls APIs",
            "-deployer",
        ),
    ),
    Case("AWS B2", "flow-api-server", "-kubernetes", private_address),
    Case(
        "AWS B3",
        "flow-clients",
        "-gateway-service",
        without("kubernetes:helm.sh/v3:Release", "-aws-load-balancer-controller"),
    ),
    Case("AWS B4", "flow-images", "-s3", own_principals_alone),
    Case(
        "AWS B5",
        "image-is-published",
        "-gateway-deployment",
        changed(
            DEPLOYMENT,
            "spec.template.spec.containers.0.image",
            "ghcr.io/spillway/runtime:0.1.0",
            "-gateway-deployment",
        ),
    ),
    Case("AWS B6", "kubernetes-volume-source", "-gateway-deployment", mounts_a_secret),
    Case("AWS B7", "acm-delegated-zone", "-standby", zone_made_here),
    Case("AWS B8", "flow-clients", "-gateway-gateway", CLIENTS_ALONE),
    Case("AWS B9", "flow-azure-ml", "-vpc", no_way_to_azure),
    Case("AWS B9", "flow-azure-ml", "azure-vpn-peer", no_way_to_azure),
    Case("AWS M1", "flow-sagemaker", "-gateway-deployment", speaks_chat),
    Case("AWS M2", "gateway-follows-capacity", "-gateway-deployment", routed("sagemaker", fixed)),
    Case(
        "AWS M2",
        "sagemaker-scaling-reachable",
        "-burst-real-time-tracking",
        both(
            routed("sagemaker", fixed),
            changed(
                "aws:appautoscaling/policy:Policy",
                "targetTrackingScalingPolicyConfiguration.targetValue",
                8,
                "-burst-real-time-tracking",
            ),
        ),
    ),
    Case("AWS M4", "sagemaker-type-under-target", "-burst-real-time", plain_names),
    Case("AWS M5", "sagemaker-old-package-readable", "-burst-real-time", current_package_alone),
    Case(
        "AWS M7",
        "sagemaker-old-fleet-kept",
        "-burst-model",
        option("aws:sagemaker/model:Model", retain_on_delete=False),
    ),
    Case(
        "AWS M8",
        "ecs-steady-state",
        "-standby",
        changed("aws:ecs/service:Service", "waitForSteadyState", None, "-standby"),
    ),
    Case(
        "AWS M8",
        "elb-targets-watched",
        "-standby",
        lambda resources: [
            one for one in resources if one.get("metricName") not in ("HealthyHostCount", "UnHealthyHostCount")
        ],
    ),
    Case("AWS M9", "route53-failover-way-in", "-primary", HEARTBEAT_ALONE),
    Case("AWS M10", "eks-access-outlives-objects", "-admin-platform-admin", unawaited("-admin-platform-admin")),
    Case("AWS M11", "iam-rights-outlive-users", "-cluster", unawaited("-cluster-AmazonEKSClusterPolicy")),
    Case("AWS M11", "ec2-roads-outlive-callers", "-system", unawaited("-private-us-east-1b-default")),
    Case(
        "AWS M12",
        "s3-bucket-left-full",
        "-burst-async-bucket",
        both(
            option("aws:s3/bucket:Bucket", "-burst-async-bucket", protect=False),
            changed("aws:s3/bucket:Bucket", "forceDestroy", False, "-burst-async-bucket"),
        ),
    ),
    Case(
        "AWS M12",
        "secretsmanager-name-taken",
        "-standby-key",
        added("aws:secretsmanager/secret:Secret", "spillway-prod-standby-key", {"name": "spillway-prod-standby"}),
    ),
    Case("AWS M13", "flow-api-server", "-cluster", NOBODY_IS_ADMIN),
    Case("AWS M14", "eks-bootstrap-create-only", "-cluster", option(CLUSTER, ignore_changes=())),
    Case("AWS M15", "sagemaker-async-caller", "queue", QUEUE_OF_NOBODY),
    Case(
        "AWS M16",
        "costexplorer-expression-whole",
        "-cost-anomalies",
        changed("aws:costexplorer/anomalyMonitor:AnomalyMonitor", "monitorSpecification", SHORT_MONITOR),
    ),
    Case(
        "AWS M18",
        "ec2-zone-of-the-account",
        "-private-us-east-1b",
        changed(SUBNET, "availabilityZone", "ap-northeast-1b", "-private-us-east-1b"),
    ),
    Case(
        "AWS M20",
        "lambda-reserved-concurrency",
        "-cost-signal-function",
        changed("aws:lambda/function:Function", "reservedConcurrentExecutions", 1, "-cost-signal-function"),
    ),
    Case(
        "AWS M21",
        "flow-images",
        "-private-us-east-1b",
        without("aws:ec2/route:Route", *(f"-private-us-east-1{zone}-default" for zone in "abc")),
    ),
    Case("AWS M22", "sagemaker-traffic-step", "-burst-real-time", one_instance),
)
