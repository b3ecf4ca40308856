"""Rules that stand only in documentation: for each a fragment that passes and one that fails, in the source's terms."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from spillway.conformance.services import RULES
from spillway.conformance.services.generated import RULES as GENERATED
from spillway.conformance.services.kubernetes.charts import RULES as CHARTS
from spillway.contracts.resources import UNKNOWN, Resource
from spillway.contracts.task_files import pack
from tests.conformance.support import found, made

ML = "azure-native:machinelearningservices"
WORKSPACE = {"workspaceName": "w", "managedNetwork": {"isolationMode": "AllowOnlyApprovedOutbound"}}


@dataclass(frozen=True)
class Case:
    """``good`` and ``bad``: fragments. ``path``: of the property that is named."""

    rule: str
    good: list[Resource]
    bad: list[Resource]
    path: str
    also: list[Resource] = field(default_factory=list)


def allocated(key: str, **fields: Any) -> Resource:
    tag = {"tagKey": key, "status": "Active"}
    return made("aws:costexplorer/costAllocationTag:CostAllocationTag", tag, **fields)


def vllm(gpus: int, *words: str) -> dict[str, Any]:
    return {"command": ["vllm", "serve", "/m", *words], "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}


def group(nodes: int, gpus: int, size: int | None = None) -> Resource:
    """Workers told to hold a model on sixteen GPUs of so many nodes."""
    sizes = ("--tensor-parallel-size", "8", "--pipeline-parallel-size", "2", "--nnodes", str(nodes))
    template = {"spec": {"containers": [vllm(gpus, *sizes)]}}
    spec = {"leaderWorkerTemplate": {"size": size or nodes, "workerTemplate": template}}
    return made("kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet", {"spec": spec}, f"group-{nodes}-{gpus}")


def function(reserved: Any) -> Resource:
    return made("aws:lambda/function:Function", {"reservedConcurrentExecutions": reserved})


def endpoint(kind: str, percent: int, instances: Any) -> list[Resource]:
    routing: dict[str, Any] = {"type": kind, "canarySize": {"type": "CAPACITY_PERCENT", "value": percent}}
    policy = {"blueGreenUpdatePolicy": {"trafficRoutingConfiguration": routing}}
    configuration = {"name": "c", "productionVariants": [{"initialInstanceCount": instances}]}
    return [
        made("aws:sagemaker/endpointConfiguration:EndpointConfiguration", configuration),
        made("aws:sagemaker/endpoint:Endpoint", {"endpointConfigName": "c", "deploymentConfig": policy}),
    ]


def update_time(seconds: int) -> Resource:
    policy = {"blueGreenUpdatePolicy": {"maximumExecutionTimeoutInSeconds": seconds}}
    return made("aws:sagemaker/endpoint:Endpoint", {"deploymentConfig": policy})


ZONE = made("aws:route53/zone:Zone", {"name": "inference.example.com"}, "zone", id="Z1")
PROOF = made(
    "aws:route53/record:Record", {"zoneId": "Z1", "type": "CNAME", "name": "_a.inference.example.com."}, "proof"
)
VALIDATION = made(
    "aws:acm/certificateValidation:CertificateValidation", {"validationRecordFqdns": ["_a.inference.example.com"]}
)
DELEGATION = made(
    "aws:route53/record:Record", {"zoneId": "Z0", "type": "NS", "name": "inference.example.com"}, "delegation"
)


def capacity_block(template: dict[str, Any]) -> list[Resource]:
    return [
        made("aws:ec2/launchTemplate:LaunchTemplate", template, "template", id="lt-1"),
        made("aws:eks/nodeGroup:NodeGroup", {"capacityType": "CAPACITY_BLOCK", "launchTemplate": {"id": "lt-1"}}),
    ]


SECRET = made("aws:secretsmanager/secret:Secret", {}, id="arn:aws:secretsmanager:eu-west-1:1:secret:key-AbCdEf")
VALUE = made("aws:secretsmanager/secretVersion:SecretVersion", {"secretId": SECRET.id})
TASK = made(
    "aws:ecs/taskDefinition:TaskDefinition",
    {"containerDefinitions": json.dumps([{"secrets": [{"name": "KEY", "valueFrom": f"{SECRET.id}:json::"}]}])},
    id="task",
    outputs={"arn": "arn:task"},
)


def service(*needs: Resource) -> Resource:
    return made("aws:ecs/service:Service", {"taskDefinition": "arn:task"}, "service", needs)


def account(**props: Any) -> Resource:
    return made("azure-native:storage:StorageAccount", {"accountName": "a", **props})


DEPLOYMENT = made(f"{ML}:OnlineDeployment", {"workspaceName": "w", "endpointName": "e", "deploymentName": "blue"})
GROUP = "/subscriptions/s/resourceGroups/g"


def batch(model: str, **props: Any) -> list[Resource]:
    return [
        made(f"{ML}:ModelVersion", {"properties": {"modelType": model}}, id="model"),
        made(f"{ML}:BatchDeployment", {"properties": {"model": {"assetId": "model"}, **props}}),
    ]


def split(**traffic: int) -> Resource:
    inner = {"type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints", "name": "w/e"}
    resources = [{**inner, "properties": {"traffic": traffic}}]
    return made("azure-native:resources:Deployment", {"properties": {"template": {"resources": resources}}})


def cluster(**props: Any) -> Resource:
    return made("azure-native:containerservice:ManagedCluster", props, id=f"{GROUP}/managedClusters/c")


def routed(**subnet: Any) -> list[Resource]:
    outbound = {
        "networkProfile": {"outboundType": "userDefinedRouting"},
        "agentPoolProfiles": [{"vnetSubnetID": "subnet"}],
    }
    return [made("azure-native:network:Subnet", subnet, id="subnet"), cluster(**outbound)]


NAMESPACE = made("kubernetes:core/v1:Namespace", {"metadata": {"name": "n"}})
TLS = made("kubernetes:core/v1:Secret", {"metadata": {"namespace": "n", "name": "tls"}})


def pod(**spec: Any) -> Resource:
    return made("kubernetes:apps/v1:Deployment", {"metadata": {"namespace": "n"}, "spec": {"template": {"spec": spec}}})


ROLE = made("aws:iam/role:Role", {"name": "r"}, "role", id="r", outputs={"arn": "arn:aws:iam::1:role/r"})


def policy(action: str | list[str], resource: str = "*", **others: Any) -> Resource:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource} | {
        name.title(): value for name, value in others.items()
    }
    return made("aws:iam/rolePolicy:RolePolicy", {"role": "r", "policy": json.dumps({"Statement": [statement]})})


CUTOFF = made(
    "aws:lambda/function:Function",
    {
        "role": "arn:aws:iam::1:role/r",
        "handler": "spillway.runtime.functions.cutoff.handler",
        "environment": {
            "variables": {
                "SPILLWAY_CUTOFF": json.dumps({"targets": [{"module": "spillway.runtime.functions.sagemaker"}]})
            }
        },
    },
)
CALLS = [
    "ssm:*",
    "cloudwatch:DescribeAlarms",
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:RegisterScalableTarget",
    "sagemaker:DescribeEndpoint",
]


def standby(capacity: str, slots: int = 8) -> Resource:
    """The task of the standby gateway, which sends to one SageMaker endpoint, eight requests an instance."""
    path = {"client": "/v2/models/m/infer", "upstream": "/endpoints/e/invocations"}
    site = {"site": "sagemaker", "paths": [path], "slots": slots, "capacity": capacity, "instances": slots // 8}
    files = pack({"/etc/spillway/routing.json": json.dumps({"sites": [site], "live": {"parameter": "/s/live"}})})
    container = {
        "command": ["python", "-m", "spillway.runtime.gateway.agent"],
        "environment": [{"name": "SPILLWAY_FILES", "value": files}],
    }
    return made("aws:ecs/taskDefinition:TaskDefinition", {"containerDefinitions": json.dumps([container])})


SCALES = made(
    "aws:appautoscaling/target:Target",
    {"resourceId": "endpoint/e/variant/primary", "minCapacity": 1, "maxCapacity": 4},
)


def tracking(target: float) -> Resource:
    metric = {"predefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"}
    followed = {"targetValue": target, "predefinedMetricSpecification": metric}
    props = {
        "resourceId": "endpoint/e/variant/primary",
        "targetTrackingScalingPolicyConfiguration": followed,
    }
    return made("aws:appautoscaling/policy:Policy", props)


def signal(*urls: str) -> Resource:
    sites = {"azure_ml": {"asked": {"machines": [{"url": f"https://management.azure.com{url}?api"} for url in urls]}}}
    variables = {"SPILLWAY_COST": json.dumps({"sites": sites})}
    props = {"handler": "spillway.runtime.functions.cost_signal.handler", "environment": {"variables": variables}}
    return made("aws:lambda/function:Function", props)


def counts(parameter: str = "/s/live", percent: int = 100) -> Resource:
    """The cost signal, which counts machines that answer a part of a site's requests."""
    asked = {"machines": [{"url": "https://management.azure.com/d", "percent": percent}]}
    told = {"live_parameter": parameter, "sites": {"sagemaker": {"asked": asked}}}
    props = {
        "handler": "spillway.runtime.functions.cost_signal.handler",
        "environment": {"variables": {"SPILLWAY_COST": json.dumps(told)}},
    }
    return made("aws:lambda/function:Function", props)


