"""The burst site on Azure Machine Learning: the stack file's ``burst.azure_ml`` part."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from components.burst.bounds import check_bounds
from spillway.contracts.frozen import Settings

VmSize = Annotated[str, Field(pattern=r"^Standard_\w+$")]
DeploymentName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{1,11}$")]
"""Two to twelve letters and digits: the VM size comes behind it, and Azure allows 32 in all."""
FULL_NAME_LENGTH: Final = 32
"""https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online, read on 2026-11-30."""


class AzureMlAutoscaling(Settings):
    """Azure Monitor autoscale of the online deployment."""

    scale_out_above_percent: float = Field(default=70.0, gt=0, le=100)
    """GPU utilisation, average over the window, above which one instance is added."""
    scale_in_below_percent: float = Field(default=30.0, ge=0, lt=100)
    """GPU utilisation below which one instance is taken away."""
    window_minutes: int = Field(default=5, ge=1, le=60)
    """Minutes the average is taken over."""
    cooldown_minutes: int = Field(default=5, ge=1, le=60)
    """Minutes between two scale actions."""

    @model_validator(mode="after")
    def _gap(self) -> AzureMlAutoscaling:
        if self.scale_in_below_percent >= self.scale_out_above_percent:
            raise ValueError(
                f"scale_in_below_percent {self.scale_in_below_percent} is not below scale_out_above_percent "
                f"{self.scale_out_above_percent}; leave a gap, or it swings"
            )
        return self


class AzureMlDeployment(Settings):
    """One deployment of the endpoint: what serves, a canary beside it, a mirror, or the version to go back to."""

    package_version: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Version of the package that it serves, one that this stack has deployed; the stack's own when left out."""
    vm_size: VmSize | None = None
    """Size of its instances; the site's when left out."""
    traffic: int = Field(default=0, ge=0, le=100)
    """Percent of the endpoint's requests; 100 over all deployments."""
    mirror: int = Field(default=0, ge=0, le=50)
    """Percent of the requests that it gets a copy of; its answers are dropped. One deployment, without traffic."""
    min_instances: int | None = Field(default=None, ge=1, le=50)
    """Fewest instances; the site's when left out."""
    max_instances: int | None = Field(default=None, ge=1, le=50)
    """Most instances; the site's when left out."""


@dataclass(frozen=True)
class PlannedDeployment:
    """A deployment with the site's values where it gives none of its own. ``name``: as in the stack file."""

    name: str
    package_version: str | None
    vm_size: str
    traffic: int
    mirror: int
    min_instances: int
    max_instances: int

    @property
    def full_name(self) -> str:
        """Its name in Azure. The size is in it, since it is given at creation: another one is another deployment,
        which takes the traffic before the first is deleted."""
        return f"{self.name}-{re.sub('[^a-z0-9]', '', self.vm_size.lower().removeprefix('standard_'))}"


class AzureMlSettings(Settings):
    """The burst site on Azure Machine Learning, in the stack's Azure location."""

    vm_size: VmSize = "Standard_NC24ads_A100_v4"
    """Size of the instances."""
    min_instances: int = Field(default=1, ge=1, le=50)
    """Fewest instances of a deployment; managed online endpoints do not go to zero."""
    max_instances: int = Field(default=3, ge=1, le=50)
    """Most instances of a deployment; Azure's own limit is 50."""
    initial_instances: int | None = Field(default=None, ge=1, le=50)
    """Instances of a new deployment; the minimum when left out."""
    deployments: dict[DeploymentName, AzureMlDeployment] = Field(
        default_factory=lambda: {"blue": AzureMlDeployment(traffic=100)}, min_length=1, max_length=20
    )
    """What serves, by name: one deployment with all the traffic, or several side by side."""
    autoscaling: AzureMlAutoscaling = AzureMlAutoscaling()
    """When instances come and go."""
    max_concurrent_requests_per_instance: int | None = Field(default=None, ge=1, le=1024)
    """Requests at once on one instance; the manifest's when left out (Azure's own default is 1)."""
    request_timeout_s: float | None = Field(default=None, gt=0, le=180)
    """Seconds for one request; the manifest's when left out, 180 at most (Azure's own default is 5)."""
    container_image: str | None = None
    """Image, by digest, that starts its server by itself; Azure's own Triton when left out. A package for vLLM needs
    one of your own (docs/how-to/language-models.md)."""
    registry_sku: Literal["Premium"] = "Premium"
    """SKU of the container registry; private endpoints need Premium."""
    log_retention_days: int = Field(default=30, ge=30, le=730)
    """Days that Log Analytics keeps the site's logs."""

    @model_validator(mode="after")
    def _consistent(self) -> AzureMlSettings:
        check_bounds("azure_ml", self.min_instances, self.max_instances, self.initial_instances)
        for each in self.planned:
            check_bounds(f"azure_ml.deployments.{each.name}", each.min_instances, each.max_instances, None)
            if len(each.full_name) > FULL_NAME_LENGTH:
                raise ValueError(
                    f"deployments.{each.name} would be called {each.full_name} in Azure, {len(each.full_name)} "
                    f"characters of {FULL_NAME_LENGTH}; give it a shorter name"
                )
        if (total := sum(each.traffic for each in self.planned)) != 100:
            raise ValueError(f"the traffic of the deployments adds up to {total} percent; make it 100")
        mirrors = [each for each in self.planned if each.mirror]
        if len(mirrors) > 1:
            raise ValueError(f"{len(mirrors)} deployments have a mirror; Azure copies requests to one")
        if mirrors and mirrors[0].traffic:
            raise ValueError(f"deployments.{mirrors[0].name} has traffic and mirror; a mirror takes no live traffic")
        return self

    @property
    def planned(self) -> tuple[PlannedDeployment, ...]:
        """The deployments, the one with the most traffic first."""
        found = [
            PlannedDeployment(
                name=name,
                package_version=one.package_version,
                vm_size=one.vm_size or self.vm_size,
                traffic=one.traffic,
                mirror=one.mirror,
                min_instances=one.min_instances or self.min_instances,
                max_instances=one.max_instances or self.max_instances,
            )
            for name, one in self.deployments.items()
        ]
        return tuple(sorted(found, key=lambda one: (-one.traffic, one.name)))
