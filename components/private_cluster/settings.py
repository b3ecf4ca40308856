"""The private GPU cluster: the stack file's ``private_cluster`` part, one model for each kind."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from components.connectivity.settings import Cidr
from components.private_cluster.chart_settings import (
    AmdOperatorSettings,
    AutoscalerSettings,
    BalancerControllerSettings,
    CertManagerSettings,
    DcgmSettings,
    EfaPluginSettings,
    LeaderWorkerSetSettings,
    MetricsServerSettings,
    NvidiaOperatorSettings,
)
from components.retention import RetentionDays
from spillway.contracts.frozen import Settings
from spillway.contracts.prices import amortised_per_gpu_hour
from spillway.contracts.quantities import CpuQuantity, MemoryQuantity

Accelerator = Literal["nvidia", "amd"]

GPU_TAINT_KEYS: dict[Accelerator, str] = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu"}
"""The taint on GPU nodes, which is also the name of the resource that pods ask for."""


def _service_network(cidr: str) -> str:
    """EKS: within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, between /24 and /12
    (docs.aws.amazon.com/eks/latest/APIReference/API_KubernetesNetworkConfigRequest.html)."""
    network = IPv4Network(cidr)
    private = any(network.subnet_of(IPv4Network(one)) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
    if not private or not 12 <= network.prefixlen <= 24:
        raise ValueError(f"{cidr} is none that EKS takes; give a private network of /12 to /24, e.g. 172.20.0.0/16")
    return cidr


class Taint(Settings):
    """Keeps pods off a node that do not tolerate it."""

    key: str
    """The taint's key."""

    value: str = ""
    """The taint's value."""

    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"
    """What happens to pods that do not tolerate it."""


class Pool(Settings):
    """A pool of nodes, bounded by a minimum and a maximum."""

    min_nodes: Annotated[int, Field(ge=0)] = 1
    """Nodes that are always there."""

    max_nodes: Annotated[int, Field(ge=1)] = 4
    """Nodes that the autoscaler may grow to."""

    initial_nodes: Annotated[int, Field(ge=0)] | None = None
    """Nodes to start with, by default the minimum; afterwards the autoscaler decides."""

    disk_gib: Annotated[int, Field(ge=30, le=16384)] = 100
    """Root volume of a node, GiB."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Further node labels."""

    @property
    def start_nodes(self) -> int:
        """Nodes at creation."""
        return self.min_nodes if self.initial_nodes is None else self.initial_nodes

    @model_validator(mode="after")
    def _sizes_are_ordered(self) -> Pool:
        if not self.min_nodes <= self.start_nodes <= self.max_nodes:
            raise ValueError(
                f"min_nodes {self.min_nodes}, initial_nodes {self.start_nodes}, max_nodes {self.max_nodes} are out of "
                "order; allowed: min_nodes <= initial_nodes <= max_nodes"
            )
        return self


class EksSystemPool(Pool):
    """EKS nodes for everything that needs no GPU."""

    instance_type: str = "m7i.xlarge"
    """EC2 instance type."""

    ami_type: Literal["AL2023_x86_64_STANDARD", "AL2023_ARM_64_STANDARD"] = "AL2023_x86_64_STANDARD"
    """Machine image; the ARM one for Graviton instance types."""

    min_nodes: Annotated[int, Field(ge=0)] = 3
    """Nodes that are always there: one a zone."""

    max_nodes: Annotated[int, Field(ge=1)] = 6
    """Nodes that the autoscaler may grow to."""


