"""The prod stack, every target on: what it consists of, and what the deployers do with it."""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import keyword
import re
import shutil
from collections.abc import Iterator

import pytest

from spillway.twin.deployer.api import DeployerError, PreviewResult, Resource, UpResult
from spillway.twin.deployer.pulumi_cli import PulumiCli
from tests.program.named import NAMED
from tests.program.site import PREFIX, Found, Site, plain, secret_texts, site
from tests.stacks.files import PASSPHRASE

pytestmark = pytest.mark.heavy

TAGS = {"owner": "ml-platform", "cost-centre": "cc-4711", "stack": "spillway-test"}
NEW_ZONE = {"spillway:dns.zone_id": None}
"""The example names a zone that is there."""
LABELS = {f"spillway.dev/{key}": value for key, value in TAGS.items()}


@pytest.fixture(scope="module")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = site(tmp_path_factory.mktemp("prod"), "prod", NEW_ZONE, delegates=True)
    yield made
    made.servers.stop()


@pytest.fixture(scope="module")
def plan(prod: Site) -> PreviewResult:
    """Before anything stands."""
    return prod.deployer.preview()


@pytest.fixture(scope="module")
def up(prod: Site, plan: PreviewResult) -> UpResult:
    return prod.deployer.up()


@pytest.fixture(scope="module")
def planned(plan: PreviewResult) -> Found:
    return Found(plan.resources)


@pytest.fixture(scope="module")
def stands(up: UpResult) -> Found:
    return Found(up.resources)


# --- what is there -----------------------------------------------------------------------------------------------


def test_there_are_at_least_120_resources(plan: PreviewResult, planned: Found) -> None:
    assert len(planned.custom) >= 120
    assert set(plan.changes) <= {"create", "read"}


@pytest.mark.parametrize("component", NAMED)
def test_every_named_type_is_planned(planned: Found, component: str) -> None:
    assert sorted(NAMED[component] - planned.types) == []


def test_every_planned_resource_is_deployed(planned: Found, stands: Found) -> None:
    assert {resource.urn for resource in planned.all} == {resource.urn for resource in stands.all}


@pytest.mark.parametrize("api", ["s3", "ecr.api", "ecr.dkr", "sts", "logs", "sagemaker.runtime"])
def test_private_subnets_reach_the_api_by_an_endpoint(planned: Found, api: str) -> None:
    endpoints = {plain(r.inputs)["serviceName"]: plain(r.inputs) for r in planned.of("aws:ec2/vpcEndpoint:VpcEndpoint")}
    endpoint = endpoints[f"com.amazonaws.us-east-1.{api}"]
    assert (endpoint["vpcEndpointType"] == "Gateway") == (api == "s3")
    if api != "s3":
        assert endpoint["privateDnsEnabled"] is True
        assert len(endpoint["subnetIds"]) == 3


def test_the_network_spans_three_zones(planned: Found) -> None:
    subnets = [plain(r.inputs) for r in planned.of("aws:ec2/subnet:Subnet") if "private" in r.name]
    assert {subnet["availabilityZone"] for subnet in subnets} == {"us-east-1a", "us-east-1b", "us-east-1c"}
    assert not any(subnet.get("mapPublicIpOnLaunch") for subnet in subnets)


def test_the_cluster_is_closed_and_watched(stands: Found) -> None:
    cluster = stands.inputs("aws:eks/cluster:Cluster")
    assert cluster["vpcConfig"]["endpointPrivateAccess"] is True
    assert cluster["vpcConfig"]["endpointPublicAccess"] is False
    assert cluster["encryptionConfig"]["resources"] == ["secrets"]
    keys = {r.outputs["arn"] for r in stands.of("aws:kms/key:Key") if r.name == f"{PREFIX}secrets-key"}
    assert cluster["encryptionConfig"]["provider"]["keyArn"] in keys
    assert set(cluster["enabledClusterLogTypes"]) == {
        "api",
        "audit",
        "authenticator",
        "controllerManager",
        "scheduler",
    }


@pytest.mark.parametrize("name", ["system", "gpu", "deployer"])
def test_machines_ask_for_imdsv2_and_encrypt_their_volumes(planned: Found, name: str) -> None:
    template = planned.inputs("aws:ec2/launchTemplate:LaunchTemplate", name)
    assert template["metadataOptions"]["httpTokens"] == "required"
    assert [device["ebs"]["encrypted"] for device in template["blockDeviceMappings"]] == ["true"]


