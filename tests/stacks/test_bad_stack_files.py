# ruff: noqa: E501 - the mistakes are a table, one a line
"""Bad stack files, each run through the real program: one clear error, and nothing is created."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from spillway.contracts.targets import Layout
from spillway.contracts.trt_engines import PLAN_NAME, RECORD_NAME, Compiler, HardwareKey, read_record
from spillway.twin.deployer.api import DeployerError
from spillway.twin.provider import Properties
from stacks.errors import StackConfigError
from stacks.stack_file import read_settings
from tests.model_packaging.packages import L4, add_engine
from tests.stacks.files import REMOVE, changed, deployer, example, flat, project, secrets_for
from tests.support.packages import small_package

S = "spillway:"
CANARY = {
    f"{S}private_cluster.gpus_per_node": 8,
    f"{S}model_server.autoscaling.max_replicas": 2,
    f"{S}model_server.canary.package": "nowhere",
}
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-4000-8000-000000000003"


@dataclass(frozen=True)
class Bad:
    """``changes`` to the local stack, and what its one error must say."""

    name: str
    changes: dict[str, Any]
    key: str
    given: str
    advice: str
    break_package: Callable[[Path], object] = field(default=lambda package: None)


def append(path: str) -> Callable[[Path], object]:
    return lambda package: (package / path).write_text((package / path).read_text() + "\n# changed")


def with_engine(
    key: HardwareKey, plan: bytes = b"plan", repository: bytes = b"archive", of: str = "", **changes: object
) -> Callable[[Path], object]:
    """An engine beside the package; another ``plan`` stands there than was stored. ``of``: another package's digest."""

    def add(package: Path) -> None:
        folder = add_engine(package, key, b"plan", repository)
        (folder / PLAN_NAME).write_bytes(plan)
        changed = {**changes, "package_digest": of} if of else changes
        (folder / RECORD_NAME).write_text(read_record(folder).model_copy(update=changed).to_json())

    return add


OF_THE_IMAGE = L4.model_copy(update={"version": "10.5.0.18"})
OF_RTX = L4.model_copy(update={"compiler": Compiler.TENSORRT_RTX})
ENGINE, NEWER, RTX = (f"{key.folder}/fp16" for key in (OF_THE_IMAGE, L4, OF_RTX))
ON_L4 = {f"{S}burst.sagemaker.{part}instance_type": "ml.g6.xlarge" for part in ("", "asynchronous.")}

NAMED = {f"{S}connectivity.deployer": "authorised_cidrs", f"{S}connectivity.deployer_cidrs": ["198.51.100.0/24"]}
ROAD = {"deployer": "authorised_cidrs", "deployer_cidrs": ["198.51.100.0/24"]}
LANDING_ZONE = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/hub/providers/Microsoft.Network/virtualNetworks/v"
LANDED = {
    "zones": "policy",
    "existing_subnets": {"endpoints": f"{LANDING_ZONE}/subnets/e", "courier": f"{LANDING_ZONE}/subnets/c"},
}
AKS = {"kind": "aks", "admin_group_ids": ["g"], "gpu_pool": {"vm_size": "Standard_NC4as_T4_v3"}}
EKS = {"kind": "eks", "gpu_pool": {"instance_type": "g5.xlarge"}}
VPN = {
    f"{S}connectivity.burst_egress": "vpn",
    f"{S}connectivity.vpn": {"peer_address": "192.0.2.1", "peer_cidrs": ["10.100.0.0/16"]},
    "spillway-secrets:vpn_pre_shared_key": "a key",
}
TRAFFIC_MANAGER = {
    f"{S}dns": {"provider": "traffic_manager", "zone_name": "spillway.test"},
}
AMD = {
    f"{S}private_cluster.accelerator": "amd",
    f"{S}model_server.gpu_device_gids": [109],
    f"{S}model_server.triton_image": "registry.example.com/triton-rocm:1",
}
ISSUER = f"{S}connectivity.federation.oidc_issuer"