class EksGpuPool(Pool):
    """EKS nodes with NVIDIA GPUs."""

    taints: tuple[Taint, ...] = ()
    """Further node taints; model servers and the GPU operator tolerate them."""

    instance_type: str = "g6.xlarge"
    """EC2 instance type."""

    gpus_per_node: Annotated[int, Field(ge=1, le=16)] = 1
    """GPUs of that instance type; capacity, quota and cost are counted with it."""

    ami_type: Literal["AL2023_x86_64_NVIDIA", "AL2023_ARM_64_NVIDIA"] = "AL2023_x86_64_NVIDIA"
    """Machine image; it brings the NVIDIA driver and container toolkit."""

    capacity_type: Literal["ON_DEMAND", "SPOT"] = "ON_DEMAND"
    """How the instances are bought. The core of the service should not be interruptible. A Capacity Block ends on a
    day, so it is none."""

    disk_gib: Annotated[int, Field(ge=30, le=16384)] = 200
    """Root volume of a node, GiB; Triton images are large."""


class AksSystemPool(Pool):
    """AKS nodes for everything that needs no GPU."""

    vm_size: str = "Standard_D4s_v5"
    """Azure VM size."""

    min_nodes: Annotated[int, Field(ge=1)] = 3
    """Nodes that are always there: one a zone. A system pool is never empty."""

    max_nodes: Annotated[int, Field(ge=1, le=1000)] = 6
    """Nodes that the autoscaler may grow to."""


class AksGpuPool(Pool):
    """AKS nodes with GPUs."""

    taints: tuple[Taint, ...] = ()
    """Further node taints; model servers and the GPU operator tolerate them."""

    vm_size: str = "Standard_NC24ads_A100_v4"
    """Azure VM size; for ``accelerator: amd`` one of the ND MI300X sizes."""

    gpus_per_node: Annotated[int, Field(ge=1, le=16)] = 1
    """GPUs of that VM size; capacity, quota and cost are counted with it."""

    max_nodes: Annotated[int, Field(ge=1, le=1000)] = 4
    """Nodes that the autoscaler may grow to."""

    disk_gib: Annotated[int, Field(ge=30, le=2048)] = 200
    """OS disk of a node, GiB; Triton images are large."""


class Quota(Settings):
    """What one namespace may ask for in all."""

    cpu: CpuQuantity = "32"
    """CPU requests."""

    memory: MemoryQuantity = "128Gi"
    """Memory requests."""

    pods: Annotated[int, Field(ge=1)] = 50
    """Pods."""

    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs; by default what the GPU pool can grow to in the serving namespace, none elsewhere."""


class Quotas(Settings):
    """Resource quotas, one a namespace."""

    serving: Quota = Quota(cpu="128", memory="1Ti", pods=100)
    """``<name>-<stack>-serving``."""

    gateway: Quota = Quota(cpu="32", memory="64Gi", pods=50, gpus=0)
    """``<name>-<stack>-gateway``."""

    system: Quota = Quota(cpu="16", memory="64Gi", pods=50, gpus=0)
    """``<name>-<stack>-system``."""


class SharingSettings(Settings):
    """Several servers on one NVIDIA GPU: divided by MIG, or taken in turns. Pods ask for a part as for a whole GPU."""

    mig: Annotated[str, Field(pattern=r"^\d+g\.\d+gb$")] | None = None
    """MIG profile by which every GPU is divided evenly, ``1g.10gb`` for one: memory and computing units of its own."""

    time_slices: Annotated[int, Field(ge=2, le=16)] | None = None
    """Servers that take turns on one GPU. Its memory is everybody's: what one server takes, another lacks."""

    @model_validator(mode="after")
    def _one_way(self) -> SharingSettings:
        if (self.mig is None) == (self.time_slices is None):
            raise ValueError("give one of mig, a profile such as 1g.10gb, and time_slices, a number of servers a GPU")
        return self


