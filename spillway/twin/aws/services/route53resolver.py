"""DNS across a VPN."""

from __future__ import annotations

from spillway.twin.aws.row import Part, Row, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_ROWS = (
    Row(
        token="aws:route53/resolverEndpoint:ResolverEndpoint",
        service="route53resolver",
        create="CreateResolverEndpoint",
        id="@ResolverEndpoint.Id",
        rename={"ipAddresses.ipId": ""},
        fixed={"CreatorRequestId": "{token}"},
        key={"ResolverEndpointId": "{id}"},
        read="GetResolverEndpoint",
        live="ResolverEndpoint",
        gone="Status=='DELETING'",
        delete="DeleteResolverEndpoint",
        parts=(Part("UpdateResolverEndpoint", ("name",), rename={"name": "Name"}, update_only=True),),
        outputs={"arn": "@Arn", "hostVpcId": "@HostVPCId"},
        tags=Tags("TagResource", "UntagResource", {"ResourceArn": "{arn}"}),
        note="resolves nothing",
        samples=(
            Sample(
                "resolver",
                {
                    "direction": "INBOUND",
                    "securityGroupIds": ["$group.id"],
                    "ipAddresses": [{"subnetId": "$subnet.id"}, {"subnetId": "$subnet-b.id"}],
                    "tags": OWNED,
                },
            ),
        ),
    ),
)

SERVICE = Service("route53resolver", _ROWS)