BAD = [
    # Wrong types
    Bad("text for a number", {f"{S}burst.sagemaker.max_instances": "many"}, "burst.sagemaker.max_instances", "'many'", "whole number"),
    Bad("a mapping for a text", {f"{S}owner": {"team": "a"}}, "owner", "a mapping of team", "allowed: a text"),
    Bad("a text for a mapping", {f"{S}aws": "us-east-1"}, "aws", "'us-east-1'", "allowed: a mapping"),
    Bad("not a boolean", {f"{S}protect_data": "perhaps"}, "protect_data", "'perhaps'", "true or false"),
    Bad("a fraction of a node", {f"{S}private_cluster.nodes": 1.5}, "private_cluster.nodes", "1.5", "whole number"),
    Bad("a text for a list", {f"{S}client_cidrs": "10.0.0.0/8"}, "client_cidrs", "'10.0.0.0/8'", "a list"),
    # Former, unknown and missing keys
    Bad("a former key with another place", {f"{S}burst.azure_ml.vnet_cidr": "10.60.0.0/20"}, "burst.azure_ml.vnet_cidr", "a former key", "set connectivity.vnet_cidr"),
    Bad("a former key in a list", {f"{S}gateway.clients.0.burst": 40}, "gateway.clients[0].burst", "a former key", "it is called gateway.clients[].requests_at_once now"),
    Bad("a former key of one kind of cluster", {f"{S}private_cluster.dollars_per_node_hour": 1.0}, "private_cluster.dollars_per_node_hour", "a former key", "it is called private_cluster.usd_per_node_hour now"),
    Bad("a former key without another", {f"{S}model_store.log_retention_days": 90}, "model_store.log_retention_days", "a former key", "remove the key"),
    Bad("a former key with several places", {f"{S}monitoring.log_retention_days": 30}, "monitoring.log_retention_days", "a former key", "burst.sagemaker, burst.azure_ml"),
    Bad("a misspelt key", {f"{S}protect_dat": True}, "protect_dat", "an unknown key", "did you mean protect_data?"),
    Bad("a misspelt inner key", {f"{S}burst.sagemaker.instance_typ": "ml.g5.xlarge"}, "burst.sagemaker.instance_typ", "an unknown key", "did you mean instance_type?"),
    Bad("a key of another kind", {f"{S}private_cluster.gpu_pool": {}}, "private_cluster.gpu_pool", "an unknown key", "kubeconfig_secret"),
    Bad("a misspelt key in a list", {f"{S}gateway.clients.0.max_clas": "P0"}, "gateway.clients[0].max_clas", "an unknown key", "did you mean max_class?"),
    Bad("a misspelt namespace", {"spilway:tags": {"a": "b"}}, "spilway:tags", "an unknown namespace", "did you mean spillway?"),
    Bad("no owner", {f"{S}owner": REMOVE}, "owner", "nothing", "Team that answers for the stack"),
    Bad("no price of an owned node", {f"{S}private_cluster.usd_per_node_hour": REMOVE}, "private_cluster", "kind", "exactly one of usd_per_node_hour and owned"),
    Bad("no kind", {f"{S}private_cluster.kind": REMOVE}, "private_cluster.kind", "nothing", "allowed: eks, aks, existing"),
    # Values that do not exist
    Bad("an unknown kind", {f"{S}private_cluster.kind": "gke"}, "private_cluster.kind", "'gke'", "allowed: eks, aks, existing"),
    Bad("an unknown DNS provider", {f"{S}dns.provider": "bind"}, "dns.provider", "'bind'", "allowed: route53, traffic_manager"),
    Bad("an unknown class", {f"{S}gateway.clients.0.max_class": "P3"}, "gateway.clients[0].max_class", "'P3'", "'P0', 'P1' or 'P2'"),
    Bad("no such exposure", {f"{S}exposure": "open"}, "exposure", "'open'", "'internal' or 'public'"),
    Bad("an account of eleven digits", {f"{S}aws.account_id": "12345678901"}, "aws.account_id", "'12345678901'", "Twelve digits"),
    Bad("an account without quotes", {f"{S}aws.account_id": 123456789012}, "aws.account_id", "123456789012", "in quotes"),
    Bad("an AWS region that is not there", {f"{S}aws.region": "us-east-9"}, "aws.region", "'us-east-9'", "did you mean us-east-"),
    Bad("an Azure location that is not there", {f"{S}azure.location": "westeurop"}, "azure.location", "'westeurop'", "did you mean westeurope?"),
    Bad("a region without a price", {f"{S}aws.region": "sa-east-1"}, "burst.sagemaker.instance_type", "'ml.g5.xlarge'", "cost_guard.prices"),
    Bad("an instance type without a price", {f"{S}burst.azure_ml.vm_size": "Standard_NC99"}, "burst.azure_ml.vm_size", "'Standard_NC99'", "Standard_NC4as_T4_v3"),
    Bad("an EC2 name on SageMaker", {f"{S}burst.sagemaker.instance_type": "g5.xlarge"}, "burst.sagemaker.instance_type", "'g5.xlarge'", "start with 'ml.'"),
    Bad("a region of another partition", {f"{S}aws.region": "us-gov-west-1", f"{S}cost_guard.prices": {"sagemaker/ml.g5.xlarge/us-gov-west-1": 1.7}}, "aws.region", "us-gov-west-1", "aws-us-gov are not supported"),
    Bad("a container that is not in the table", {f"{S}burst.sagemaker.container_version": "19.01"}, "burst.sagemaker.container_version", "'19.01'", "allowed for triton"),
    Bad("a container without its driver", {f"{S}burst.sagemaker.container_version": "26.05", f"{S}burst.sagemaker.inference_ami_version": "al2-ami-sagemaker-inference-gpu-2"}, "burst.sagemaker.container_version", "'26.05'", "al2023-ami-sagemaker-inference-gpu-4-1"),
    # What does not fit the private cluster
    Bad("a surge beyond the GPUs", {f"{S}model_server.autoscaling.max_replicas": 3}, "model_server.autoscaling.max_replicas", "3", "has room for 1 servers of 1 GPU"),
    Bad("places on nodes that are all there", {f"{S}model_server.autoscaling.spare_servers": 1}, "model_server.autoscaling.spare_servers", "1", "has the nodes that it has"),
    Bad("a server larger than its node", {f"{S}private_cluster": EKS, ISSUER: REMOVE, f"{S}model_server.memory": "16Gi"}, "model_server.memory", "16Gi", "1 on a g5.xlarge have 14 GiB each"),
    Bad("more gateways than nodes hold", {f"{S}private_cluster": {**EKS, "system_pool": {"instance_type": "m7i.large"}}, ISSUER: REMOVE, f"{S}gateway.autoscaler.max_replicas": 6}, "gateway.autoscaler.max_replicas", "6", "6 of m7i.large hold 6 gateways"),
    Bad("more shared memory than memory", {f"{S}model_server.shared_memory": "20Gi"}, "model_server.shared_memory", "20Gi", "a server has 16384 MiB"),
    Bad("more KV than memory", {f"{S}model_server.kv_tiers": {"memory": "14Gi"}}, "model_server.kv_tiers.memory", "14Gi", "or raise model_server.memory"),
    Bad("a quota below the servers", {f"{S}private_cluster.quotas": {"serving": {"cpu": "4"}}}, "private_cluster.quotas.serving.cpu", "4", "2 servers, an update's included, ask for 8"),
    Bad("CPUs in words", {f"{S}private_cluster.quotas": {"gateway": {"cpu": "lots"}}}, "private_cluster.quotas.gateway.cpu", "'lots'", "a text that fits"),
    Bad("thousandths of a byte", {f"{S}gateway.resources": {"memory": "16m"}}, "gateway.resources.memory", "'16m'", "a text that fits"),
    Bad("devices that nobody may open", {**AMD, f"{S}model_server.gpu_device_gids": []}, "model_server.gpu_device_gids", "nothing", "getent group render"),
    Bad("an image for other GPUs", {f"{S}private_cluster.accelerator": "amd", f"{S}model_server.gpu_device_gids": [109]}, "model_server.triton_image", "nvcr.io", "has AMD GPUs"),
    Bad("a secret for Azure", {f"{S}cost_guard.azure_reader_secret": "azure_reader"}, "cost_guard.azure_reader_secret", "a former key", "managed identities"),
    Bad("a principal for Azure", {f"{S}dns": {"provider": "traffic_manager", "zone_name": "spillway.test", "switch_principal_id": "0"}}, "dns.switch_principal_id", "a former key", "managed identities"),
    Bad("a former key of drains", {f"{S}model_server.min_available": "50%"}, "model_server.min_available", "a former key", "max_unavailable"),
    # Bounds
    Bad("a TTL that outlasts an outage", {f"{S}dns.ttl_s": 3600}, "dns.ttl_s", "3600", "less than or equal to 300"),
    Bad("minimum above maximum", {f"{S}burst.sagemaker.min_instances": 5}, "burst.sagemaker", "a mapping of", "min_instances 5 is above max_instances 2"),
    Bad("a real-time endpoint of nothing", {f"{S}burst.sagemaker.min_instances": 0}, "burst.sagemaker.min_instances", "0", "greater than or equal to 1"),
    Bad("memory that Fargate does not offer", {f"{S}gateway.standby": {"cpu": 256, "memory": 8192}}, "gateway.standby", "a mapping of cpu, memory", "512 to 2048"),
    Bad("a ceiling under the minimum", {f"{S}cost_guard.max_burst_usd_per_hour": 1}, "cost_guard.max_burst_usd_per_hour", "1", "1.93 an hour"),
    Bad("a ceiling under what P0 may cost", {f"{S}burst.sagemaker.max_instances": 8}, "cost_guard.max_burst_usd_per_hour", "6", "12.32 an hour at its largest"),
    Bad("a forecast under the minimum", {f"{S}cost_guard.max_forecast_usd": 100}, "cost_guard.max_forecast_usd", "100", "a month already"),
    # Networks
    Bad("no network", {f"{S}client_cidrs": ["10.0.0.0/33"]}, "client_cidrs[0]", "'10.0.0.0/33'", "write it like"),
    Bad("the Internet is internal", {f"{S}exposure": "internal", f"{S}gateway.standby": {"certificate_arn": CERTIFICATE}, f"{S}client_cidrs": ["0.0.0.0/0"]}, "client_cidrs[0]", "'0.0.0.0/0'", "list the networks"),
    Bad("networks that overlap", {f"{S}connectivity.vnet_cidr": "10.40.0.0/16"}, "connectivity", "a mapping of", "overlaps vpc_cidr 10.40.0.0/16"),
    Bad("a peer that overlaps", {f"{S}connectivity.burst_egress": "vpn", f"{S}connectivity.vpn": {"peer_address": "192.0.2.1", "peer_cidrs": ["10.41.8.0/24"]}}, "connectivity", "a mapping of", "vpn.peer_cidrs 10.41.8.0/24 overlaps vnet_cidr"),
    Bad("services where EKS takes none", {f"{S}private_cluster": {**EKS, "service_cidr": "100.64.0.0/16"}, f"{S}connectivity": {}}, "private_cluster.service_cidr", "'100.64.0.0/16'", "a private network of /12 to /24"),
    Bad("a VPN from EKS to Azure ML", {f"{S}private_cluster": EKS, f"{S}connectivity.federation": {}, **VPN}, "connectivity.burst_egress", "kind: eks and burst.azure_ml", "use public_with_key"),
    Bad("a VPN and nothing for the standby", {f"{S}burst.sagemaker": REMOVE, **VPN}, "connectivity.burst_egress", "burst.azure_ml alone", "add a site in AWS"),
    Bad("a VPN without its far end", {f"{S}connectivity.burst_egress": "vpn"}, "connectivity", "a mapping of", "add vpn.peer_address"),
    Bad("zones of another region", {f"{S}connectivity.zones": ["eu-west-1a", "eu-west-1b", "eu-west-1c"]}, "connectivity.zones", "eu-west-1a", "us-east-1a"),
    Bad("a mirror with a scheme", {f"{S}connectivity.mirror": {"images": {"nvcr.io": "https://mirror.example.com"}}}, "connectivity.mirror.images.nvcr.io", "'https://mirror.example.com'", "without a scheme"),
    Bad("caches for nodes outside AWS", {f"{S}connectivity.mirror": {"pull_through": {"quay.io": None}}}, "connectivity.mirror.pull_through", "kind: existing", "mirror.images"),
    Bad("caches without a way to fill them", {f"{S}private_cluster": EKS, f"{S}connectivity": {"nat": "none", "mirror": {"pull_through": {"quay.io": None}}}}, "connectivity.mirror.pull_through", "nat: none", "nat: single"),
    # Impossible combinations
    Bad("AMD on EKS", {f"{S}private_cluster": {**EKS, "accelerator": "amd"}, ISSUER: REMOVE}, "private_cluster.accelerator", "'amd'", "AWS has no ROCm instances"),
    Bad("nowhere to spill", {f"{S}burst": {}}, "burst", "burst none", "set burst.sagemaker or burst.azure_ml"),
    Bad("Azure ML without Azure", {f"{S}azure": REMOVE}, "azure", "nothing", "burst.azure_ml cannot be without it"),
    Bad("Traffic Manager with SageMaker alone", {**TRAFFIC_MANAGER, f"{S}burst.azure_ml": REMOVE, f"{S}gateway.standby": {"certificate_arn": CERTIFICATE}}, "dns.provider", "dns traffic_manager", "add burst.azure_ml"),
    Bad("Traffic Manager inside", {**TRAFFIC_MANAGER, f"{S}exposure": "internal", f"{S}gateway.standby": {"certificate_arn": CERTIFICATE}}, "dns.provider", "exposure: internal", "use dns.provider: route53"),
    Bad("nothing to fail over to", {f"{S}gateway.standby": {"enabled": False}}, "gateway.standby.enabled", "false", "nothing to fail over to"),
    Bad("a name that nobody can prove", {f"{S}exposure": "internal", f"{S}dns.certificate_zone_id": None}, "gateway.standby.certificate_arn", "nothing", "dns.certificate_zone_id"),
    Bad("ACM's certificate elsewhere than on EKS", {f"{S}gateway.tls": {"acm": True}}, "gateway.tls.acm", "true", "certificate_secret and key_secret"),
    Bad("a Secret that nothing makes", {f"{S}private_cluster": EKS, f"{S}connectivity.federation": {}, f"{S}gateway.tls": {"kubernetes_secret": "gateway-tls"}}, "gateway.tls.kubernetes_secret", "gateway-tls", "give cert_manager or acm: true"),
    Bad("half a certificate", {f"{S}gateway.tls": {"certificate_secret": "chain"}}, "gateway.tls", "certificate_secret", "give both"),
    Bad("a certificate of another region", {f"{S}gateway.standby": {"certificate_arn": CERTIFICATE.replace("us-east-1", "eu-west-1")}}, "gateway.standby.certificate_arn", "eu-west-1", "aws.region, us-east-1"),
    Bad("a cluster without AWS credentials", {ISSUER: REMOVE}, "connectivity.federation", "nothing", "oidc_issuer.url"),
    Bad("an issuer for AKS", {f"{S}private_cluster": AKS, **NAMED}, "connectivity.federation.oidc_issuer", "a value", "remove it"),
    Bad("a tunnel to AKS", {f"{S}private_cluster": AKS, f"{S}connectivity": {}}, "connectivity.deployer", "tunnel", "authorised_cidrs"),
    Bad("nothing that leads to AKS", {f"{S}private_cluster": AKS, f"{S}connectivity": {"deployer": "own_network"}}, "connectivity.deployer", "own_network", "hub_vnet_id"),
    Bad("a route to nowhere", {f"{S}private_cluster": {**AKS, "outbound": "userDefinedRouting"}, f"{S}connectivity": ROAD}, "connectivity.azure_network.firewall_address", "nothing", "existing_subnets"),
    Bad("a subnet for nodes is missing", {f"{S}private_cluster": AKS, f"{S}connectivity": {**ROAD, "azure_network": LANDED}}, "connectivity.azure_network.existing_subnets.nodes", "nothing", "need a subnet"),
    Bad("GPUs that the machine does not have", {f"{S}private_cluster": {"kind": "eks", "gpu_pool": {"instance_type": "g6.12xlarge", "gpus_per_node": 8}}, ISSUER: REMOVE}, "private_cluster.gpu_pool.gpus_per_node", "8", "g6.12xlarge has 4"),
    Bad("a server larger than a node", {f"{S}model_server.gpus": 4}, "model_server.gpus", "4", "has 1"),
    Bad("more servers than GPUs", {f"{S}model_server.autoscaling": {"min_replicas": 3}}, "model_server.autoscaling.min_replicas", "3", "room for 1"),
    Bad("data to a region without a site", {f"{S}gateway.clients.0.may_spill": ["eu-west-1"]}, "gateway.clients[0].may_spill", "'eu-west-1'", "sagemaker, us-east-1, azure_ml, eastus"),
    Bad("live instances by hand, as older files have them", {f"{S}live": {"sagemaker_instances": 2}}, "live", "a former key", "asked of SageMaker before each change"),
    Bad("a class that spills to a misspelt site", {f"{S}gateway.classes": {"p1": {"try_timeout_s": 1, "timeout_s": 3, "spill_to": ["sagemakr"]}}}, "gateway.classes.p1.spill_to[0]", "sagemakr", "did you mean sagemaker? allowed: sagemaker, azure_ml"),
    Bad("slots of a misspelt site", {f"{S}gateway.slots": {"azureml": {"slots": 2}}}, "gateway.slots.azureml", "an unknown site", "did you mean azure_ml?"),
    Bad("a price of a list that nothing is bought from", {f"{S}cost_guard.prices": {"gcp/a2-highgpu-1g/us-central1": 3.0}}, "cost_guard.prices.gcp/a2-highgpu-1g/us-central1", "gcp", "clouds: azure, ec2, sagemaker"),
    Bad("two kubeconfigs", {f"{S}private_cluster.kubeconfig_path": "kubeconfig"}, "private_cluster", "a mapping of", "exactly one of kubeconfig_path"),
    Bad("a kubeconfig that is not there", {f"{S}private_cluster.kubeconfig_path": "no/such/file", f"{S}private_cluster.kubeconfig_secret": REMOVE}, "private_cluster.kubeconfig_path", "'no/such/file'", "there is no such file"),
    # Secrets
    Bad("no kubeconfig secret", {"spillway-secrets:kubeconfig": REMOVE}, "spillway-secrets:kubeconfig", "nothing", "pulumi config set --secret spillway-secrets:kubeconfig"),
    Bad("no key of the operator", {"spillway-secrets:gateway_operator_key": REMOVE}, "spillway-secrets:gateway_operator_key", "nothing", "gateway.operator_key_secret names this secret"),
    Bad("a secret of another name", {f"{S}gateway.clients.0.key_secret": "other_key"}, "spillway-secrets:other_key", "nothing", "gateway.clients[0].key_secret names this secret"),
    Bad("a key where its name belongs", {f"{S}gateway.operator_key_secret": "0-top secret-0"}, "gateway.operator_key_secret", "a value that is not shown", "Name of the stack secret"),
    # Packages
    Bad("no package", {f"{S}package.path": "no/such/package"}, "package.path", "'no/such/package'", "make one with `spillway package"),
    Bad("a changed file", {}, "package.path", "package", "triton/echo/1/model.py was changed", append("triton/echo/1/model.py")),
    Bad("a missing file", {}, "package.path", "package", "sagemaker/model.tar.gz is missing", lambda package: (package / "sagemaker" / "model.tar.gz").unlink()),
    Bad("a file too many", {}, "package.path", "package", "triton/extra.txt is not in the manifest", lambda package: (package / "triton" / "extra.txt").write_text("x")),
    Bad("an edited manifest", {}, "package.path", "package", "manifest.json", lambda package: (package / "manifest.json").write_text((package / "manifest.json").read_text().replace('"slots": 4', '"slots": 400'))),
    Bad("half a manifest", {}, "package.path", "package", "manifest.json", lambda package: (package / "manifest.json").write_text((package / "manifest.json").read_text()[:200])),
    Bad("a package without a site's layout", {f"{S}package.path": "half"}, "package.path", "a package for sagemaker, triton", "the site azure_ml serves azureml/, which echo lacks"),
    # Compiled engines
    Bad("an engine without a precision", {f"{S}model_server.engine": "tensorrt"}, "model_server.engine", "'tensorrt'", "<hardware key>/<precision>"),
    Bad("an engine that is not there", {f"{S}model_server.engine": ENGINE}, "model_server.engine", ENGINE, "allowed: none yet"),
    Bad("a misspelt engine", {f"{S}model_server.engine": f"{ENGINE}x"}, "model_server.engine", ENGINE, f"did you mean {ENGINE}?", with_engine(OF_THE_IMAGE)),
    Bad("a changed engine", {f"{S}model_server.engine": ENGINE}, "model_server.engine", ENGINE, "changed or cut short", with_engine(OF_THE_IMAGE, plan=b"other")),
    Bad("an engine without a repository", {f"{S}model_server.engine": ENGINE}, "model_server.engine", ENGINE, "compile it again", with_engine(OF_THE_IMAGE, repository=b"")),
    Bad("an engine of another TensorRT", {f"{S}model_server.engine": NEWER}, "model_server.engine", NEWER, "has TensorRT 10.5.0.18, and the engine is of 10.6.0.26", with_engine(L4)),
    Bad("an engine of TensorRT-RTX", {f"{S}model_server.engine": RTX}, "model_server.engine", RTX, "has no TensorRT-RTX", with_engine(OF_RTX)),
    Bad("an engine for no GPU", {f"{S}model_server.engine": ENGINE, f"{S}model_server.gpus": 0}, "model_server.engine", ENGINE, "model_server.gpus is 0", with_engine(OF_THE_IMAGE)),
    Bad("an engine for another GPU", {f"{S}burst.sagemaker.engine": ENGINE, f"{S}burst.sagemaker.instance_type": "ml.g5.xlarge"}, "burst.sagemaker.engine", ENGINE, "is ml.g5.xlarge, which has A10G", with_engine(OF_THE_IMAGE)),
    Bad("an engine for another accelerator", {f"{S}model_server.engine": ENGINE, **AMD}, "model_server.engine", ENGINE, "private_cluster.accelerator is amd", with_engine(OF_THE_IMAGE)),
    Bad("an engine of another package", {f"{S}model_server.engine": ENGINE}, "model_server.engine", ENGINE, "compiled from another package (1111111111111111)", with_engine(OF_THE_IMAGE, of="1" * 64)),
    Bad("an engine that SageMaker's default container lacks the library for", {f"{S}burst.sagemaker.engine": RTX, **ON_L4}, "burst.sagemaker.engine", RTX, "has no TensorRT-RTX", with_engine(OF_RTX)),
    Bad("an engine whose runtime SageMaker does not allow", {f"{S}burst.sagemaker.engine": ENGINE, **ON_L4}, "burst.sagemaker.engine", ENGINE, "version_compatible: false", with_engine(OF_THE_IMAGE, version_compatible=True)),
    Bad("an engine for vLLM", {f"{S}package.path": "vllm", f"{S}burst.azure_ml": REMOVE, f"{S}model_server.engine": ENGINE}, "model_server.engine", ENGINE, "remove the key"),
    Bad("a canary that is the package itself", {**CANARY, f"{S}model_server.canary.package": "itself"}, "model_server.canary.package", "package", "it is the package that serves"),
    Bad("a canary of another kind", {**CANARY, f"{S}model_server.canary.package": "vllm"}, "model_server.canary.package", "other", "its kind is vllm"),
    Bad("a canary that is nowhere", CANARY, "model_server.canary.package", "nowhere", "Run `spillway package`"),
    Bad("a canary with more than its servers carry", {**CANARY, f"{S}model_server.canary.percent": 40}, "model_server.canary.percent", "40", "carry 33 % of the load"),
    Bad("a canary without a GPU", {**CANARY, f"{S}model_server.autoscaling.max_replicas": 8, f"{S}model_server.canary.percent": 10}, "model_server.autoscaling.max_replicas", "8", "(1 of them to try a release)"),
    Bad("a cache without a tier", {f"{S}gateway.cache": {"redis": False}}, "gateway.cache", "a mapping", "give redis: true, disk or s3_bucket"),
    Bad("a cache in a Redis that is not there", {f"{S}gateway.cache": {"ttl_s": 60}, f"{S}model_store.redis": None}, "gateway.cache.redis", "true", "model_store.redis is null"),
    Bad("a cache beside a canary", {**CANARY, f"{S}gateway.cache": {"ttl_s": 60}}, "gateway.cache", "model_server.canary", "leave one out"),
    Bad("a canary beside an engine", {**CANARY, f"{S}model_server.engine": ENGINE}, "model_server.engine", ENGINE, "compiled for one package"),
    Bad("vLLM on Azure ML without an image", {f"{S}package.path": "vllm"}, "burst.azure_ml.container_image", "kind vllm", "build components/burst/azure_ml/vllm_image"),
]  # fmt: skip