CLUSTER = made(f"{ML}:Compute", {}, id="/subscriptions/s/computes/batch")
BLUE = made(f"{ML}:OnlineDeployment", {}, id="/subscriptions/s/deployments/blue")
FARGATE = "aws:ecs/service:Service"
GROUP_ARN = "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/standby/0"
TARGETS = made("aws:lb/targetGroup:TargetGroup", {}, id=GROUP_ARN, outputs={"arn": GROUP_ARN})


def healthy_targets(group: str) -> Resource:
    props = {"metricName": "HealthyHostCount", "dimensions": {"TargetGroup": group, "LoadBalancer": "app/standby/1"}}
    return made("aws:cloudwatch/metricAlarm:MetricAlarm", props)


PRIMARY = made(
    "aws:route53/record:Record",
    {"failoverRoutingPolicies": [{"type": "PRIMARY"}], "healthCheckId": "joined", "zoneId": "Z1"},
)
HEARTBEAT = made("aws:route53/healthCheck:HealthCheck", {"type": "CLOUDWATCH_METRIC"}, "heartbeat", id="heartbeat")
WAY_IN = made("aws:route53/healthCheck:HealthCheck", {"type": "HTTPS"}, "way-in", id="way-in")


def joined(*checks: str) -> Resource:
    props = {"type": "CALCULATED", "childHealthchecks": list(checks)}
    return made("aws:route53/healthCheck:HealthCheck", props, "joined", id="joined")


