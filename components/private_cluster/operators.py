"""Values of the charts that a private cluster gets: the GPU vendors' operators, and EKS's controllers.

Each chart's own keys, at the pinned versions: ``spillway/conformance/services/kubernetes/charts.json``.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, Final

import pulumi
import yaml

from components.chart_values import Form, at, merged
from components.private_cluster.chart_settings import AmdOperatorSettings, CertManagerSettings
from components.private_cluster.settings import (
    GPU_TAINT_KEYS,
    AksSettings,
    EksSettings,
    ExistingSettings,
    SharingSettings,
)

GPU_NODES: Final = {"nvidia.com/gpu.present": "true"}
"""Label of the nodes with NVIDIA GPUs: our pools have it, and the operator gives it to others."""

NODES_FROM_ZERO: Final = "k8s.amazonaws.com/accelerator"
"""Label by which the cluster autoscaler knows that a node's GPUs are still to come: without it a Ready node that has
none yet makes it start further ones. https://github.com/kubernetes/autoscaler, cluster-autoscaler/cloudprovider/aws."""


_NVIDIA: Final = "nvcr.io/nvidia"
_DISCOVERY: Final = {"node-feature-discovery.image.repository": "registry.k8s.io/nfd/node-feature-discovery"}

_AMD_DEVICES: Final = {
    # What the device plugin's own chart 0.21.0 takes (github.com/ROCm/k8s-device-plugin, helm/amd-gpu/values.yaml): the
    # operator's takes `latest`. From this release on it counts partitioned GPUs of newer drivers rightly
    # (github.com/ROCm/gpu-operator, docs/releasenotes.md).
    "deviceConfig.spec.devicePlugin.devicePluginImage": "docker.io/rocm/k8s-device-plugin:1.31.0.9",
    "deviceConfig.spec.devicePlugin.nodeLabellerImage": "docker.io/rocm/k8s-device-plugin:labeller-1.31.0.9",
}
_KMM: Final = "docker.io/rocm/kernel-module-management"

IMAGES: Final[dict[str, dict[str, str]]] = {
    "gpu-operator": {
        **_DISCOVERY,
        **{
            f"{part}.repository": _NVIDIA
            for part in ("operator", "operator.initContainer", "validator", "driver", "devicePlugin", "gfd")
        },
        "nodeStatusExporter.repository": _NVIDIA,
        "toolkit.repository": f"{_NVIDIA}/k8s",
        "dcgmExporter.repository": f"{_NVIDIA}/k8s",
        **{f"{part}.repository": f"{_NVIDIA}/cloud-native" for part in ("driver.manager", "dcgm", "migManager")},
    },
    "gpu-operator-charts": {
        **_DISCOVERY,
        "controllerManager.manager.image.repository": "docker.io/rocm/gpu-operator",
        "kmm.controller.manager.image.repository": f"{_KMM}-operator",
        "kmm.webhookServer.webhookServer.image.repository": f"{_KMM}-webhook-server",
        # What builds, signs and loads the driver.
        "kmm.controller.manager.env.relatedImageBuild": "gcr.io/kaniko-project/executor:v1.23.2",
        "kmm.controller.manager.env.relatedImageSign": f"{_KMM}-signimage:v1.4.0",
        "kmm.controller.manager.env.relatedImageWorker": f"{_KMM}-worker:v1.4.0",
        "deviceConfig.spec.commonConfig.initContainerImage": "busybox:1.36",
        "deviceConfig.spec.commonConfig.utilsContainer.image": "docker.io/rocm/gpu-operator-utils:v1.4.0",
        **_AMD_DEVICES,
        "deviceConfig.spec.metricsExporter.image": "rocm/device-metrics-exporter:v1.4.0",
    },
    "cert-manager": {
        "image.repository": "quay.io/jetstack/cert-manager-controller",
        "webhook.image.repository": "quay.io/jetstack/cert-manager-webhook",
        "cainjector.image.repository": "quay.io/jetstack/cert-manager-cainjector",
        "acmesolver.image.repository": "quay.io/jetstack/cert-manager-acmesolver",
        "startupapicheck.image.repository": "quay.io/jetstack/cert-manager-startupapicheck",
    },
    "dcgm-exporter": {"image.repository": f"{_NVIDIA}/k8s/dcgm-exporter"},
    "cluster-autoscaler": {"image.repository": "registry.k8s.io/autoscaling/cluster-autoscaler"},
    "aws-load-balancer-controller": {"image.repository": "public.ecr.aws/eks/aws-load-balancer-controller"},
    "aws-efa-k8s-device-plugin": {
        "image.repository": "602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/aws-efa-k8s-device-plugin"
    },
    "lws": {"image.manager.repository": "registry.k8s.io/lws/lws"},
    "metrics-server": {"image.repository": "registry.k8s.io/metrics-server/metrics-server"},
}
"""Chart -> the values that name its images -> what they are by default: what a mirror has to replace."""


