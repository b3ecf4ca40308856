"""The private GPU cluster on AKS: private API server, Entra log-in only, workload identity, system and GPU pools.

The kubeconfig holds no credential: with local accounts off Azure hands out one that calls ``kubelogin``, and so does
this one, in the log-in mode of the settings. Whoever deploys needs ``kubelogin``, a log-in, and a way into the VNet.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Any, Final

import pulumi
import yaml
from pulumi_azure_native import authorization, containerservice, managedidentity

from components.azure_logs import log_workspace, send_logs
from components.azure_roles import grant_actions, in_force
from components.base import Component, StackContext
from components.private_cluster.settings import GPU_TAINT_KEYS, AksGpuPool, AksSettings, AksSystemPool, Taint
from spillway.contracts.azure_roles import ROLES

CONTROL_PLANE_LOGS: Final = (
    "kube-apiserver",
    "kube-audit-admin",
    "kube-controller-manager",
    "kube-scheduler",
    "cluster-autoscaler",
    "guard",
)
"""Categories of AKS resource logs; audit without reads, which would be most of it."""

KEPT_LOGIN_OPTIONS: Final = ("--environment", "--server-id", "--tenant-id")


@dataclass(frozen=True)
class AksArgs:
    """Nodes and internal load balancers live in ``nodes_subnet_id``; ``vnet_id``: its network, where that is the
    stack's own. ``api_cidrs``: networks that reach the API server over the Internet; without any it has a private
    address alone, which its public name gives out. ``one_zone``: GPU nodes stand in the first zone, as a server on
    several of them does."""

    settings: AksSettings
    resource_group_name: pulumi.Input[str]
    location: str
    subscription_id: str
    tenant_id: str
    nodes_subnet_id: pulumi.Input[str]
    vnet_id: pulumi.Input[str] | None = None
    api_cidrs: tuple[str, ...] = ()
    one_zone: bool = False


class Aks(Component):
    """Outputs: ``name``, ``kubeconfig`` (secret, YAML), ``oidc_issuer_url``, ``ready`` (resources to depend on before
    workloads are deployed)."""

    def __init__(self, context: StackContext, args: AksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("private-cluster", context, opts)
        self.args = args
        self.settings = args.settings
        self.identity = self._identity()
        self.logs = log_workspace(
            self, "aks-logs", args.resource_group_name, args.location, "aks-logs", self.settings.log_retention_days
        )
        subnet = self._grant("subnet", "Network Contributor", args.nodes_subnet_id, self.identity.principal_id)
        self.cluster = self._cluster([subnet, *self._may_join()])
        self.name = self.cluster.name
        self.oidc_issuer_url: pulumi.Output[str] = self.cluster.oidc_issuer_profile.apply(
            lambda profile: (profile.issuer_url if profile else None) or ""
        )
        pool = self._gpu_pool()
        send_logs(self, "aks-control-plane", self.cluster.id, self.logs.id, CONTROL_PLANE_LOGS)
        self._maintenance()
        self.kubeconfig = self._kubeconfig()
        self.ready: list[pulumi.Resource] = [self.cluster, pool]
        if deployer := self.settings.deployer_principal_id:
            role = "Azure Kubernetes Service RBAC Cluster Admin"
            self.ready.append(self._grant("deployer", role, self.cluster.id, deployer))
        self.register_outputs(
            {"name": self.name, "kubeconfig": self.kubeconfig, "oidc_issuer_url": self.oidc_issuer_url}
        )

    def _identity(self) -> managedidentity.UserAssignedIdentity:
        return managedidentity.UserAssignedIdentity(
            f"{self.context.prefix}-aks",
            resource_group_name=self.args.resource_group_name,
            location=self.args.location,
            resource_name_=f"{self.context.prefix}-aks",
            tags=self.context.tags,
            opts=self.child(),
        )

    def _grant(
        self, name: str, role: str, scope: pulumi.Input[str], principal_id: pulumi.Input[str]
    ) -> authorization.RoleAssignment:
        """The control plane puts nodes and internal load balancers into one subnet, and nowhere else. Of the deployer
        nobody knows here whether it is a person or a program."""
        own = principal_id is self.identity.principal_id
        roles = f"/subscriptions/{self.args.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
        return authorization.RoleAssignment(
            f"{self.context.prefix}-aks-{name}",
            scope=scope,
            principal_id=principal_id,
            principal_type=authorization.PrincipalType.SERVICE_PRINCIPAL if own else None,
            role_definition_id=f"{roles}/{ROLES[role]}",
            opts=self.child(),
        )

    def _may_join(self) -> list[authorization.RoleAssignment]:
        """Azure was seen to ask for it on the whole network; a landing zone's is its owner's to give.
        https://github.com/MicrosoftDocs/azure-aks-docs/issues/110"""
        args = self.args
        if args.vnet_id is None:
            return []
        group = pulumi.Output.concat(f"/subscriptions/{args.subscription_id}/resourceGroups/", args.resource_group_name)
        actions = ["Microsoft.Network/virtualNetworks/join/action"]
        return grant_actions(self, "aks", actions, self.identity.principal_id, group, {"network": args.vnet_id})

    def _cluster(self, grants: list[authorization.RoleAssignment]) -> containerservice.ManagedCluster:
        args, settings, prefix = self.args, self.settings, self.context.prefix
        return containerservice.ManagedCluster(
            f"{prefix}-cluster",
            resource_group_name=args.resource_group_name,
            location=args.location,
            resource_name_=prefix,
            dns_prefix=prefix,
            kubernetes_version=settings.kubernetes_version,
            node_resource_group=node_group_name(prefix),
            sku=containerservice.ManagedClusterSKUArgs(name="Base", tier="Standard"),
            identity=containerservice.ManagedClusterIdentityArgs(
                type=containerservice.ResourceIdentityType.USER_ASSIGNED, user_assigned_identities=[self.identity.id]
            ),
            enable_rbac=True,
            disable_local_accounts=True,
            aad_profile=containerservice.ManagedClusterAADProfileArgs(
                managed=True,
                enable_azure_rbac=True,
                admin_group_object_ids=list(settings.admin_group_ids) or None,
                tenant_id=args.tenant_id,
            ),
            api_server_access_profile=self._api_server(),
            bootstrap_profile=self._bootstrap(),
            network_profile=containerservice.ContainerServiceNetworkProfileArgs(
                network_plugin="azure",
                network_plugin_mode="overlay",
                network_dataplane="cilium",
                network_policy="cilium",
                pod_cidr=settings.pod_cidr,
                service_cidr=settings.service_cidr,
                dns_service_ip=str(IPv4Network(settings.service_cidr)[10]),
                load_balancer_sku="standard",
                outbound_type=settings.outbound,
            ),
            oidc_issuer_profile=containerservice.ManagedClusterOIDCIssuerProfileArgs(enabled=True),
            security_profile=self._security(),
            addon_profiles={"azurepolicy": containerservice.ManagedClusterAddonProfileArgs(enabled=True)},
            auto_upgrade_profile=containerservice.ManagedClusterAutoUpgradeProfileArgs(
                upgrade_channel=settings.upgrade_channel, node_os_upgrade_channel="NodeImage"
            ),
            agent_pool_profiles=[self._system_pool(settings.system_pool)],
            tags=self.context.tags,
            # The autoscaler owns the number of nodes once the pool is there.
            opts=self.child(depends_on=[*grants, in_force(grants)], ignore_changes=["agentPoolProfiles[0].count"]),
        )

    def _api_server(self) -> containerservice.ManagedClusterAPIServerAccessProfileArgs:
        # Else it would run commands in the cluster for whoever may call Azure, from any network.
        off: dict[str, Any] = {"disable_run_command": True}
        if self.args.api_cidrs:
            return containerservice.ManagedClusterAPIServerAccessProfileArgs(
                enable_private_cluster=False, authorized_ip_ranges=list(self.args.api_cidrs), **off
            )
        # A public name for the private address: whoever is routed there needs no DNS of the cluster's network.
        return containerservice.ManagedClusterAPIServerAccessProfileArgs(
            enable_private_cluster=True, enable_private_cluster_public_fqdn=True, private_dns_zone="none", **off
        )

    def _bootstrap(self) -> containerservice.ManagedClusterBootstrapProfileArgs | None:
        registry = self.settings.bootstrap_registry_id
        if registry is None:
            return None
        return containerservice.ManagedClusterBootstrapProfileArgs(
            artifact_source=containerservice.ArtifactSource.CACHE, container_registry_id=registry
        )

    def _security(self) -> containerservice.ManagedClusterSecurityProfileArgs:
        defender = None
        if self.settings.defender:
            defender = containerservice.ManagedClusterSecurityProfileDefenderArgs(
                log_analytics_workspace_resource_id=self.logs.id,
                security_monitoring=containerservice.ManagedClusterSecurityProfileDefenderSecurityMonitoringArgs(
                    enabled=True
                ),
            )
        return containerservice.ManagedClusterSecurityProfileArgs(
            workload_identity=containerservice.ManagedClusterSecurityProfileWorkloadIdentityArgs(enabled=True),
            image_cleaner=containerservice.ManagedClusterSecurityProfileImageCleanerArgs(
                enabled=True, interval_hours=168
            ),
            defender=defender,
        )

    def _system_pool(self, pool: AksSystemPool) -> containerservice.ManagedClusterAgentPoolProfileArgs:
        return containerservice.ManagedClusterAgentPoolProfileArgs(
            name="system", mode=containerservice.AgentPoolMode.SYSTEM, **self._nodes(pool, {}, ())
        )

    def _gpu_pool(self) -> containerservice.AgentPool:
        settings = self.settings
        is_nvidia = settings.accelerator == "nvidia"
        labels = {"nvidia.com/gpu.present": "true"} if is_nvidia else {"feature.node.kubernetes.io/amd-gpu": "true"}
        taint = Taint(key=GPU_TAINT_KEYS[settings.accelerator], value="present")
        return containerservice.AgentPool(
            f"{self.context.prefix}-gpu",
            resource_group_name=self.args.resource_group_name,
            resource_name_=self.cluster.name,
            agent_pool_name="gpu",
            mode=containerservice.AgentPoolMode.USER,
            # Azure's driver and the GPU operator's exclude each other; AMD's is never Azure's.
            # https://learn.microsoft.com/azure/aks/nvidia-gpu-operator, 2026-11-30
            gpu_profile=containerservice.GPUProfileArgs(
                driver="Install" if is_nvidia and not settings.nvidia_driver_by_operator else "None"
            ),
            **self._nodes(settings.gpu_pool, labels, (taint, *settings.gpu_pool.taints)),
            opts=self.child(ignore_changes=["count"]),
        )

    def _nodes(self, pool: AksSystemPool | AksGpuPool, labels: dict[str, str], taints: tuple[Taint, ...]) -> Any:
        """What both pools say in the same words."""
        is_system = isinstance(pool, AksSystemPool)
        all_taints = [f"{taint.key}={taint.value}:{taint.effect}" for taint in taints]
        return {
            "vm_size": pool.vm_size,
            "count": pool.start_nodes,
            "enable_auto_scaling": True,
            "min_count": pool.min_nodes,
            "max_count": pool.max_nodes,
            "availability_zones": list(self.settings.zones[: None if is_system or not self.args.one_zone else 1]),
            "vnet_subnet_id": self.args.nodes_subnet_id,
            "type": containerservice.AgentPoolType.VIRTUAL_MACHINE_SCALE_SETS,
            "os_type": containerservice.OSType.LINUX,
            "os_sku": containerservice.OSSKU.UBUNTU,
            "os_disk_size_gb": pool.disk_gib,
            "enable_encryption_at_host": self.settings.encryption_at_host,
            "enable_node_public_ip": False,
            "orchestrator_version": self.settings.kubernetes_version,
            "node_labels": {**labels, **pool.labels},
            "node_taints": all_taints or None,
            "upgrade_settings": containerservice.AgentPoolUpgradeSettingsArgs(
                # A GPU node goes before its successor comes: there is quota for no other, and the burst sites carry its
                # share (ADR 41). https://learn.microsoft.com/azure/aks/stateful-workload-upgrades, 2026-11-30
                max_surge="1" if is_system else "0",
                max_unavailable=None if is_system else "1",
                drain_timeout_in_minutes=30,
            ),
            "tags": self.context.tags,
        }

    def _maintenance(self) -> None:
        """Upgrades of Kubernetes and of the nodes' images, both in one weekly window."""
        for short, config in (
            ("upgrades", "aksManagedAutoUpgradeSchedule"),
            ("node-images", "aksManagedNodeOSUpgradeSchedule"),
        ):
            containerservice.MaintenanceConfiguration(
                f"{self.context.prefix}-aks-{short}",
                resource_group_name=self.args.resource_group_name,
                resource_name_=self.cluster.name,
                config_name=config,
                maintenance_window=containerservice.MaintenanceWindowArgs(
                    duration_hours=4,
                    start_time=self.settings.maintenance_start,
                    utc_offset="+00:00",
                    schedule=containerservice.ScheduleArgs(
                        weekly=containerservice.WeeklyScheduleArgs(
                            day_of_week=self.settings.maintenance_day, interval_weeks=1
                        )
                    ),
                ),
                opts=self.child(),
            )

    def _kubeconfig(self) -> pulumi.Output[str]:
        credentials = containerservice.list_managed_cluster_user_credentials_output(
            resource_group_name=self.args.resource_group_name,
            resource_name=self.cluster.name,
            format="exec",
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        return pulumi.Output.secret(
            credentials.apply(lambda found: kubeconfig(found.kubeconfigs[0].value, self.settings.login))
        )


def node_group_name(prefix: str) -> str:
    """The resource group that AKS makes for nodes, disks and load balancers."""
    return f"{prefix}-nodes"


def kubeconfig(encoded: str, login: str) -> str:
    """Azure's kubeconfig (base64 YAML) with another log-in: Azure's asks for a code in a browser."""
    config = yaml.safe_load(base64.b64decode(encoded))
    for user in config["users"]:
        command = user["user"].get("exec")
        if command:
            command["args"] = _login_arguments(command.get("args") or [], login)
    return yaml.safe_dump(config, sort_keys=False)


def _login_arguments(given: list[str], login: str) -> list[str]:
    kept = [text for option, value in pairwise(given) if option in KEPT_LOGIN_OPTIONS for text in (option, value)]
    return ["get-token", *kept, "--login", login]