class _Cluster(Settings):
    """What all kinds share."""

    accelerator: Accelerator = "nvidia"
    """GPU vendor of the cluster's nodes."""

    authorised_cidrs: tuple[Cidr, ...] = ()
    """Networks, beside the deployer's, that may reach the API server."""

    quotas: Quotas = Quotas()
    """Resource quotas of Spillway's namespaces."""

    nvidia_operator: NvidiaOperatorSettings = NvidiaOperatorSettings()
    """The GPU operator with ``accelerator: nvidia``."""

    amd_operator: AmdOperatorSettings = AmdOperatorSettings()
    """The GPU operator with ``accelerator: amd``."""

    cert_manager: CertManagerSettings = CertManagerSettings()
    """Installed with ``amd_operator.driver`` alone."""

    gpu_sharing: SharingSettings | None = None
    """Several servers on one GPU, which the NVIDIA operator arranges; by default each has whole ones."""

    leader_worker_set: LeaderWorkerSetSettings = LeaderWorkerSetSettings()
    """The controller of servers on several nodes."""

    dcgm: DcgmSettings = DcgmSettings()
    """GPU metrics with ``accelerator: nvidia``."""

    @property
    def nvidia_driver_by_operator(self) -> bool:
        """Whether the GPU operator installs NVIDIA's driver, so that nobody else may."""
        if not self.nvidia_operator.enabled:
            return False
        return self.driver_by_default if self.nvidia_operator.driver is None else self.nvidia_operator.driver

    @property
    def driver_by_default(self) -> bool:
        """What ``nvidia_operator.driver`` is where the stack file is silent."""
        return True