_DISCOVERY_SECRETS: Final[dict[str, Form]] = {"node-feature-discovery.imagePullSecrets": "references"}

PULL_SECRETS: Final[dict[str, dict[str, Form]]] = {
    "gpu-operator": {
        **_DISCOVERY_SECRETS,
        **{
            f"{part}.imagePullSecrets": "names"
            for part in (
                "operator",
                "operator.initContainer",
                "validator",
                "driver",
                "toolkit",
                "devicePlugin",
                "gfd",
                "dcgm",
                "dcgmExporter",
                "migManager",
                "nodeStatusExporter",
            )
        },
    },
    "gpu-operator-charts": {
        **_DISCOVERY_SECRETS,
        "controllerManager.manager.imagePullSecrets": "name",
        "kmm.controller.manager.imagePullSecrets": "name",
        "kmm.webhookServer.webhookServer.imagePullSecrets": "name",
        "kmm.controller.manager.env.relatedImageBuildPullSecret": "name",
        "kmm.controller.manager.env.relatedImageSignPullSecret": "name",
        "kmm.controller.manager.env.relatedImageWorkerPullSecret": "name",
        "deviceConfig.spec.commonConfig.utilsContainer.imageRegistrySecret": "reference",
        "deviceConfig.spec.devicePlugin.imageRegistrySecret": "reference",
        "deviceConfig.spec.metricsExporter.imageRegistrySecret": "reference",
    },
    "cert-manager": {"global.imagePullSecrets": "references"},
    "dcgm-exporter": {"imagePullSecrets": "references"},
    "cluster-autoscaler": {"image.pullSecrets": "names"},
    "aws-load-balancer-controller": {"imagePullSecrets": "references"},
    "aws-efa-k8s-device-plugin": {"imagePullSecrets": "references"},
    "lws": {"imagePullSecrets": "references"},
    "metrics-server": {"imagePullSecrets": "references"},
}
"""Chart -> where it takes the secret that its images are pulled with. The forms are those of the templates."""


def nvidia_values(settings: EksSettings | AksSettings | ExistingSettings) -> dict[str, Any]:
    """Of ``gpu-operator``."""
    operator = settings.nvidia_operator
    driver = settings.nvidia_driver_by_operator
    toolkit = driver if operator.toolkit is None else operator.toolkit
    values: dict[str, Any] = {
        "driver": {"enabled": driver},
        "toolkit": {"enabled": toolkit},
        "dcgmExporter": {
            "enabled": settings.dcgm.enabled,
            # The kind ServiceMonitor is not there yet: the monitoring component scrapes the exporter.
            "serviceMonitor": {"enabled": False},
            "env": _exporter_variables(settings),
        },
    }
    if not isinstance(settings, ExistingSettings) and settings.gpu_pool.taints:
        # Of itself everything there tolerates the GPU's taint alone.
        values["daemonsets"] = {"tolerations": tolerations(settings)}
        values["node-feature-discovery"] = {"worker": {"tolerations": tolerations(settings)}}
    if settings.gpu_sharing:
        values = merged(values, _sharing(settings.gpu_sharing))
    if not toolkit:
        # The node's own toolkit makes `nvidia` the runtime of every container and, before 1.18, heeds what the image
        # asks for, which is all GPUs, above what CDI names: so the plugin says it where the image did (ADR 0134).
        values["cdi"] = {"enabled": False}
    if isinstance(settings, AksSettings) and not toolkit:
        # What containerd of Azure's images calls its handler; every operand names it.
        values["operator"] = {"runtimeClass": "nvidia-container-runtime"}
    return values


def _sharing(sharing: SharingSettings) -> dict[str, Any]:
    """Parts of GPUs under the name of whole ones.

    https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-operator-mig.html (strategy ``single``: all
    of a node's GPUs alike; clouds' machines start anew to divide them), and gpu-sharing.html of the same.
    """
    if sharing.mig:
        reboot = {"name": "WITH_REBOOT", "value": "true"}
        return {
            "mig": {"strategy": "single"},
            "migManager": {"config": {"default": f"all-{sharing.mig}"}, "env": [reboot]},
        }
    # More turns are no more of a GPU: who asks for two is told so.
    part = {"name": GPU_TAINT_KEYS["nvidia"], "replicas": sharing.time_slices}
    turns = {"failRequestsGreaterThanOne": True, "resources": [part]}
    document = yaml.safe_dump({"version": "v1", "sharing": {"timeSlicing": turns}}, sort_keys=False)
    config = {"create": True, "name": "time-slicing", "default": "any", "data": {"any": document}}
    return {"devicePlugin": {"config": config}}