OTHER_PACKAGES: dict[str, Callable[[Path], Path]] = {
    "vllm": lambda folder: small_package(folder, kind="vllm"),
    "itself": lambda folder: folder.parent / "package",
    "half": lambda folder: small_package(folder, layouts=(Layout.TRITON, Layout.SAGEMAKER)),
}


class Witness:
    """A stand-in that takes note of every resource that reaches it."""

    environment: Mapping[str, str] = {}

    def __init__(self, package: str) -> None:
        self.package = package
        self.seen: list[str] = []

    def types(self) -> frozenset[str]:
        return frozenset()

    def configure(self, config: Properties) -> None:
        self.seen.append("configure")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def note(*args: Any, **kwargs: Any) -> Any:
            self.seen.append(name)
            raise AssertionError(f"{name} was called")

        return note


def local_stack(tmp_path: Path) -> dict[str, Any]:
    config = changed(example("local"), {f"{S}package.path": str(small_package(tmp_path / "package"))})
    return {**config, **secrets_for(config)}


def refused(tmp_path: Path, config: dict[str, Any]) -> str:
    """The error of the one deployer that tests always have, after proof that nothing was created."""
    witnesses = [Witness(package) for package in ("aws", "azure-native", "kubernetes")]
    events: list[str] = []
    used = deployer(project(tmp_path / "project", config), witnesses, on_event=lambda event: events.append(event.kind))
    with pytest.raises(DeployerError) as caught:
        used.up()
    assert [witness.seen for witness in witnesses] == [[], [], []]
    assert not {"started", "done"} & set(events)
    assert not used.resources()
    assert not caught.value.details, "a stack file's error comes without a traceback"
    return str(caught.value)


