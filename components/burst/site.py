"""What a burst site is: everything that the rest of a stack asks of a place where overflow goes.

A site is one folder beside this module. Its object (``site.py``) is made from its part of the stack file and costs
nothing: rules, prices, the support table and the planner ask it before anything is registered. ``build`` makes its
resources and hands on a :class:`BuiltSite`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from components.cost_guard.capacity import SiteCapacity
from spillway.contracts.capacity import Machines
from spillway.contracts.classes import SiteName
from spillway.contracts.jobs import JobQueue
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem
from spillway.contracts.routing import SiteRoute
from spillway.contracts.scaling import Scaling
from spillway.contracts.targets import Container, Layout
from spillway.contracts.trt_engines import EngineRecord

if TYPE_CHECKING:
    from datetime import datetime

    import pulumi

    from components.aws_documents import Statement
    from components.base import StackContext
    from components.connectivity.aws_network import AwsNetwork
    from components.connectivity.azure_network import AzureNetwork
    from components.connectivity.settings import ConnectivitySettings
    from components.cost_guard.settings import CostSettings
    from components.model_store.aws import AwsModelStore
    from components.model_store.content import SiteContent
    from components.model_store.settings import ModelStoreSettings
    from components.monitoring.aws import Alarm, Graph
    from components.monitoring.settings import MonitoringSettings

Account = Literal["aws", "azure", "own"]
"""Whose account of the stack file a site needs, and from whose model store it is served; ``own``: it brings both."""


@dataclass(frozen=True)
class AzureSubscription:
    """Where a site in Azure stands."""

    location: str
    subscription_id: str
    tenant_id: str


@dataclass(frozen=True)
class Accounts:
    """Where the sites of a stack may stand. ``azure``: ``None`` where the stack names no subscription."""

    aws_region: str
    aws_account_id: str
    azure: AzureSubscription | None = None


@dataclass(frozen=True)
class AzureSurroundings:
    """The stack's own part of Azure."""

    resource_group_name: pulumi.Output[str]
    network: AzureNetwork


@dataclass(frozen=True)
class Surroundings:
    """What stands already when a site is built, and the parts of the stack file that it follows besides its own.

    ``contents``: what each site serves of the package.
    """

    context: StackContext
    manifest: Manifest
    contents: Mapping[SiteName, SiteContent]
    aws_network: AwsNetwork
    aws_store: AwsModelStore
    azure: AzureSurroundings | None
    connectivity: ConnectivitySettings
    model_store: ModelStoreSettings
    cost_guard: CostSettings
    monitoring: MonitoringSettings


@dataclass(frozen=True)
class Watch:
    """How a site is watched.

    ``alarms`` and ``graphs``: for AWS's monitoring to make. ``alarm_names``, ``dashboard_url``, ``action_group_id``: of
    what the site's own cloud has, the last being who is told there.
    """

    alarms: Sequence[Alarm] = ()
    graphs: Sequence[Graph] = ()
    alarm_names: Mapping[str, pulumi.Output[str]] = field(default_factory=dict)
    dashboard_url: pulumi.Output[str] | None = None
    action_group_id: pulumi.Output[str] | None = None


@dataclass(frozen=True)
class GatewayIdentity:
    """Who a gateway is. ``name``: tells it from the others; ``role_arn``: in AWS; ``issuer_url`` and ``account``: of
    the tokens that its cluster gives it for Azure, where it does (AKS)."""

    name: str
    role_arn: pulumi.Input[str]
    issuer_url: pulumi.Input[str] | None = None
    account: str = ""


@dataclass(frozen=True)
class BuiltSite:
    """What a site hands on once its resources are registered.

    ``address``: what :meth:`BurstSite.route` needs of them. ``outputs``: of the stack, below ``endpoints``.
    ``endpoint_arns``: what the gateways may call with AWS rights, and ``tokens`` whether with a token of theirs.
    ``keys``: secret key files of the gateways, by name. ``jobs``: where they keep what is to be answered later
    (``contracts.jobs``), and ``gateway_rights`` what they need for the site in AWS. ``gateway_environment``:
    what their agents are told, by variable. ``admit``: lets a gateway call the site, where it asks who they are.
    """

    site: BurstSite
    address: pulumi.Output[str]
    outputs: Mapping[str, pulumi.Output[str] | None]
    capacity: SiteCapacity
    watch: Watch = Watch()
    endpoint_arns: Sequence[pulumi.Output[str]] = ()
    tokens: bool = False
    keys: Mapping[str, pulumi.Output[str]] = field(default_factory=dict)
    jobs: pulumi.Output[JobQueue] | None = None
    gateway_rights: pulumi.Output[Sequence[Statement]] | None = None
    gateway_environment: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    admit: Callable[[GatewayIdentity], None] | None = None


class BurstSite(Protocol):
    """A place where overflow goes. Frozen; made from the site's settings and the stack's accounts."""

    name: ClassVar[SiteName]
    """Its key below ``burst`` in the stack file; also in the routing table, in metrics and in the bill."""
    title: ClassVar[str]
    """What people call it."""
    account: ClassVar[Account]
    queue: ClassVar[str]
    """Where P2 waits, for the support table."""
    layout: ClassVar[Layout]
    """Which layout of a Triton package it serves."""

    @property
    def region(self) -> str:
        """Where data goes that spills here: a region of its cloud."""
        ...

    @property
    def engine(self) -> str | None:
        """The compiled engine that its settings name, ``None`` for the portable model."""
        ...

    def machines(self) -> tuple[Machines, ...]:
        """Everything that it pays by the hour, the machines that answer requests first."""
        ...

    def scaling(self) -> Scaling:
        """How the first of its machines follow the load."""
        ...

    def sized(self, part: dict[str, Any], instance_type: str, least: int, most: int, scaling: Scaling) -> None:
        """Write a plan's sizes into the site's part of a stack file (plain YAML values, changed in place)."""
        ...

    def problems(self) -> Iterator[Problem]:
        """What contradicts itself between its settings and the stack's accounts."""
        ...

    def package_problems(self, manifest: Manifest) -> Iterator[Problem]:
        """Why it cannot serve this package, the layout aside."""
        ...

    def engine_problems(self, record: EngineRecord) -> Iterator[str]:
        """Why it cannot run this engine, the GPU and the library aside."""
        ...

    def serving_image(self, manifest: Manifest) -> tuple[str, Container | None]:
        """The image that serves this Triton package here, in words of the stack file, and what is known of it."""
        ...

    def left_behind(self, prefix: str, bucket: str, before: datetime, delete: bool) -> Mapping[str, Sequence[str]]:
        """What its earlier updates kept for a rollback and nothing serves any more, by kind: looked up in its cloud
        with the caller's own credentials, and deleted where that is asked for. ``prefix``: of the stack, ``bucket``:
        AWS's model store, ``before``: younger ones stay."""
        ...

    def build(self, around: Surroundings) -> BuiltSite:
        """Register its resources."""
        ...

    def route(self, manifest: Manifest, address: str, probe_interval_s: float) -> SiteRoute:
        """How gateways reach it. ``address``: :attr:`BuiltSite.address`, resolved."""
        ...