def amd_values(settings: AksSettings | ExistingSettings) -> dict[str, Any]:
    """Of ``gpu-operator-charts``. Its operands tolerate nothing of themselves."""
    operator, tolerated = settings.amd_operator, tolerations(settings)
    values = {
        # An upgrade of the release changes what the operator runs, too.
        "crds": {"defaultCR": {"install": True, "upgrade": True}},
        # Builds and loads the driver; its webhooks need cert-manager.
        "kmm": {"enabled": operator.driver},
        "node-feature-discovery": {"worker": {"tolerations": tolerated}},
        "deviceConfig": {
            "spec": {
                "driver": {"enable": operator.driver, "tolerations": tolerated, **_driver_image(operator)},
                "devicePlugin": {
                    "devicePluginTolerations": tolerated,
                    "nodeLabellerTolerations": tolerated,
                },
                "metricsExporter": {"enable": True, "tolerations": tolerated},
            }
        },
    }
    return reduce(merged, (at(path, image) for path, image in _AMD_DEVICES.items()), values)


def dcgm_values(settings: EksSettings | AksSettings | ExistingSettings) -> dict[str, Any]:
    """Of ``dcgm-exporter``, which without these would run beside the GPUs, not on their nodes."""
    return {
        "serviceMonitor": {"enabled": False},
        "extraEnv": [dcgm_interval(settings.dcgm.interval_s)],
        "nodeSelector": GPU_NODES,
        "tolerations": tolerations(settings),
    }


def autoscaler_values(
    settings: EksSettings, cluster_name: pulumi.Input[str] | None, region: str | None
) -> dict[str, Any]:
    """Of ``cluster-autoscaler``."""
    return {
        "autoDiscovery": {"clusterName": cluster_name},
        "awsRegion": region,
        "rbac": {"serviceAccount": {"name": settings.autoscaler.service_account}},
        "extraArgs": {
            # Model servers keep their package on the node's disk, Prometheus its samples: both may be made anew.
            "skip-nodes-with-local-storage": False,
            "skip-nodes-with-system-pods": False,
            # One group a zone would otherwise grow alone.
            "balance-similar-node-groups": True,
        },
    }


def balancer_values(
    settings: EksSettings,
    cluster_name: pulumi.Input[str] | None,
    region: str | None,
    vpc_id: pulumi.Input[str] | None,
) -> dict[str, Any]:
    """Of ``aws-load-balancer-controller``."""
    return {
        "clusterName": cluster_name,
        # Pods cannot ask the instance metadata service: one hop is all that it answers.
        "region": region,
        "vpcId": vpc_id,
        "serviceAccount": {"name": settings.load_balancer_controller.service_account},
        "enableServiceMutatorWebhook": False,
    }


def efa_values(settings: EksSettings) -> dict[str, Any]:
    """Of ``aws-efa-k8s-device-plugin``, which knows by their type the machines that it runs on."""
    return {"tolerations": tolerations(settings)}


def group_values(settings: EksSettings | AksSettings | ExistingSettings) -> dict[str, Any]:
    """Of ``lws``. Its webhook is asked for each pod of a group: without one, none would be made anew."""
    return {
        "replicaCount": 2,
        "image": {"manager": {"tag": f"v{settings.leader_worker_set.version.removeprefix('v')}"}},
    }


def cert_manager_values(settings: CertManagerSettings) -> dict[str, Any]:
    """Of ``cert-manager``."""
    return {
        "crds": {"enabled": True},
        # Its lease stands in kube-system of itself, where not every cluster lets it write.
        "global": {"leaderElection": {"namespace": settings.namespace}},
        "serviceAccount": {"name": settings.service_account},
        "dns01RecursiveNameservers": ",".join(settings.dns_over_https),
        "dns01RecursiveNameserversOnly": True,
    }


def tolerations(settings: EksSettings | AksSettings | ExistingSettings) -> list[dict[str, str]]:
    """What a chart's pods need to run on every GPU node that the stack makes."""
    gpu = {"key": GPU_TAINT_KEYS[settings.accelerator], "operator": "Exists", "effect": "NoSchedule"}
    pool = () if isinstance(settings, ExistingSettings) else settings.gpu_pool.taints
    return [gpu, *({"key": taint.key, "operator": "Exists", "effect": taint.effect} for taint in pool)]


def dcgm_interval(seconds: int) -> dict[str, str]:
    """The exporter's sampling period."""
    return {"name": "DCGM_EXPORTER_INTERVAL", "value": str(seconds * 1000)}


def _exporter_variables(settings: EksSettings | AksSettings | ExistingSettings) -> list[dict[str, str]]:
    """Without the second, no pod is named for a GPU that several take turns on (dcgm-exporter's README)."""
    shared = settings.gpu_sharing is not None and settings.gpu_sharing.time_slices is not None
    turns = [{"name": "KUBERNETES_VIRTUAL_GPUS", "value": "true"}] if shared else []
    return [dcgm_interval(settings.dcgm.interval_s), *turns]


def _driver_image(operator: AmdOperatorSettings) -> dict[str, Any]:
    if not operator.driver:
        return {}
    secret = {"imageRegistrySecret": {"name": operator.driver_image_secret}} if operator.driver_image_secret else {}
    return {"image": operator.driver_image, "version": operator.driver_version, "blacklist": True, **secret}