QUEUED = [
    made(
        "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
        {"asyncInferenceConfig": {"outputConfig": {}}},
        "config",
        id="c",
    ),
    made("aws:sagemaker/endpoint:Endpoint", {"name": "later", "endpointConfigName": "c"}),
]


def own_image(image: str, **properties: Any) -> list[Resource]:
    found = {"environmentId": "env", "model": "m", **properties}
    serves = {"scoringRoute": {"path": "/", "port": 8000}}
    return [
        made(
            f"{ML}:EnvironmentVersion",
            {"properties": {"image": image, "inferenceConfig": serves}},
            id="env",
        ),
        made(f"{ML}:OnlineDeployment", {"workspaceName": "w", "properties": found}),
    ]


def trust(identity: str) -> Resource:
    return made("azure-native:managedidentity:FederatedIdentityCredential", {"resourceName": identity})


SUBSCRIPTION = "/subscriptions/s"
NODES = made(
    "azure-native:containerservice:ManagedCluster",
    {"nodeResourceGroup": "nodes"},
    id=f"{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c",
)


def budget(scope: str) -> Resource:
    return made("azure-native:consumption:Budget", {"scope": scope}, scope)


def fargate(cpu: str, memory: str) -> Resource:
    containers = json.dumps([{"name": "a", "image": "b", "essential": True}])
    props = {"requiresCompatibilities": ["FARGATE"], "cpu": cpu, "memory": memory, "networkMode": "awsvpc"}
    return made("aws:ecs/taskDefinition:TaskDefinition", {**props, "containerDefinitions": containers})


