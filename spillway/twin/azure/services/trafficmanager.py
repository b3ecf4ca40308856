"""Failover DNS."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, in_group
from spillway.twin.azure.sample import IN_GROUP, Sample

ROWS: Final = (
    in_group(
        "trafficmanager:Profile",
        "Microsoft.Network/trafficmanagerprofiles/{profileName}",
        "trafficmanager.Profile",
        create_only=LOCATION,
        sample=Sample(
            {
                **IN_GROUP,
                "profileName": "spill",
                "location": "global",
                "trafficRoutingMethod": "Priority",
                "dnsConfig": {"relativeName": "spill", "ttl": 30.0},
                "monitorConfig": {"protocol": "HTTPS", "port": 443.0, "path": "/healthz"},
            }
        ),
    ),
    in_group(
        "trafficmanager:Endpoint",
        "Microsoft.Network/trafficmanagerprofiles/{profileName}/{endpointType}/{endpointName}",
        "trafficmanager.Endpoint",
        computed={"endpointMonitorStatus": "Online"},
        sample=Sample(
            {
                **IN_GROUP,
                "profileName": "spill",
                "endpointType": "ExternalEndpoints",
                "endpointName": "private",
                "target": "gw.example",
                "priority": 1.0,
                "endpointStatus": "Enabled",
            }
        ),
    ),
)