class EksSettings(_Cluster):
    """An EKS cluster of our own, in the VPC of ``connectivity``."""

    kind: Literal["eks"] = "eks"
    """Which kind of cluster."""

    kubernetes_version: Annotated[str, Field(pattern=r"^1\.\d+$")] = "1.34"
    """Kubernetes minor version."""

    system_pool: EksSystemPool = EksSystemPool()
    """Nodes without GPUs."""

    gpu_pool: EksGpuPool = EksGpuPool()
    """Nodes with GPUs."""

    service_cidr: Annotated[Cidr, AfterValidator(_service_network)] = "172.20.0.0/16"
    """Network of the services, seen inside the cluster only: a private one of /12 to /24. It counts when the cluster is
    made, and never changes."""

    log_retention_days: RetentionDays = 90
    """Days that control-plane logs are kept."""

    admin_role_arns: tuple[Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:(role|user)/.+$")], ...] = ()
    """Who administers the cluster. When empty, whoever creates it does."""

    viewer_role_arns: tuple[Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:(role|user)/.+$")], ...] = ()
    """Who may read the cluster's objects."""

    addon_versions: dict[str, str] = Field(default_factory=dict)
    """Exact versions of EKS add-ons by name; the others have EKS's default for ``kubernetes_version``."""

    metadata_hop_limit: Annotated[int, Field(ge=1, le=2)] = 1
    """IMDSv2 hop limit: at 1 pods cannot reach the node's credentials."""

    oidc_thumbprint: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] = "9e99a48a9960b14926bb7f3b02e22da2b0ab7280"
    """SHA-1 of the CA above EKS's OIDC issuers (Starfield Services Root, Amazon's)."""

    key_deletion_days: Annotated[int, Field(ge=7, le=30)] = 30
    """Days between deletion of a key and its end."""

    autoscaler: AutoscalerSettings = AutoscalerSettings()
    """The cluster autoscaler."""

    load_balancer_controller: BalancerControllerSettings = BalancerControllerSettings()
    """What makes the gateway's load balancer; switch it off where the cluster gets it otherwise."""

    efa_device_plugin: EfaPluginSettings = EfaPluginSettings()
    """What hands the nodes' Elastic Fabric Adapters to pods."""

    @property
    def driver_by_default(self) -> bool:
        """EKS's GPU images bring the driver."""
        return False

    @field_validator("accelerator")
    @classmethod
    def _no_rocm_on_aws(cls, accelerator: Accelerator) -> Accelerator:
        if accelerator == "amd":
            raise ValueError(
                "AWS has no ROCm instances, so kind: eks allows accelerator: nvidia only; "
                "for AMD GPUs use kind: existing, or kind: aks with an ND MI300X vm_size"
            )
        return accelerator


class AksSettings(_Cluster):
    """A private AKS cluster of our own, in the VNet of ``connectivity``."""

    kind: Literal["aks"]
    """Which kind of cluster."""

    kubernetes_version: Annotated[str, Field(pattern=r"^1\.\d+(\.\d+)?$")] = "1.34"
    """Kubernetes version."""

    system_pool: AksSystemPool = AksSystemPool()
    """Nodes without GPUs."""

    gpu_pool: AksGpuPool = AksGpuPool()
    """Nodes with GPUs."""

    zones: tuple[Annotated[str, Field(pattern=r"^[123]$")], ...] = ("1", "2", "3")
    """Availability zones of the node pools; fewer where the GPU size is not in all of them."""

    log_retention_days: Annotated[int, Field(ge=30, le=730)] = 90
    """Days that the Log Analytics workspace keeps logs."""

    admin_group_ids: tuple[str, ...] = ()
    """Object ids of the Entra groups that administer the cluster. There are no local accounts."""

    deployer_principal_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")] | None = None
    """Object id of who deploys, where that is in none of the groups: it gets the role "Azure Kubernetes Service RBAC
    Cluster Admin" on the cluster."""

    login: Literal["azurecli", "workloadidentity", "spn", "msi"] = "azurecli"
    """How the deployer logs in to the API server: a mode of ``kubelogin``, which has to be on its PATH."""

    pod_cidr: Cidr = "172.20.0.0/16"
    """Network of the pods, an overlay: seen inside the cluster only."""

    service_cidr: Cidr = "172.21.0.0/16"
    """Network of the services, seen inside the cluster only."""

    outbound: Literal["loadBalancer", "userDefinedRouting", "none"] = "loadBalancer"
    """How nodes reach out: Azure's load balancer, a route to the firewall of ``connectivity.azure_network``, or not at
    all (mirrors only)."""

    bootstrap_registry_id: Annotated[str, Field(pattern=r"/Microsoft\.ContainerRegistry/registries/[^/]+$")] | None = (
        None
    )
    """Resource id of the private container registry from which isolated nodes start; needed with ``outbound: none``."""

    encryption_at_host: bool = True
    """Encrypt temporary disks and caches on the hosts; the subscription needs the feature EncryptionAtHost."""

    upgrade_channel: Literal["none", "patch"] = "patch"
    """Which upgrades Azure makes by itself, in the maintenance window. The minor version is ``kubernetes_version``'s:
    one that Azure moved on could not be brought back by the next ``up``."""

    maintenance_day: Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"] = "Sunday"
    """Weekday of the maintenance window."""

    maintenance_start: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "02:00"
    """Start of the maintenance window, UTC; it lasts four hours."""

    defender: bool = False
    """Microsoft Defender for Containers on the nodes; it is billed by core."""

    @model_validator(mode="after")
    def _somebody_may_deploy(self) -> AksSettings:
        if not self.admin_group_ids and not self.deployer_principal_id:
            raise ValueError(
                "nobody may use the cluster's API, the deployer included; name Entra groups that it is in as "
                "admin_group_ids, or its object id as deployer_principal_id"
            )
        return self

    @model_validator(mode="after")
    def _isolated_nodes_start_from_a_registry(self) -> AksSettings:
        if (self.outbound == "none") != (self.bootstrap_registry_id is not None):
            raise ValueError(
                f"outbound is {self.outbound} and bootstrap_registry_id is {self.bootstrap_registry_id or 'missing'}; "
                "isolated nodes (outbound: none), and only they, start from a private registry"
            )
        return self

    @model_validator(mode="after")
    def _no_authorised_networks(self) -> AksSettings:
        if self.authorised_cidrs:
            raise ValueError(
                "authorised_cidrs is given, and AKS's API server takes the deployer's networks; give them as "
                "connectivity.deployer_cidrs with connectivity.deployer: authorised_cidrs"
            )
        return self

    @model_validator(mode="after")
    def _amd_size_for_amd(self) -> AksSettings:
        is_amd_size = "MI300X" in self.gpu_pool.vm_size
        if is_amd_size != (self.accelerator == "amd"):
            raise ValueError(
                f"gpu_pool.vm_size {self.gpu_pool.vm_size} does not fit accelerator: {self.accelerator}; with amd use "
                "Standard_ND96isr_MI300X_v5, with nvidia an NC or ND size with NVIDIA GPUs"
            )
        return self


class OwnedNodeSettings(Settings):
    """What one GPU node of your own is worked out of; an example with sources is ``h100-8`` in the price catalogue."""

    purchase_usd: Annotated[float, Field(gt=0)]
    """What the node cost, network and racks included."""
    years: Annotated[float, Field(gt=0, le=15)] = 4.0
    """Years over which it is paid back, in equal parts."""
    interest: Annotated[float, Field(ge=0, le=1)] = 0.0
    """What its money costs a year, as a share, e.g. 0.08; 0 counts the purchase alone."""
    power_kw: Annotated[float, Field(ge=0)] = 0.0
    """Its draw under load."""
    usd_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Price of electricity."""
    overhead: Annotated[float, Field(ge=1)] = 1.0
    """PUE of the site: total power divided by the machines' power."""
    operation_usd_per_year: Annotated[float, Field(ge=0)] = 0.0
    """The node's share of staff, space and spare parts."""


class ExistingSettings(_Cluster):
    """A cluster that is already there: on premises, or any other."""

    kind: Literal["existing"]
    """Which kind of cluster."""

    kubeconfig_path: str | None = None
    """Path of a kubeconfig file, relative to the project; or use ``kubeconfig_secret``."""

    kubeconfig_secret: str | None = None
    """Name of the stack secret that holds the kubeconfig."""

    context: str | None = None
    """Context of the kubeconfig; by default its current one."""

    nodes: Annotated[int, Field(ge=1)] = 1
    """GPU nodes of the cluster, for capacity and cost."""

    gpus_per_node: Annotated[int, Field(ge=1, le=16)] = 8
    """GPUs a node, for capacity and cost."""

    usd_per_node_hour: Annotated[float, Field(ge=0)] | None = None
    """What one GPU node costs an hour, US dollars, where that is known; or use ``owned``."""

    owned: OwnedNodeSettings | None = None
    """What one GPU node costs an hour, worked out of its purchase, years, power and staff."""

    metrics_server: MetricsServerSettings = MetricsServerSettings()
    """What tells autoscalers the CPU that pods use."""

    @model_validator(mode="after")
    def _one_kubeconfig(self) -> ExistingSettings:
        if (self.kubeconfig_path is None) == (self.kubeconfig_secret is None):
            raise ValueError(
                "give exactly one of kubeconfig_path (a file) and kubeconfig_secret (the name of a stack secret)"
            )
        return self

    @model_validator(mode="after")
    def _one_price(self) -> ExistingSettings:
        if (self.usd_per_node_hour is None) == (self.owned is None):
            raise ValueError(
                "what does a GPU node cost? give exactly one of usd_per_node_hour and owned (purchase_usd, years, "
                "power_kw, ...); no price list has it"
            )
        return self

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.nodes * self.gpus_per_node

    @property
    def usd_per_gpu_hour(self) -> float:
        """US dollars for one GPU and hour."""
        if self.owned is None:
            assert self.usd_per_node_hour is not None
            return self.usd_per_node_hour / self.gpus_per_node
        return amortised_per_gpu_hour(gpus=self.gpus_per_node, **self.owned.model_dump())


PrivateClusterSettings = Annotated[EksSettings | AksSettings | ExistingSettings, Field(discriminator="kind")]
"""The stack file's ``private_cluster``: one of three models, by ``kind``."""
