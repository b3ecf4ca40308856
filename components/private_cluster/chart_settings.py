"""The Helm charts of the private cluster: which version from where, and what is chosen of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from spillway.contracts.frozen import Settings


class ChartSettings(Settings):
    """A pinned Helm chart."""

    enabled: bool = True
    """Off where the cluster already has it."""

    version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+")]
    """Exact chart version."""

    repository: Annotated[str, Field(pattern=r"^(https|oci)://")]
    """Chart repository; ``connectivity.mirror.charts`` replaces it."""

    values: dict[str, Any] = Field(default_factory=dict)
    """Further chart values, merged over ours. No secrets: name a Secret instead."""


class NvidiaOperatorSettings(ChartSettings):
    """The NVIDIA GPU operator."""

    version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+")] = "v25.10.0"
    """Exact chart version."""

    repository: Annotated[str, Field(pattern=r"^(https|oci)://")] = "https://helm.ngc.nvidia.com/nvidia"
    """Chart repository."""

    driver: bool | None = None
    """Install the driver; by default off on EKS, whose image brings it, and on elsewhere: on AKS the operator and Azure
    exclude each other, so the node pool leaves it out."""

    toolkit: bool | None = None
    """Install the container toolkit; by default as ``driver``."""


class AmdOperatorSettings(ChartSettings):
    """The AMD GPU operator."""

    version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+")] = "v1.4.0"
    """Exact chart version."""

    repository: Annotated[str, Field(pattern=r"^(https|oci)://")] = "https://rocm.github.io/gpu-operator"
    """Chart repository."""

    driver: bool = False
    """Build and load the driver; off where the node image brings it. It takes ``driver_image`` and cert-manager."""

    driver_image: Annotated[str, Field(pattern=r"^[^\s:]+(:\d+)?/[^\s:]+$")] | None = None
    """Repository, without a tag, where the operator keeps the driver images that it builds: nodes pull from it, and the
    operator pushes to it."""

    driver_image_secret: str | None = None
    """Secret of type dockerconfigjson, in the operator's namespace, that opens that repository."""

    driver_version: Annotated[str, Field(pattern=r"^\d+(\.\d+)+$")] = "6.4"
    """ROCm version of the driver."""

    @model_validator(mode="after")
    def _driver_has_an_image(self) -> AmdOperatorSettings:
        if self.driver and self.driver_image is None:
            raise ValueError(
                "driver: true, and no driver_image: the operator builds the driver on the cluster and needs a "
                "repository to keep it in, e.g. myregistry.azurecr.io/amdgpu-driver"
            )
        return self


class CertManagerSettings(ChartSettings):
    """cert-manager, for ``gateway.tls.cert_manager`` and for the webhooks of the AMD operator's driver builder. A
    cluster has one: switch it off where it has its own, and name that one's namespace and service account."""

    version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+")] = "v1.21.1"
    """Exact chart version."""

    repository: Annotated[str, Field(pattern=r"^(https|oci)://")] = "https://charts.jetstack.io"
    """Chart repository."""

    namespace: str = "cert-manager"
    """Namespace of the release."""

    service_account: str = "cert-manager"
    """Service account of its controller, which asks for tokens of the issuer's."""

    dns_over_https: tuple[Annotated[str, Field(pattern=r"^https://\S+$")], ...] = (
        "https://1.1.1.1/dns-query",
        "https://8.8.8.8/dns-query",
    )
    """Who is asked whether a proof can be seen: the network's own resolver may answer the name from a private zone."""


class LeaderWorkerSetSettings(ChartSettings):
    """The controller of LeaderWorkerSet, installed where ``model_server.span`` makes servers of several nodes. There is
    one in a cluster: its webhooks' names are fixed."""

    version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+")] = "0.9.0"
    """Exact chart version."""

    repository: Annotated[str, Field(pattern=r"^(https|oci)://")] = "oci://registry.k8s.io/lws/charts"
    """Chart repository."""


class MetricsServerSettings(ChartSettings):
    """metrics-server, which tells the gateways' autoscaler their CPU use; EKS and AKS bring it."""

    enabled: bool = False
    """On where the cluster has none: `kubectl get apiservice v1beta1.metrics.k8s.io` finds nothing."""

    version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+")] = "3.13.1"
    """Exact chart version."""

    repository: Annotated[str, Field(pattern=r"^(https|oci)://")] = "https://kubernetes-sigs.github.io/metrics-server"
    """Chart repository."""


class DcgmSettings(ChartSettings):
    """NVIDIA's GPU metrics exporter. The GPU operator runs it; the chart is for clusters without the operator."""

    version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+")] = "4.6.0"
    """Exact chart version, used where ``nvidia_operator.enabled`` is false."""

    repository: Annotated[str, Field(pattern=r"^(https|oci)://")] = "https://nvidia.github.io/dcgm-exporter/helm-charts"
    """Chart repository."""

    interval_s: Annotated[int, Field(ge=1, le=60)] = 5
    """Seconds between samples."""


class AutoscalerSettings(ChartSettings):
    """The cluster autoscaler on EKS; AKS brings its own."""

    version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+")] = "9.53.0"
    """Exact chart version: of the autoscaler for Kubernetes 1.34, and it follows ``kubernetes_version``."""

    repository: Annotated[str, Field(pattern=r"^(https|oci)://")] = "https://kubernetes.github.io/autoscaler"
    """Chart repository."""

    namespace: str = "kube-system"
    """Namespace of the release; the role is bound to it."""

    service_account: str = "cluster-autoscaler"
    """Service account of the release; the role is bound to it."""


class BalancerControllerSettings(ChartSettings):
    """The AWS Load Balancer Controller on EKS, which the gateway's Service needs; AKS brings its own."""

    version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+")] = "3.5.0"
    """Exact chart version."""

    repository: Annotated[str, Field(pattern=r"^(https|oci)://")] = "https://aws.github.io/eks-charts"
    """Chart repository."""

    namespace: str = "kube-system"
    """Namespace of the release; the role is bound to it."""

    service_account: str = "aws-load-balancer-controller"
    """Service account of the release; the role is bound to it."""


class EfaPluginSettings(ChartSettings):
    """AWS's device plugin for Elastic Fabric Adapters, installed where ``model_server.span`` uses them."""

    version: Annotated[str, Field(pattern=r"^v?\d+\.\d+\.\d+")] = "v0.5.30"
    """Exact chart version."""

    repository: Annotated[str, Field(pattern=r"^(https|oci)://")] = "https://aws.github.io/eks-charts"
    """Chart repository."""

    namespace: str = "kube-system"
    """Namespace of the release."""
