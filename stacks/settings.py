"""The stack file as typed models: the one place that knows which keys a stack file has.

Each component's part stands beside that component, in ``components/<concern>/settings.py``; here they become one model,
with the rules that hold between the parts. Nothing here imports a provider SDK.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

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
from spillway.contracts.settings import Settings
from stacks.errors import NAMESPACE, SECRETS_NAMESPACE, Problem, StackConfigError, nearest, problems_of
from stacks.rules import missing_secrets, problems_between, required_secrets
from stacks.support import BurstKind

__all__ = ["SECRETS_NAMESPACE", "StackSettings", "read_settings", "required_secrets"]

NAMESPACES = (NAMESPACE, SECRETS_NAMESPACE, "aws", "azure-native", "kubernetes", "pulumi")
"""Namespaces of a stack file: Spillway's two, the providers' own, Pulumi's."""

_TAG_KEY = r"^[A-Za-z0-9_.:/=+@-]{1,63}$"


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


class LiveSettings(Settings):
    """What runs now, so that an update keeps it. Written by the deployment stage, not by hand."""

    sagemaker_instances: Annotated[int, Field(ge=1)] | None = None
    """Instances of the SageMaker endpoint; nothing on a first deployment."""

    azure_ml_instances: Annotated[int, Field(ge=1)] | None = None
    """Instances of the Azure ML deployment; nothing on a first deployment."""


class StackSettings(Settings):
    """Everything a stack file may say, under ``spillway:``."""

    owner: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")]
    """Team that answers for the stack; a tag and label on every resource."""

    cost_centre: Annotated[
        str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")
    ]
    """Who pays; a tag and label on every resource."""

    tags: dict[Annotated[str, Field(pattern=_TAG_KEY)], Annotated[str, Field(max_length=256)]] = Field(
        default_factory=dict
    )
    """Further tags."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,15}$")] = "spillway"
    """Starts every resource name, before the stack's name."""

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

    live: LiveSettings = LiveSettings()
    """Live capacity that an update keeps."""

    @property
    def burst_kind(self) -> BurstKind:
        """Which burst sites are on."""
        match self.burst.sagemaker is not None, self.burst.azure_ml is not None:
            case True, True:
                return "both"
            case True, False:
                return "sagemaker"
            case False, True:
                return "azure_ml"
            case _:
                return "none"


def read_settings(
    config: Mapping[str, str], secret_names: frozenset[str] | None = None, hidden: frozenset[str] = frozenset()
) -> StackSettings:
    """Settings from Pulumi's flat config (``namespace:key`` -> value, structures as JSON).

    ``secret_names``: the names under ``spillway-secrets:``, ``None`` to leave secrets unchecked. ``hidden``: full names
    of keys whose values are secret, so that no error shows them.
    Raises :class:`StackConfigError` with every problem found; nothing has been created then.
    """
    start = f"{NAMESPACE}:"
    given = {key.removeprefix(start): _value(text) for key, text in config.items() if key.startswith(start)}
    strange = _strange_namespaces(config)
    try:
        settings = StackSettings.model_validate(given)
    except ValidationError as error:
        own = frozenset(key.removeprefix(start) for key in hidden)
        # A namespace that is misspelt is the cause of what is missing under the right one.
        raise StackConfigError(strange or problems_of(error, StackSettings, own)) from None
    problems = [*strange, *problems_between(settings)]
    if secret_names is not None:
        problems += missing_secrets(settings, secret_names)
    if problems:
        raise StackConfigError(problems)
    return settings


def _strange_namespaces(config: Mapping[str, str]) -> list[Problem]:
    """Keys that nobody would read."""
    strange = sorted(key for key in config if key.split(":")[0] not in NAMESPACES)
    return [
        Problem(
            key,
            "an unknown namespace",
            f"{nearest(key.split(':')[0], NAMESPACES)}allowed: {', '.join(NAMESPACES)}",
        )
        for key in strange
    ]


def _value(text: str) -> Any:
    """Structures come as JSON text, everything else as it is."""
    if re.fullmatch(r"true|false|null|\[.*\]|\{.*\}", text, re.DOTALL):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    return text