def test_gpu_nodes_are_tainted_labelled_and_bounded(planned: Found) -> None:
    gpu = planned.inputs("aws:eks/nodeGroup:NodeGroup", "gpu")
    assert gpu["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]
    assert gpu["labels"]["spillway.dev/pool"] == "gpu"
    assert (gpu["scalingConfig"]["minSize"], gpu["scalingConfig"]["maxSize"]) == (3, 6)
    assert gpu["instanceTypes"] == ["g6.12xlarge"]
    system = planned.inputs("aws:eks/nodeGroup:NodeGroup", "system")
    assert not system["taints"]
    assert (system["scalingConfig"]["minSize"], system["scalingConfig"]["maxSize"]) == (3, 6)


def test_prometheus_keeps_its_metrics_on_a_disk_of_the_stacks_own_class(stands: Found) -> None:
    """EKS has had no default class since Kubernetes 1.30: a claim that names none waits for ever."""
    made = stands.inputs("kubernetes:storage.k8s.io/v1:StorageClass")
    keys = {r.outputs["arn"] for r in stands.of("aws:kms/key:Key") if r.name == f"{PREFIX}volumes-key"}
    assert made["parameters"]["kmsKeyId"] in keys
    values = stands.inputs("kubernetes:helm.sh/v3:Release", "kube-prometheus-stack")["values"]
    claim = values["prometheus"]["prometheusSpec"]["storageSpec"]["volumeClaimTemplate"]["spec"]
    assert claim["storageClassName"] == made["metadata"]["name"]


def test_every_key_turns(planned: Found) -> None:
    assert all(plain(key.inputs)["enableKeyRotation"] is True for key in planned.of("aws:kms/key:Key"))


# --- kubernetes --------------------------------------------------------------------------------------------------


def test_namespaces_have_pod_security_labels(planned: Found) -> None:
    levels = {
        (inputs := plain(namespace.inputs))["metadata"]["name"]: inputs["metadata"]["labels"].get(
            "pod-security.kubernetes.io/enforce"
        )
        for namespace in planned.of("kubernetes:core/v1:Namespace")
    }
    assert all(levels.values())
    assert {levels[PREFIX + name] for name in ("serving", "gateway", "system")} == {"restricted"}
    assert levels[f"{PREFIX}gpu-operator"] == "privileged"


@pytest.mark.parametrize("namespace", ["serving", "gateway", "system"])
def test_a_namespace_denies_by_default(planned: Found, namespace: str) -> None:
    spec = planned.inputs("kubernetes:networking.k8s.io/v1:NetworkPolicy", f"{namespace}-default-deny")["spec"]
    assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
    assert not spec["podSelector"].get("matchLabels")
    assert not spec.get("ingress")
    assert not spec.get("egress")


def test_classes_have_priorities_in_their_order(planned: Found) -> None:
    values = [planned.inputs("kubernetes:scheduling.k8s.io/v1:PriorityClass", f"p{n}")["value"] for n in range(3)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 3


def test_the_gpu_operator_is_pinned(planned: Found) -> None:
    operator = planned.inputs("kubernetes:helm.sh/v3:Release", "gpu-operator")
    assert operator["version"]
    assert operator["chart"].endswith("gpu-operator")


def test_the_model_server_waits_for_its_model(planned: Found) -> None:
    pod = planned.inputs("kubernetes:apps/v1:Deployment", "model-server-deployment")["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    assert server["readinessProbe"]["httpGet"]["path"] == "/v2/models/echo/ready"
    assert server["startupProbe"]["httpGet"]["path"] == "/v2/models/echo/ready"
    assert server["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {spread["topologyKey"] for spread in pod["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    assert any(volume["name"] == "cache" for volume in pod["volumes"])
    assert server["lifecycle"]["preStop"]
    assert pod["terminationGracePeriodSeconds"] > 60


def test_the_model_server_scales_on_gpu_use_and_queue_time(planned: Found) -> None:
    spec = planned.inputs("kubernetes:autoscaling/v2:HorizontalPodAutoscaler", "model-server-hpa")["spec"]
    metrics = spec["metrics"]
    targets = {one["pods"]["metric"]["name"]: one["pods"]["target"] for one in metrics if one["type"] == "Pods"}
    (demand,) = [one["external"] for one in metrics if one["type"] == "External"]
    # 70 % of the package's slots.
    assert demand["target"] == {"type": "AverageValue", "averageValue": "2800m"}
    assert targets["DCGM_FI_DEV_GPU_UTIL"] == {"type": "AverageValue", "averageValue": "80"}
    assert "triton_queue_ms" in targets
    assert (spec["minReplicas"], spec["maxReplicas"]) == (12, 24)


# --- burst: SageMaker --------------------------------------------------------------------------------------------


def test_an_update_of_the_endpoint_is_a_canary_that_rolls_back(planned: Found) -> None:
    deployment = planned.inputs("aws:sagemaker/endpoint:Endpoint", "burst-real-time")["deploymentConfig"]
    routing = deployment["blueGreenUpdatePolicy"]["trafficRoutingConfiguration"]
    assert (routing["type"], routing["waitIntervalInSeconds"]) == ("CANARY", 300)
    assert routing["canarySize"] == {"type": "CAPACITY_PERCENT", "value": 10}
    watching = {alarm["alarmName"] for alarm in deployment["autoRollbackConfiguration"]["alarms"]}
    alarms = {plain(r.inputs)["name"] for r in planned.of("aws:cloudwatch/metricAlarm:MetricAlarm")}
    assert watching
    assert watching <= alarms


def test_the_model_is_isolated_and_comes_from_the_store(planned: Found) -> None:
    model = planned.inputs("aws:sagemaker/model:Model")
    assert model["enableNetworkIsolation"] is True
    assert model["vpcConfig"]["securityGroupIds"]
    assert model["primaryContainer"]["modelDataUrl"].startswith("s3://spillway-test-models-")
    assert "sagemaker-tritonserver" in model["primaryContainer"]["image"]


def test_both_configurations_name_their_machine_image(planned: Found) -> None:
    configurations = planned.of("aws:sagemaker/endpointConfiguration:EndpointConfiguration")
    assert len(configurations) == 2
    for configuration in configurations:
        (variant,) = plain(configuration.inputs)["productionVariants"]
        assert variant["inferenceAmiVersion"].startswith("al2023-ami-sagemaker-inference-gpu")
        assert variant["instanceType"] == "ml.g5.xlarge"


def test_the_asynchronous_endpoint_sleeps_and_wakes(planned: Found) -> None:
    target = planned.inputs("aws:appautoscaling/target:Target", "burst-async-scaling")
    assert (target["minCapacity"], target["maxCapacity"]) == (0, 4)
    policy = planned.inputs("aws:appautoscaling/policy:Policy", "burst-async-from-zero")
    assert policy["policyType"] == "StepScaling"
    assert policy["stepScalingPolicyConfiguration"]["stepAdjustments"][0]["scalingAdjustment"] == 1
    alarm = planned.inputs("aws:cloudwatch/metricAlarm:MetricAlarm", "burst-async-backlog-without-capacity")
    assert (alarm["metricName"], alarm["namespace"]) == ("HasBacklogWithoutCapacity", "AWS/SageMaker")


def test_the_alarm_on_a_backlog_wakes_the_endpoint(stands: Found) -> None:
    alarm = stands.inputs("aws:cloudwatch/metricAlarm:MetricAlarm", "burst-async-backlog-without-capacity")
    policy = next(r for r in stands.of("aws:appautoscaling/policy:Policy") if r.name.endswith("from-zero"))
    assert alarm["alarmActions"] == [policy.outputs["arn"]]


def test_the_endpoint_tracks_its_load_between_bounds(planned: Found) -> None:
    target = planned.inputs("aws:appautoscaling/target:Target", "burst-real-time-scaling")
    assert (target["minCapacity"], target["maxCapacity"]) == (2, 8)
    assert planned.inputs("aws:appautoscaling/policy:Policy", "burst-real-time-tracking")["policyType"] == (
        "TargetTrackingScaling"
    )


# --- burst: Azure ML ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_",
    [
        "machinelearningservices:Workspace",
        "containerregistry:Registry",
        "keyvault:Vault",
        "storage:StorageAccount",
    ],
)
def test_azure_has_no_public_access(planned: Found, type_: str) -> None:
    found = planned.of(f"azure-native:{type_}")
    assert found
    for resource in found:
        inputs = plain(resource.inputs)
        access = inputs.get("publicNetworkAccess") or inputs["properties"]["publicNetworkAccess"]
        assert access.lower() == "disabled"


def test_the_deployment_takes_its_limits_from_the_manifest(planned: Found) -> None:
    properties = planned.inputs("azure-native:machinelearningservices:OnlineDeployment")["properties"]
    settings = properties["requestSettings"]
    assert (settings["maxConcurrentRequestsPerInstance"], settings["requestTimeout"]) == (12, "PT30S")
    # The managed network decides; the flag is the isolation that it replaces.
    assert properties.get("egressPublicNetworkAccess") != "Disabled"


def test_azure_scales_between_bounds(planned: Found) -> None:
    (profile,) = planned.inputs("azure-native:monitor:AutoscaleSetting")["profiles"]
    assert (profile["capacity"]["minimum"], profile["capacity"]["maximum"]) == ("2", "6")
    assert {rule["scaleAction"]["direction"] for rule in profile["rules"]} == {"Increase", "Decrease"}


def test_traffic_is_a_step_of_its_own_after_the_deployment(stands: Found) -> None:
    (traffic,) = stands.of("azure-native:resources:Deployment")
    (deployment,) = stands.of("azure-native:machinelearningservices:OnlineDeployment")
    assert deployment.urn in traffic.dependencies
    (split,) = plain(traffic.inputs)["properties"]["template"]["resources"]
    assert split["properties"]["traffic"] == {"blue-nc4ast4v3": 100}


# --- gateway, DNS ------------------------------------------------------------------------------------------------


def test_the_standby_listens_with_tls_on_fargate(planned: Found) -> None:
    listener = planned.inputs("aws:lb/listener:Listener")
    assert (listener["protocol"], listener["port"]) == ("HTTPS", 443)
    assert "TLS13" in listener["sslPolicy"]
    assert planned.inputs("aws:ecs/service:Service")["launchType"] == "FARGATE"


def test_dns_fails_over_on_the_heartbeat_and_on_the_way_in(stands: Found) -> None:
    primary, secondary = (stands.inputs("aws:route53/record:Record", name) for name in ("primary", "secondary"))
    assert primary["failoverRoutingPolicies"] == [{"type": "PRIMARY"}]
    assert secondary["failoverRoutingPolicies"] == [{"type": "SECONDARY"}]
    assert (primary["ttl"], secondary["ttl"]) == (30, 30)
    checks = {check.id: plain(check.inputs) for check in stands.of("aws:route53/healthCheck:HealthCheck")}
    both = checks[primary["healthCheckId"]]
    assert (both["type"], both["childHealthThreshold"]) == ("CALCULATED", 2)
    beats, outside = (checks[id_] for id_ in both["childHealthchecks"])
    alarm = stands.inputs("aws:cloudwatch/metricAlarm:MetricAlarm", "heartbeat")
    assert (beats["type"], beats["cloudwatchAlarmName"]) == ("CLOUDWATCH_METRIC", alarm["name"])
    assert (outside["type"], outside["port"], outside["fqdn"]) == ("HTTPS", 443, primary["records"][0])
    assert (alarm["metricName"], alarm["period"], alarm["treatMissingData"]) == ("GatewayHeartbeat", 60, "breaching")


# --- cost, storage, monitoring -----------------------------------------------------------------------------------


def test_cost_is_watched_at_the_thresholds_of_the_settings(planned: Found) -> None:
    def threshold(name: str) -> tuple[str, float]:
        alarm = planned.inputs("aws:cloudwatch/metricAlarm:MetricAlarm", name)
        return alarm["metricName"], alarm["threshold"]

    assert threshold("cost-blended") == ("DollarsPerGpuHour", 1.2)
    assert threshold("cost-burst-ceiling") == ("BurstDollarsPerHour", 18)
    assert threshold("cost-forecast-ceiling") == ("ForecastMonthDollars", 8000)
    schedule = planned.inputs("aws:scheduler/schedule:Schedule", "cost-signal-schedule")
    assert schedule["scheduleExpression"] == "rate(1 minute)"
    parameter = planned.inputs("aws:ssm/parameter:Parameter", "cost-cutoff-parameter")
    assert parameter["name"] == "/spillway-test/spill-cutoff"
    assert json.loads(parameter["value"])["closed"] == []


def test_the_three_symptoms_are_watched(planned: Found) -> None:
    thresholds = {
        name: planned.inputs("aws:cloudwatch/metricAlarm:MetricAlarm", name)["threshold"]
        for name in ("latency-p99", "gateway-latency-p99", "async-queue-depth", "gpu-saturation")
    }
    assert thresholds == {
        "latency-p99": 5_000_000,
        "gateway-latency-p99": 5,
        "async-queue-depth": 1000,
        "gpu-saturation": 90,
    }


def test_buckets_refuse_plain_http_and_are_private(stands: Found) -> None:
    assert len(stands.of("aws:s3/bucket:Bucket")) == len(stands.of("aws:s3/bucketPolicy:BucketPolicy")) == 2
    for policy in stands.of("aws:s3/bucketPolicy:BucketPolicy"):
        statements = json.loads(plain(policy.inputs)["policy"])["Statement"]
        refused = [s for s in statements if s["Effect"] == "Deny" and s["Action"] == "s3:*"]
        assert any(s["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for s in refused)
    for block in stands.of("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"):
        inputs = plain(block.inputs)
        assert all(
            inputs[key] is True
            for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        )


def test_packages_keep_their_versions(planned: Found) -> None:
    versioning = planned.inputs("aws:s3/bucketVersioning:BucketVersioning", "models-versioning")
    assert versioning["versioningConfiguration"]["status"] == "Enabled"


def test_what_holds_data_is_protected(planned: Found) -> None:
    kinds = {
        "aws:s3/bucket:Bucket",
        "aws:route53/zone:Zone",
        "azure-native:storage:StorageAccount",
        "azure-native:storage:BlobContainer",
        "azure-native:keyvault:Vault",
        "azure-native:containerregistry:Registry",
        "azure-native:machinelearningservices:Workspace",
        "azure-native:resources:ResourceGroup",
        "aws:sagemaker/modelPackageGroup:ModelPackageGroup",
    }
    assert [r.name for r in planned.custom if r.type in kinds and not r.protect] == []


def test_everything_that_takes_tags_says_who_answers_for_it(stands: Found) -> None:
    without = []
    for resource in stands.custom:
        package = resource.type.split(":")[0]
        if package == "kubernetes" and "helm.sh" not in resource.type:
            said, wanted = plain(resource.inputs)["metadata"].get("labels") or {}, LABELS
        elif package in ("aws", "azure-native") and _takes_tags(resource):
            said, wanted = plain(resource.inputs).get("tags") or {}, TAGS
        else:
            continue
        if not wanted.items() <= said.items():
            without.append(f"{resource.type} {resource.name}")
    assert without == []


def _takes_tags(resource: Resource) -> bool:
    """By the provider's own class."""
    package, module, name = resource.type.split(":")
    module = module.split("/")[0]
    module = f"{module}_" if keyword.iskeyword(module) else module
    found = importlib.import_module(f"pulumi_{package.replace('-', '_')}.{module}")
    return "tags" in inspect.signature(getattr(found, name)._internal_init).parameters


# --- what the deployer does with it, in this order: the last ones take the site down --------------------------------


def test_no_secret_is_in_clear_in_the_checkpoint(prod: Site, stands: Found) -> None:
    text = json.dumps(prod.deployer.export())
    made = (
        "aws:secretsmanager/secretVersion:SecretVersion",
        "kubernetes:core/v1:Secret",
        "pulumi:providers:kubernetes",
    )
    hidden = {found for type_ in made for r in stands.of(type_) for found in secret_texts([r.inputs, r.outputs])}
    hidden |= set(prod.secrets.values())
    hidden = {value for value in hidden if len(value) >= 12}
    assert len(hidden) > len(prod.secrets)
    shown = [value[:4] for value in hidden if value in text or base64.b64encode(value.encode()).decode() in text]
    assert shown == []


def test_nothing_secret_is_said_in_the_plan(prod: Site, plan: PreviewResult) -> None:
    said = repr([step.diff for step in plan.steps])
    assert [key for key, value in prod.secrets.items() if value in said] == []


def test_a_second_up_changes_nothing(prod: Site, up: UpResult) -> None:
    again = prod.deployer.up()
    assert {step.urn: step.op for step in again.steps if step.op not in ("same", "read")} == {}
    assert len(again.resources) == len(up.resources)


def test_a_refresh_adopts_nothing_that_the_next_up_would_change_back(prod: Site, up: UpResult) -> None:
    prod.deployer.refresh()
    plan = prod.deployer.preview()
    assert {step.urn: (step.op, step.changed) for step in plan.steps if step.op not in ("same", "read")} == {}


def test_another_instance_type_touches_what_knows_it(prod: Site, up: UpResult) -> None:
    plan = prod.changed_to({"spillway:burst.sagemaker.instance_type": "ml.g5.2xlarge"}).preview()
    prod.changed_to({})
    touched = {
        (step.op, step.type.split(":")[-1], _family(step.name))
        for step in plan.steps
        if step.custom and step.op not in ("same", "read")
    }
    assert touched >= {
        ("create", "EndpointConfiguration", "burst-real-time"),
        ("forget", "EndpointConfiguration", "burst-real-time"),
        ("replace", "Endpoint", "burst-real-time"),
        ("replace", "LogGroup", "burst-real-time-logs"),
        ("replace", "Target", "burst-real-time-scaling"),
        ("replace", "Policy", "burst-real-time-tracking"),
        ("update", "MetricAlarm", "burst-5xx"),
        ("update", "ConfigMap", "gateway-config"),
    }
    # Nothing that stands apart from the endpoint is made anew.
    assert not {kind for op, kind, _ in touched if op in ("replace", "delete")} & {"Role", "Bucket", "Key", "Model"}


def _family(name: str) -> str:
    """Less the prefix, and less the hash that is in the name of what is never changed."""
    return re.sub(r"-[0-9a-f]{8,16}$", "", name.removeprefix(PREFIX))


def test_a_destroy_is_refused_before_anything_is_deleted(prod: Site, up: UpResult) -> None:
    before = prod.deployer.resources()
    with pytest.raises(DeployerError, match="protected"):
        prod.deployer.destroy()
    assert prod.deployer.resources() == before
    assert "delete" not in prod.deployer.refresh().changes


def test_a_destroy_leaves_what_is_protected_and_what_that_needs(prod: Site, up: UpResult) -> None:
    left = {resource.urn: resource for resource in prod.deployer.destroy(keep_protected=True).resources}
    protected = {resource.urn for resource in up.resources if resource.protect}
    needed, waiting = set(), list(protected)
    while waiting:
        urn = waiting.pop()
        if urn not in needed:
            needed.add(urn)
            resource = left[urn]
            waiting += [need for need in (*resource.dependencies, resource.parent, resource.provider) if need]
    assert left.keys() == needed
    assert "delete" not in prod.deployer.refresh().changes


# --- the real deployer ---------------------------------------------------------------------------------------------


@pytest.mark.pulumi_cli
@pytest.mark.skipif(shutil.which("pulumi") is None, reason="there is no `pulumi` on PATH")
def test_the_real_engine_agrees(tmp_path_factory: pytest.TempPathFactory, plan: PreviewResult) -> None:
    other = site(tmp_path_factory.mktemp("cli"), "prod", NEW_ZONE, delegates=True)
    try:
        cli = PulumiCli(other.folder, "test", other.folder / "cli", other.servers.stand_ins(), PASSPHRASE)
        made = cli.up()
        assert _families(made.resources) == _families(plan.resources)
        again = cli.up()
        assert {step.urn: step.op for step in again.steps if step.op not in ("same", "read")} == {}
        text = json.dumps(cli.export())
        assert [key for key, value in other.secrets.items() if value in text] == []
    finally:
        other.servers.stop()


def _families(resources: tuple[Resource, ...]) -> list[tuple[str, str]]:
    """What the program registers; each deployer adds providers of its own."""
    found = (r for r in resources if r.custom and not r.type.startswith("pulumi:"))
    return sorted((resource.type, _family(resource.name)) for resource in found)
