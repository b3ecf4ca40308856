"""A bare-metal provider: a fixed fleet behind a bearer key, rented by the hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import pulumi
import pulumi_aws as aws

from components.base import Component
from components.burst.site import Account, BuiltSite, Surroundings
from components.cost_guard.capacity import HeldCapacity, SiteCapacity
from spillway.contracts.capacity import Machines
from spillway.contracts.classes import RequestClass, SiteName
from spillway.contracts.credentials import BearerKey, UpstreamTls
from spillway.contracts.manifest import Manifest
from spillway.contracts.names import KEYS_FOLDER
from spillway.contracts.problems import Problem, key_of
from spillway.contracts.routing import AgentCheck, PathRule, SiteRoute
from spillway.contracts.scaling import Scaling
from spillway.contracts.targets import Container, Layout
from spillway.contracts.trt_engines import EngineRecord

HOST = "metal.example.com"
KEY_FILE = "metal.key"


class Fleet(Component):
    """The fleet's note in AWS: a real site would register its provider's resources."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__("metal", around.context)
        name = f"{around.context.prefix}-metal"
        self.note = aws.ssm.Parameter(name, name=f"/{name}", type="String", value=HOST, opts=self.child())


@dataclass(frozen=True)
class Metal:
    """``instance_type``: of the provider's price list ``metal``."""

    instance_type: str
    least: int
    most: int
    region: str = "fsn-1"

    name: ClassVar[SiteName] = "metal"
    title: ClassVar[str] = "Bare metal"
    account: ClassVar[Account] = "own"
    queue: ClassVar[str] = "bare-metal queue"
    layout: ClassVar[Layout] = Layout.TRITON

    @property
    def engine(self) -> str | None:
        return None

    def machines(self) -> tuple[Machines, ...]:
        key = "burst.metal.instance_type"
        return (Machines(key, "metal", self.instance_type, self.region, self.least, self.most),)

    def scaling(self) -> Scaling:
        return Scaling(cold_start_s=1800)

    def sized(self, part: dict[str, Any], instance_type: str, least: int, most: int, scaling: Scaling) -> None:
        part |= {"instance_type": instance_type, "least": least, "most": most}

    def problems(self) -> Iterator[Problem]:
        if self.least > self.most:
            yield Problem(key_of("burst.metal.least"), str(self.least), f"is above most, {self.most}; lower it")

    def package_problems(self, manifest: Manifest) -> Iterator[Problem]:
        return iter(())

    def engine_problems(self, record: EngineRecord) -> Iterator[str]:
        return iter(())

    def serving_image(self, manifest: Manifest) -> tuple[str, Container | None]:
        return "the provider's image", None

    def left_behind(self, prefix: str, bucket: str, before: datetime, delete: bool) -> Mapping[str, Sequence[str]]:
        return {}

    def build(self, around: Surroundings) -> BuiltSite:
        fleet = Fleet(around)
        asked = {"fleet": "burst", "instance_type": self.instance_type}
        return BuiltSite(
            site=self,
            address=pulumi.Output.from_input(HOST),
            outputs={"metal": fleet.note.name},
            capacity=SiteCapacity(
                site=self.name,
                module="tests.stacks.third_site.functions",
                machines=self.machines(),
                asked=asked,
                may_read=[],
                held=(HeldCapacity(self.least, RequestClass.P1, asked),),
            ),
            keys={KEY_FILE: pulumi.Output.secret("a-key")},
        )

    def route(self, manifest: Manifest, address: str, probe_interval_s: float) -> SiteRoute:
        path = f"/v2/models/{manifest.entry_model}/infer"
        return SiteRoute(
            site=self.name,
            host=address,
            port=443,
            dns="logical",
            region=self.region,
            tls=UpstreamTls(sni=address),
            auth=BearerKey(key_file=f"{KEYS_FOLDER}/{KEY_FILE}"),
            paths=(PathRule(client=path, upstream=path),),
            slots=manifest.serving.slots * self.least,
            health=AgentCheck(interval_s=probe_interval_s),
        )