@pytest.mark.parametrize("bad", BAD, ids=[bad.name.replace(" ", "-") for bad in BAD])
def test_a_bad_stack_file_is_refused(tmp_path: Path, bad: Bad) -> None:
    config = changed(local_stack(tmp_path), bad.changes)
    for key in (f"{S}package.path", f"{S}model_server.canary.package"):
        part, *inside = key.split(".")
        named = reduce(lambda found, name: found.get(name) or {}, inside, config.get(part) or {})
        if isinstance(named, str) and named in OTHER_PACKAGES:
            config = changed(config, {key: str(OTHER_PACKAGES[named](tmp_path / "other"))})
    bad.break_package(tmp_path / "package")

    headline, *problems = refused(tmp_path, config).splitlines()

    assert headline == "the stack file Pulumi.test.yaml cannot be deployed:"
    assert len(problems) == 1, "one mistake is one line"
    place, _, rest = problems[0].partition(": given ")
    key = re.sub(r" \(line \d+\)$", "", place)
    given, _, advice = rest.partition("; ")
    assert key == (bad.key if ":" in bad.key else f"{S}{bad.key}")
    assert bad.given in given
    assert bad.advice in advice


def test_the_unchanged_file_is_good(tmp_path: Path) -> None:
    config = local_stack(tmp_path)
    names = frozenset(key.split(":")[1] for key in config if key.startswith("spillway-secrets:"))
    assert read_settings(flat(config), names).package.path == str(tmp_path / "package")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    config = changed(local_stack(tmp_path), {f"{S}dns.ttl_s": 3600, f"{S}owner": REMOVE, f"{S}exposure": "open"})
    assert len(refused(tmp_path, config).splitlines()) == 1 + 3


def test_a_secret_value_is_never_in_an_error(tmp_path: Path) -> None:
    config = changed(local_stack(tmp_path), {f"{S}gateway.clients.0.key_secret": "a key, not its name"})
    assert "not its name" not in refused(tmp_path, config)


def test_a_value_that_is_a_secret_is_never_in_an_error(tmp_path: Path) -> None:
    config = flat(changed(local_stack(tmp_path), {f"{S}owner": "hunter 2"}))
    with pytest.raises(StackConfigError) as caught:
        read_settings(config, hidden=frozenset({f"{S}owner"}))
    assert "hunter" not in str(caught.value)


def test_yaml_that_is_none(tmp_path: Path) -> None:
    folder = project(tmp_path, {})
    (folder / "config" / "Pulumi.test.yaml").write_text("config: [")
    with pytest.raises(DeployerError, match="not valid YAML"):
        deployer(folder, []).up()
