"""DNS inside the networks."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, in_group
from spillway.twin.azure.sample import IN_GROUP, Sample, at

ROWS: Final = (
    in_group(
        "privatedns:PrivateZone",
        "Microsoft.Network/privateDnsZones/{privateZoneName}",
        "privatedns.PrivateZone",
        create_only=LOCATION,
        sample=Sample({**IN_GROUP, "privateZoneName": "privatelink.api.azureml.ms", "location": "global"}),
    ),
    in_group(
        "privatedns:VirtualNetworkLink",
        "Microsoft.Network/privateDnsZones/{privateZoneName}/virtualNetworkLinks/{virtualNetworkLinkName}",
        "privatedns.VirtualNetworkLink",
        create_only=LOCATION | {"virtualNetwork"},
        sample=Sample(
            {
                **IN_GROUP,
                "privateZoneName": "privatelink.api.azureml.ms",
                "virtualNetworkLinkName": "vnet",
                "location": "global",
                "registrationEnabled": False,
                "virtualNetwork": {"id": at("Microsoft.Network/virtualNetworks/vnet")},
            }
        ),
    ),
    in_group(
        "privatedns:PrivateRecordSet",
        "Microsoft.Network/privateDnsZones/{privateZoneName}/{recordType}/{relativeRecordSetName}",
        "privatedns.RecordSet",
        sample=Sample(
            {
                **IN_GROUP,
                "privateZoneName": "privatelink.api.azureml.ms",
                "recordType": "A",
                "relativeRecordSetName": "x",
                "ttl": 60.0,
                "aRecords": [{"ipv4Address": "10.1.0.9"}],
            }
        ),
    ),
)
