"""Public DNS zones."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, in_group
from spillway.twin.azure.sample import IN_GROUP, Sample

ROWS: Final = (
    in_group(
        "dns:Zone",
        "Microsoft.Network/dnsZones/{zoneName}",
        "dns.Zone",
        create_only=LOCATION,
        computed={"nameServers": ["ns1-01.azure-dns.com.", "ns2-01.azure-dns.net."]},
        sample=Sample({**IN_GROUP, "zoneName": "infer.example", "location": "global", "zoneType": "Public"}),
    ),
    in_group(
        "dns:RecordSet",
        "Microsoft.Network/dnsZones/{zoneName}/{recordType}/{relativeRecordSetName}",
        "dns.RecordSet",
        sample=Sample(
            {
                **IN_GROUP,
                "zoneName": "infer.example",
                "recordType": "CNAME",
                "relativeRecordSetName": "api",
                "ttl": 60.0,
                "cnameRecord": {"cname": "spill.trafficmanager.net"},
            }
        ),
    ),
)