def vpn(active: bool, *addresses: str) -> Resource:
    each = [{"name": one, "publicIPAddress": {"id": one}} for one in addresses]
    props = {"activeActive": active, "ipConfigurations": each, "bgpSettings": {"asn": 65515}}
    return made("azure-native:network:VirtualNetworkGateway", props)


def device(number: float, address: str) -> Resource:
    speaks = {"asn": number, "bgpPeeringAddress": address}
    return made("azure-native:network:LocalNetworkGateway", {"gatewayIpAddress": "203.0.113.1", "bgpSettings": speaks})


LEARNS = made("azure-native:network:VirtualNetworkGatewayConnection", {"enableBgp": True})
MOUNTS = pod(volumes=[{"secret": {"secretName": "tls"}}])
CASES = (
    Case("vpn-gateway-two-instances", [vpn(True, "a", "b")], [vpn(True, "a")], "ipConfigurations"),
    Case(
        "vpn-gateway-bgp-numbers",
        [vpn(False, "a"), device(65010.0, "10.9.0.1")],
        [vpn(False, "a"), device(65517.0, "10.9.0.1")],
        "bgpSettings.asn",
    ),
    Case(
        "vpn-gateway-bgp-numbers",
        [device(65010.0, "10.9.0.1")],
        [device(65010.0, "203.0.113.1")],
        "bgpSettings.bgpPeeringAddress",
    ),
    Case("vpn-gateway-bgp-both-ends", [LEARNS, device(65010.0, "10.9.0.1")], [LEARNS], "enableBgp"),
    Case("lambda-reserved-concurrency", [function(None)], [function(1)], "reservedConcurrentExecutions"),
    Case(
        "sagemaker-traffic-step",
        endpoint("CANARY", 50, 2),
        endpoint("CANARY", 10, 1),
        "deploymentConfig.blueGreenUpdatePolicy.trafficRoutingConfiguration.canarySize",
    ),
    Case(
        "sagemaker-update-time",
        [update_time(14400)],
        [update_time(14401)],
        "deploymentConfig.blueGreenUpdatePolicy.maximumExecutionTimeoutInSeconds",
    ),
    Case("acm-delegated-zone", [ZONE, PROOF, VALIDATION, DELEGATION], [ZONE, PROOF, VALIDATION], "certificateArn"),
    Case(
        "eks-capacity-block",
        capacity_block(
            {
                "instanceMarketOptions": {"marketType": "capacity-block"},
                "capacityReservationSpecification": {"capacityReservationTarget": {"capacityReservationId": "cr-1"}},
            }
        ),
        capacity_block({}),
        "capacityType",
    ),
    Case("ecs-secret-has-a-value", [service(VALUE)], [service(SECRET)], "taskDefinition", [SECRET, VALUE, TASK]),
    Case(
        "azure-ml-egress-flag",
        [made(f"{ML}:OnlineDeployment", {"workspaceName": "w", "properties": {}})],
        [
            made(
                f"{ML}:OnlineDeployment",
                {"workspaceName": "w", "properties": {"egressPublicNetworkAccess": "Disabled"}},
            )
        ],
        "properties.egressPublicNetworkAccess",
        [made(f"{ML}:Workspace", WORKSPACE)],
    ),
    Case(
        "azure-ml-batch-code",
        batch("triton_model", codeConfiguration={"codeId": "c"}, environmentId="e"),
        batch("triton_model"),
        "properties",
    ),
    Case(
        "azure-ml-traffic-deployments",
        [split(blue=100)],
        [split(blue=90, green=10)],
        "properties.template.resources.0.properties.traffic",
        [DEPLOYMENT],
    ),
    Case("aks-outbound-type", routed(routeTable={"id": "t"}), routed(), "networkProfile.outboundType"),
    Case(
        "azure-storage-ip-rules",
        [account(networkRuleSet={"ipRules": [{"iPAddressOrRange": "198.51.100.0/30"}]})],
        [account(networkRuleSet={"ipRules": [{"iPAddressOrRange": "198.51.100.7/32"}]})],
        "networkRuleSet.ipRules.0",
    ),
    Case(
        "kubernetes-cel",
        [made("kubernetes:keda.sh/v1alpha1:ScaledObject", {"spec": {"minReplicaCount": 2, "maxReplicaCount": 4}})],
        [made("kubernetes:keda.sh/v1alpha1:ScaledObject", {"spec": {"minReplicaCount": 5, "maxReplicaCount": 4}})],
        "spec",
    ),
    Case(
        "kubernetes-volume-source",
        [TLS],
        [],
        "spec.template.spec.volumes.0.secret.secretName",
        [NAMESPACE, MOUNTS],
    ),
    # ECS: 256 CPU units go with 512, 1024 or 2048 MiB.
    Case("aws-property-combinations", [fargate("256", "2048")], [fargate("256", "4096")], ""),
    Case(
        "iam-document-form",
        [policy("s3:GetObject")],
        [
            made(
                "aws:iam/rolePolicy:RolePolicy",
                {"policy": {"Statement": {"Effect": "Allow", "Action": "s3:GetObject"}}},
            )
        ],
        "policy",
    ),
    Case("iam-action-exists", [policy("s3:GetObj*")], [policy("s3:GetObjekt")], "policy"),
    Case(
        "iam-action-fits-resource",
        [policy(["logs:PutLogEvents", "logs:CreateLogStream"], "arn:aws:logs:eu-west-1:1:log-group:/g:*")],
        [policy(["logs:PutLogEvents", "logs:DescribeLogGroups"], "arn:aws:logs:eu-west-1:1:log-group:/g:*")],
        "policy",
    ),
    Case(
        "iam-condition-key-exists",
        [
            policy(
                "sagemaker:CreateEndpointConfig",
                condition={"StringEquals": {"sagemaker:instancetypes": "ml.g5.xlarge"}},
            )
        ],
        [policy("sagemaker:CreateEndpoint", condition={"StringEquals": {"sagemaker:InstanceTypes": "ml.g5.xlarge"}})],
        "policy",
    ),
    Case(
        "runtime-calls-allowed",
        [policy([*CALLS, "sagemaker:UpdateEndpointWeightsAndCapacities"])],
        [policy(CALLS)],
        "",
        [ROLE, CUTOFF],
    ),
    Case("gateway-follows-capacity", [standby("endpoint")], [standby("fixed")], "", [SCALES]),
    Case("gateway-follows-capacity", [counts(percent=100)], [counts(percent=0)], "", [standby("published")]),
    Case("gateway-follows-capacity", [counts("/s/live")], [counts("/other/live")], "", [standby("published")]),
    Case(
        "sagemaker-scaling-reachable",
        [tracking(15)],
        [tracking(16)],
        "targetTrackingScalingPolicyConfiguration.targetValue",
        [SCALES, standby("endpoint")],
    ),
    Case("cost-signal-counts", [signal(str(BLUE.id), str(CLUSTER.id))], [signal(str(BLUE.id))], "", [BLUE, CLUSTER]),
    Case(
        "ce-tag-used",
        [allocated("owner")],
        [allocated("team")],
        "tagKey",
        [made("aws:sns/topic:Topic", {"tags": {"owner": "platform"}})],
    ),
    Case("ce-tag-stays", [allocated("owner", retain_on_delete=True)], [allocated("owner")], ""),
    Case(
        "ecs-steady-state",
        [made(FARGATE, {"desiredCount": 2, "waitForSteadyState": True})],
        [made(FARGATE, {"desiredCount": 2})],
        "waitForSteadyState",
    ),
    Case(
        "elb-targets-watched",
        [healthy_targets("targetgroup/standby/0")],
        [healthy_targets("targetgroup/other/0")],
        "",
        [TARGETS],
    ),
    Case(
        "route53-failover-way-in",
        [joined("heartbeat", "way-in")],
        [joined("heartbeat")],
        "healthCheckId",
        [PRIMARY, HEARTBEAT, WAY_IN],
    ),
    Case(
        "sagemaker-async-caller",
        [policy("sagemaker:InvokeEndpointAsync", "arn:aws:sagemaker:eu-west-1:1:endpoint/later")],
        [policy("sagemaker:InvokeEndpoint", "arn:aws:sagemaker:eu-west-1:1:endpoint/later")],
        "",
        QUEUED,
    ),
    Case(
        "azure-ml-endpoint-keeps-split",
        [made(f"{ML}:OnlineEndpoint", {"endpointName": "e"}, ignore_changes=("identity", "properties", "tags"))],
        [made(f"{ML}:OnlineEndpoint", {"endpointName": "e"})],
        "properties.traffic",
        [DEPLOYMENT, split(blue=100)],
    ),
    Case(
        "azure-ml-container-model",
        own_image("w.azurecr.io/triton", modelMountPath="/models"),
        own_image("w.azurecr.io/triton"),
        "properties.modelMountPath",
    ),
    Case(
        "azure-ml-image-reachable",
        own_image("w.azurecr.io/triton"),
        own_image("nvcr.io/nvidia/tritonserver"),
        "properties.image",
        [made(f"{ML}:Workspace", {**WORKSPACE, "containerRegistry": "/registries/w"})],
    ),
    Case(
        "azure-pods-own-identity",
        [trust("package-sync")],
        [trust("ml")],
        "resourceName",
        [made(f"{ML}:Workspace", {"primaryUserAssignedIdentity": "/userAssignedIdentities/ml"})],
    ),
    Case(
        "azure-budget-of-nodes",
        [budget(f"{SUBSCRIPTION}/resourceGroups/g"), budget(f"{SUBSCRIPTION}/resourceGroups/nodes")],
        [budget(f"{SUBSCRIPTION}/resourceGroups/g")],
        "nodeResourceGroup",
        [NODES],
    ),
    Case(
        "vllm-gpus",
        [group(2, 8), group(1, 16), pod(containers=[vllm(4, "--tensor-parallel-size", "4")])],
        [group(2, 4)],
        "spec.leaderWorkerTemplate.workerTemplate.spec.containers.0.resources.limits",
    ),
    Case(
        "image-is-published",
        [pod(containers=[{"image": "registry.example.com/spillway/runtime:0.1.0"}])],
        [pod(containers=[{"image": "ghcr.io/spillway/runtime:0.1.0"}])],
        "spec.template.spec.containers.0.image",
    ),
)
IDS = [case.rule for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_what_is_accepted_passes(case: Case) -> None:
    assert found(case.rule, *case.also, *case.good) == []


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_what_is_refused_is_named_with_a_remedy(case: Case) -> None:
    [finding] = found(case.rule, *case.also, *case.bad)
    assert finding.path == case.path
    assert finding.message
    assert finding.remedy


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_what_is_not_known_yet_passes(case: Case) -> None:
    """Every property of the fragment is unknown, as in a preview before anything was made."""
    unknown = [
        made(each.type, dict.fromkeys(each.props, UNKNOWN), each.name) for each in (*case.also, *case.good, *case.bad)
    ]
    assert found(case.rule, *unknown) == []


def test_every_rule_has_a_case() -> None:
    generated = {rule.name for rule in (*GENERATED, *CHARTS)}
    assert {rule.name for rule in RULES} - generated == set(IDS)


def test_a_group_of_another_size_than_vllm_waits_for_never_starts() -> None:
    [finding] = found("vllm-gpus", group(2, 8, size=3))
    assert finding.path.endswith("containers.0.command")
    assert "waits for 2 nodes, and its group has 3 pods" in finding.message


def test_a_private_zone_and_one_that_was_there_need_no_delegation() -> None:
    private = made("aws:route53/zone:Zone", {"name": "inference.example.com", "vpcs": [{"vpcId": "v"}]}, id="Z1")
    assert found("acm-delegated-zone", private, PROOF, VALIDATION) == []
    assert found("acm-delegated-zone", PROOF, VALIDATION) == []


def test_a_linear_step_is_counted_in_instances_or_in_percent() -> None:
    step = {"type": "INSTANCE_COUNT", "value": 2}
    routing = {"type": "LINEAR", "linearStepSize": step}
    policy = {"blueGreenUpdatePolicy": {"trafficRoutingConfiguration": routing}}
    configuration = {"name": "c", "productionVariants": [{"initialInstanceCount": 3}]}
    [finding] = found(
        "sagemaker-traffic-step",
        made("aws:sagemaker/endpointConfiguration:EndpointConfiguration", configuration),
        made("aws:sagemaker/endpoint:Endpoint", {"endpointConfigName": "c", "deploymentConfig": policy}),
    )
    assert "67%" in finding.message


def test_routes_of_ones_own_lead_out() -> None:
    table = made("azure-native:network:RouteTable", {"routes": []}, id="t")
    [finding] = found("aks-outbound-type", table, *routed(routeTable={"id": "t"}))
    assert "0.0.0.0/0" in finding.message
    out = {"addressPrefix": "0.0.0.0/0", "nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.0.0.4"}
    full = made("azure-native:network:RouteTable", {"routes": [out]}, id="t")
    assert found("aks-outbound-type", full, *routed(routeTable={"id": "t"})) == []


def test_an_optional_secret_and_one_that_cert_manager_makes_may_be_missing() -> None:
    optional = pod(volumes=[{"secret": {"secretName": "tls", "optional": True}}])
    assert found("kubernetes-volume-source", NAMESPACE, optional) == []
    certificate = made(
        "kubernetes:cert-manager.io/v1:Certificate", {"metadata": {"namespace": "n"}, "spec": {"secretName": "tls"}}
    )
    assert found("kubernetes-volume-source", NAMESPACE, MOUNTS, certificate) == []


def test_the_pods_role_is_found_by_its_token_or_by_an_association() -> None:
    """The same right is missing, whichever way the pod takes the role."""
    config = made(
        "kubernetes:core/v1:ConfigMap",
        {
            "metadata": {"namespace": "n", "name": "config"},
            "data": {"routing.json": json.dumps({"heartbeat": {"region": "eu-west-1"}})},
        },
    )
    container = {"command": ["python", "-m", "spillway.runtime.gateway.agent"]}
    token = {**container, "env": [{"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::1:role/r"}]}
    volumes = [{"configMap": {"name": "config"}}]
    association = made(
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        {"namespace": "n", "serviceAccount": "gateway", "roleArn": "arn:aws:iam::1:role/r"},
    )
    for resources in (
        [pod(containers=[token], volumes=volumes)],
        [pod(containers=[container], volumes=volumes, serviceAccountName="gateway"), association],
    ):
        [finding] = found("runtime-calls-allowed", ROLE, config, *resources)
        assert "cloudwatch:PutMetricData" in finding.message


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        (
            "aws:lb/listener:Listener",
            {"protocol": "HTTPS", "certificateArn": "arn:aws:acm:eu-west-1:1:certificate/c"},
            {"protocol": "HTTPS"},
        ),
        (
            "aws:lb/loadBalancer:LoadBalancer",
            {"loadBalancerType": "application", "subnets": ["a", "b"]},
            {"loadBalancerType": "application", "subnets": ["a"]},
        ),
        (
            "aws:ec2/securityGroup:SecurityGroup",
            {"ingress": [{"protocol": "tcp", "fromPort": 443, "toPort": 443}]},
            {"ingress": [{"protocol": "tcp"}]},
        ),
        (
            "aws:lambda/function:Function",
            {"loggingConfig": {"logFormat": "JSON", "systemLogLevel": "INFO"}},
            {"loggingConfig": {"logFormat": "Text", "systemLogLevel": "INFO"}},
        ),
        (
            "aws:ecs/taskDefinition:TaskDefinition",
            {"containerDefinitions": json.dumps([{"essential": False}, {"essential": True}])},
            {"containerDefinitions": json.dumps([{"essential": False}])},
        ),
    ],
)
def test_properties_go_together(type_: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    assert found("aws-property-combinations", made(type_, good)) == []
    [finding] = found("aws-property-combinations", made(type_, bad))
    assert "cfn-lint E" in finding.message
