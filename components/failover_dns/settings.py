"""Which name clients use and who answers it: the stack file's ``dns`` part."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from components.retention import RetentionDays
from spillway.contracts.frozen import Settings

ZoneName = Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}$")]
"""A DNS zone, without the trailing dot."""

Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")]
"""A name inside a zone. Never empty: a zone's apex cannot hold a CNAME."""

Ttl = Annotated[int, Field(ge=5, le=300)]
"""Seconds. Above 300 clients would hold on to a dead site for longer than an outage may last."""


class Route53Settings(Settings):
    """Route 53 failover records, judged by an alarm on the private gateway's heartbeat."""

    provider: Literal["route53"] = "route53"
    """Who answers the name."""

    zone_name: ZoneName
    """The zone of the service's name."""

    zone_id: Annotated[str, Field(pattern=r"^Z[A-Z0-9]+$")] | None = None
    """An existing hosted zone; without it one is created."""

    record_name: Label = "inference"
    """The service's name inside the zone."""

    certificate_zone_id: Annotated[str, Field(pattern=r"^Z[A-Z0-9]+$")] | None = None
    """Public hosted zone of the same name, in which ACM lets the standby's certificate be proved; by default the zone
    itself where it is public."""

    ttl_s: Ttl = 30
    """Time to live of the records, seconds; an alias to the standby load balancer has AWS's 60."""

    @property
    def host(self) -> str:
        """The name that clients use."""
        return f"{self.record_name}.{self.zone_name}"


class TrafficManagerSettings(Settings):
    """Azure Traffic Manager by priority; a function flips the private endpoint's status, and nothing is probed."""

    provider: Literal["traffic_manager"]
    """Who answers the name."""

    relative_name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)] | None = None
    """First label of the profile's ``trafficmanager.net`` name, unique world-wide; by default the stack's
    prefix and a digest of its subscription."""

    zone_name: ZoneName
    """The zone of the service's name."""

    zone_id: Annotated[str, Field(pattern=r"^/subscriptions/.+/dnszones/.+$")] | None = None
    """Resource id of an existing Azure DNS zone; without it one is created."""

    record_name: Label = "inference"
    """The service's name inside the zone: a CNAME to the profile."""

    ttl_s: Ttl = 30
    """Time to live of the profile's answers, seconds."""

    heartbeat_stale_after_s: Annotated[int, Field(ge=30, le=300)] = 60
    """Seconds without a heartbeat from the private gateway after which the function disables its endpoint; counted in
    whole minutes, upwards."""

    log_retention_days: RetentionDays = 90
    """Days that the function's logs are kept."""

    @property
    def host(self) -> str:
        """The name that clients use."""
        return f"{self.record_name}.{self.zone_name}"


DnsSettings = Annotated[Route53Settings | TrafficManagerSettings, Field(discriminator="provider")]
"""The stack file's ``dns``: one of two models, by ``provider``."""
