"""The site's object: what the rest of a stack asks of SageMaker. The answers stand in the modules beside this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from components.burst.sagemaker import capacity, route, rules
from components.burst.sagemaker.settings import SageMakerSettings
from components.burst.site import Account, BuiltSite, Surroundings
from spillway.contracts.capacity import Machines
from spillway.contracts.classes import Site, SiteName
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem
from spillway.contracts.routing import SiteRoute
from spillway.contracts.scaling import Scaling
from spillway.contracts.targets import Container, Layout
from spillway.contracts.trt_engines import EngineRecord


@dataclass(frozen=True)
class SageMaker:
    """A real-time endpoint for P0 and P1, an asynchronous one for P2; see :class:`~components.burst.site.BurstSite`."""

    settings: SageMakerSettings
    region: str
    account_id: str

    name: ClassVar[SiteName] = Site.SAGEMAKER.value
    title: ClassVar[str] = "SageMaker"
    account: ClassVar[Account] = "aws"
    queue: ClassVar[str] = "SQS, then SageMaker's asynchronous endpoint"
    layout: ClassVar[Layout] = Layout.SAGEMAKER

    @property
    def engine(self) -> str | None:
        return self.settings.engine

    def machines(self) -> tuple[Machines, ...]:
        return capacity.machines(self.settings, self.region)

    def scaling(self) -> Scaling:
        return capacity.scaling(self.settings)

    def sized(self, part: dict[str, Any], instance_type: str, least: int, most: int, scaling: Scaling) -> None:
        capacity.write_sizes(part, instance_type, least, most, scaling)

    def problems(self) -> Iterator[Problem]:
        return iter(())

    def package_problems(self, manifest: Manifest) -> Iterator[Problem]:
        return rules.package_problems(self.settings, self.region, manifest)

    def engine_problems(self, record: EngineRecord) -> Iterator[str]:
        return rules.engine_problems(self.settings, record)

    def serving_image(self, manifest: Manifest) -> tuple[str, Container | None]:
        return rules.serving_image(self.settings, self.region, manifest)

    def left_behind(self, prefix: str, bucket: str, before: datetime, delete: bool) -> Mapping[str, Sequence[str]]:
        import boto3

        from components.burst.sagemaker import old_fleets

        session = boto3.Session(region_name=self.region)
        clients = session.client("sagemaker"), session.client("s3")
        found = old_fleets.unserved(*clients, prefix, bucket, before)
        if delete:
            old_fleets.sweep(*clients, bucket, found)
        return vars(found)

    def build(self, around: Surroundings) -> BuiltSite:
        from components.burst.sagemaker.build import build

        return build(self, around)

    def route(self, manifest: Manifest, address: str, probe_interval_s: float) -> SiteRoute:
        return route.route(self.settings, self.region, manifest, address, probe_interval_s)
