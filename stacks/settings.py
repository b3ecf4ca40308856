"""The stack file as typed models: the one place that knows which keys a stack file has.

Each component's part stands beside that component, in ``components/<concern>/settings.py``; here they become one model.
``stacks/stack_file.py`` reads it, ``stacks/rules/`` says what has to hold between the parts. Nothing here imports a
provider SDK.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from components.burst.settings import BurstSettings
from components.connectivity.settings import ConnectivitySettings
from components.cost_guard.settings import CostSettings
from components.failover_dns.settings import DnsSettings
from components.gateway.settings import GatewaySettings
from components.model_server.settings import ModelServerSettings
from components.model_store.settings import ModelStoreSettings
from components.monitoring.settings import MonitoringSettings
from components.private_cluster.settings import PrivateClusterSettings
from policies.settings import PoliciesSettings
from spillway.contracts.frozen import Settings


def _network(cidr: str) -> str:
    try:
        return str(IPv4Network(cidr))
    except ValueError as error:
        raise ValueError(f"{cidr!r} is not an IPv4 network ({error}); write it like 198.51.100.0/24") from None


ClientNetwork = Annotated[str, AfterValidator(_network)]
"""An IPv4 network."""


class AwsAccount(Settings):
    """The AWS account: package store, SageMaker, standby gateway, cost function."""

    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-gov|-iso[a-z]?)?-[a-z]+-\d$")]
    """Region of every AWS resource, e.g. ``eu-west-1``."""

    account_id: Annotated[str, Field(pattern=r"^\d{12}$")]
    """Twelve digits; ARNs are made with it, so that a preview needs no credentials."""

    permissions_boundary_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:policy/.+$")] | None = None
    """Policy that bounds every IAM role of the stack, where the account asks for one."""


class AzureAccount(Settings):
    """The Azure subscription: Azure ML, AKS, Traffic Manager."""

    location: Annotated[str, Field(pattern=r"^[a-z]+[a-z0-9]*$")]
    """Region of every Azure resource, e.g. ``westeurope``."""

    subscription_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    """Subscription; resource ids are made with it."""

    tenant_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    """Entra tenant of the subscription."""


class PackageSettings(Settings):
    """The model package that is deployed."""

    path: str
    """Folder of a package, relative to the project: the one that holds ``manifest.json``."""


class StackSettings(Settings):
    """Everything a stack file may say, under ``spillway:``."""

    owner: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")]
    """Team that answers for the stack; a tag and label on every resource."""

    cost_centre: Annotated[
        str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")
    ]
    """Who pays; a tag and label on every resource."""

    tags: dict[Annotated[str, Field(min_length=1)], str] = Field(default_factory=dict)
    """Further tags."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,15}$")] = "spillway"
    """Starts every resource name, before the stack's name."""

    stage: Literal["foundation", "site"] = "site"
    """How much is deployed. ``foundation``: networks, stores, the cluster itself, zone, certificate request: it waits
    for nobody. ``site``: that, and everything on it. `spillway deploy` takes one after the other."""

    exposure: Literal["internal", "public"] = "internal"
    """Whether clients reach the gateways from inside the networks only, or from the Internet."""

    protect_data: bool = True
    """Protect what holds data (buckets, zones, key vaults) from deletion."""

    client_cidrs: Annotated[tuple[ClientNetwork, ...], Field(min_length=1)] = ("10.0.0.0/8",)
    """Networks that may call the gateways."""

    aws: AwsAccount
    """The AWS account."""

    azure: AzureAccount | None = None
    """The Azure subscription; needed for Azure ML, AKS and Traffic Manager."""

    package: PackageSettings
    """The model package."""

    private_cluster: PrivateClusterSettings
    """The private GPU cluster."""

    model_server: ModelServerSettings = ModelServerSettings()
    """Model servers on it."""

    burst: BurstSettings
    """Where overflow goes."""

    connectivity: ConnectivitySettings = ConnectivitySettings()
    """Network paths."""

    gateway: GatewaySettings = GatewaySettings()
    """The two gateways."""

    dns: DnsSettings
    """Failover between the gateways."""

    cost_guard: CostSettings = CostSettings()
    """Cost signal, alarms, ceilings and budgets."""

    model_store: ModelStoreSettings = ModelStoreSettings()
    """Where packages are kept."""

    monitoring: MonitoringSettings = MonitoringSettings()
    """Dashboards and alert rules."""

    policies: PoliciesSettings = PoliciesSettings()  # pyright: ignore[reportInvalidTypeForm]
    """Levels, parameters and exemptions of the policies."""
