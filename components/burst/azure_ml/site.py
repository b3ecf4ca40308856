"""The site's object: what the rest of a stack asks of Azure ML. The answers stand in the modules beside this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from components.burst.azure_ml import capacity, route, rules
from components.burst.azure_ml.settings import AzureMlSettings
from components.burst.site import Account, AzureSubscription, BuiltSite, Surroundings
from spillway.contracts.capacity import Machines
from spillway.contracts.classes import Site, SiteName
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem
from spillway.contracts.routing import SiteRoute
from spillway.contracts.scaling import Scaling
from spillway.contracts.targets import Container, Layout
from spillway.contracts.trt_engines import EngineRecord


@dataclass(frozen=True)
class AzureMl:
    """An online endpoint with one deployment or several; see :class:`~components.burst.site.BurstSite`."""

    settings: AzureMlSettings
    subscription: AzureSubscription

    name: ClassVar[SiteName] = Site.AZURE_ML.value
    title: ClassVar[str] = "Azure ML"
    account: ClassVar[Account] = "azure"
    queue: ClassVar[str] = "nowhere at Azure ML: shed first, sent again by the client"
    layout: ClassVar[Layout] = Layout.AZURE_ML

    @property
    def region(self) -> str:
        return self.subscription.location

    @property
    def engine(self) -> str | None:
        """Azure ML always serves the portable model."""
        return None

    def machines(self) -> tuple[Machines, ...]:
        return capacity.machines(self.settings, self.region)

    def scaling(self) -> Scaling:
        return capacity.scaling(self.settings)

    def sized(self, part: dict[str, Any], instance_type: str, least: int, most: int, scaling: Scaling) -> None:
        capacity.write_sizes(part, instance_type, least, most)

    def problems(self) -> Iterator[Problem]:
        return iter(())

    def package_problems(self, manifest: Manifest) -> Iterator[Problem]:
        return rules.package_problems(self.settings, manifest)

    def engine_problems(self, record: EngineRecord) -> Iterator[str]:
        return iter(())

    def serving_image(self, manifest: Manifest) -> tuple[str, Container | None]:
        """Azure's own Triton image, of which it says no version, or the team's."""
        return self.settings.container_image or "Azure ML's Triton image", None

    def left_behind(self, prefix: str, bucket: str, before: datetime, delete: bool) -> Mapping[str, Sequence[str]]:
        return {}

    def build(self, around: Surroundings) -> BuiltSite:
        from components.burst.azure_ml.build import build

        return build(self, around)

    def route(self, manifest: Manifest, address: str, probe_interval_s: float) -> SiteRoute:
        return route.route(self.settings, self.region, manifest, address, probe_interval_s)
