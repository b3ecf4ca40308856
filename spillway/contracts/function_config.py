"""The environment of the scheduled functions: written by the components, read by the functions.

Each function's configuration is one environment variable that holds JSON. Here is its shape, once for both sides.
Standard library only: the functions carry this module.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class FunctionConfig:
    """A function's configuration; ``VARIABLE`` is the environment variable that holds it."""

    VARIABLE: ClassVar[str]

    def to_environment(self) -> dict[str, str]:
        """The variable and its JSON."""
        return {self.VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """What :meth:`to_environment` wrote. Raises ``KeyError`` where the variable is not set."""
        return cls.of(json.loads(environment[cls.VARIABLE]))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From plain JSON values."""
        return cls(**values)


# What burst sites are asked


@dataclass(frozen=True)
class SiteSource:
    """A burst site whose live instances are counted.

    ``module``: of the function's code, which knows the site's API (:class:`spillway.runtime.functions.site.SiteApi`);
    ``asked``: what that module wants to know, in a shape of its own. ``most_usd_per_hour``: at its largest.
    """

    module: str
    asked: Mapping[str, Any]
    most_usd_per_hour: float


@dataclass(frozen=True)
class HeldTarget:
    """What the cut-off holds at ``minimum`` instances while ``request_class`` is closed, the last that uses it.
    The rest as in :class:`SiteSource`."""

    module: str
    request_class: str
    minimum: int
    asked: Mapping[str, Any]


@dataclass(frozen=True)
class SageMakerSource:
    """Endpoints whose live instances are counted, by name."""

    endpoints: tuple[str, ...]


@dataclass(frozen=True)
class HeldEndpoint:
    """What is held at SageMaker. ``resource_id``: Application Auto Scaling's, ``endpoint/<name>/variant/<name>``."""

    endpoint: str
    variant: str
    resource_id: str


@dataclass(frozen=True)
class AzureIdentity:
    """Who a function is in Azure: a managed identity that trusts the function's role, so that no secret is kept."""

    tenant_id: str
    client_id: str


@dataclass(frozen=True)
class AzureMachines:
    """``url``: a Resource Manager address; ``count`` and ``size``: where its answer has the number of instances and
    their size, key by key; ``percent``: of the site's requests that they answer."""

    url: str
    count: tuple[str, ...]
    size: tuple[str, ...]
    percent: int = 0


@dataclass(frozen=True)
class AzureSource:
    """``identity``: who may read the machines."""

    identity: AzureIdentity
    machines: tuple[AzureMachines, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From plain JSON values."""
        machines = tuple(AzureMachines(**one) for one in values["machines"])
        return cls(AzureIdentity(**values["identity"]), machines)


@dataclass(frozen=True)
class HeldDeployment:
    """What is held at Azure ML. ``identity``: who may change what is at the two addresses."""

    identity: AzureIdentity
    deployment_url: str
    autoscale_url: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From plain JSON values."""
        return cls(**{**values, "identity": AzureIdentity(**values["identity"])})


# The functions


@dataclass(frozen=True)
class PrivateMachines:
    """What the private site is and costs.

    ``gpus_per_server``: of one model server, where the cluster says from inside how many of them are up; ``None`` where
    it does not. ``elastic``: whether it is paid by the node, and grows and shrinks; machines of one's own cost the same
    whether they work or not.
    """

    gpus: int
    usd_per_gpu_hour: float
    gpus_per_server: float | None = None
    elastic: bool = False


@dataclass(frozen=True)
class CostConfig(FunctionConfig):
    """Of the cost signal.

    ``gateway``: the name under which the private gateway publishes; ``outage_usd``: set aside for a month's outages;
    ``live_parameter``: SSM parameter that tells the gateways of live instances (``contracts.live_instances``);
    ``prices``: US dollars an hour and GPUs by instance type; ``sites``: the burst sites by name.
    """

    VARIABLE: ClassVar[str] = "SPILLWAY_COST"

    stack: str
    gateway: str
    outage_usd: float
    live_parameter: str
    private: PrivateMachines
    prices: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    sites: Mapping[str, SiteSource] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        sites = {name: SiteSource(**one) for name, one in values.get("sites", {}).items()}
        prices = {name: (usd, gpus) for name, (usd, gpus) in values.get("prices", {}).items()}
        return cls(**{**values, "private": PrivateMachines(**values["private"]), "prices": prices, "sites": sites})


@dataclass(frozen=True)
class CutoffConfig(FunctionConfig):
    """Of the cut-off.

    ``parameter``: SSM parameter that the gateways obey; ``ceilings`` and ``calm``: names of alarms; ``order``: classes
    in the order in which they close, one every ``escalate_after_s`` seconds, to open again after ``reopen_after_s``.
    """

    VARIABLE: ClassVar[str] = "SPILLWAY_CUTOFF"

    parameter: str
    ceilings: tuple[str, ...]
    calm: tuple[str, ...]
    order: tuple[str, ...]
    escalate_after_s: int
    reopen_after_s: int
    scale_to_minimum: bool
    targets: tuple[HeldTarget, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        names = {key: tuple(values[key]) for key in ("ceilings", "calm", "order")}
        targets = tuple(HeldTarget(**one) for one in values.get("targets", ()))
        return cls(**{**values, **names, "targets": targets})


@dataclass(frozen=True)
class SwitchConfig(FunctionConfig):
    """Of the traffic switch.

    ``alarm``: on the private gateway's heartbeat; ``endpoint_url``: Resource Manager address of the Traffic Manager
    endpoint, with its API version; ``identity``: who may change it.
    """

    VARIABLE: ClassVar[str] = "SPILLWAY_SWITCH"

    alarm: str
    endpoint_url: str
    identity: AzureIdentity

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "identity": AzureIdentity(**values["identity"])})
