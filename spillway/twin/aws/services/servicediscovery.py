"""Cloud Map: names behind which a service's tasks have their addresses."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import QueueCall, Service

_TAGS = Tags("TagResource", "UntagResource", {"ResourceARN": "{arn}"})


def _made(scope: Scope, answer: dict[str, Any]) -> str:
    """A namespace is made in the background: its id is told by the operation."""
    return scope["call"]("GetOperation", {"OperationId": answer["OperationId"]})["Operation"]["Targets"]["NAMESPACE"]


def _service(scope: Scope) -> dict[str, Any]:
    config = scope["dnsConfig"]
    records = [{"Type": one["type"], "TTL": one["ttl"]} for one in config["dnsRecords"]]
    return {"DnsConfig": {"DnsRecords": records}, "Description": scope.get("description") or ""}


def _create(scope: Scope) -> list[dict[str, Any]]:
    params = _service(scope)
    config = scope["dnsConfig"]
    params["DnsConfig"] |= {"NamespaceId": config["namespaceId"]}
    params["DnsConfig"] |= {"RoutingPolicy": config["routingPolicy"]} if config.get("routingPolicy") else {}
    tags = [{"Key": key, "Value": value} for key, value in sorted(scope["tags"].items())]
    return [{"Name": scope["name"], "CreatorRequestId": scope["token"], **params} | ({"Tags": tags} if tags else {})]


_ROWS = (
    Row(
        token="aws:servicediscovery/privateDnsNamespace:PrivateDnsNamespace",
        service="servicediscovery",
        create="CreatePrivateDnsNamespace",
        id=_made,
        fixed={"CreatorRequestId": "{token}"},
        key={"Id": "{id}"},
        read="GetNamespace",
        live="Namespace",
        delete="DeleteNamespace",
        parts=(
            Part(
                "UpdatePrivateDnsNamespace",
                ("description",),
                build=lambda scope: [{"Id": scope["id"], "Namespace": {"Description": scope.get("description") or ""}}],
                update_only=True,
            ),
        ),
        outputs={"arn": "@Arn", "hostedZone": "@Properties.DnsProperties.HostedZoneId"},
        tags=_TAGS,
        note="no name is answered, and no hosted zone is listed",
        samples=(
            Sample(
                "namespace",
                {"name": "test.spillway.internal", "vpc": "$vpc.id", "tags": OWNED},
                change={"description": "new"},
                replace={"name": "other.spillway.internal"},
            ),
        ),
    ),
    Row(
        token="aws:servicediscovery/service:Service",
        service="servicediscovery",
        create="CreateService",
        build=_create,
        id="@Service.Id",
        key={"Id": "{id}"},
        read="GetService",
        live="Service",
        delete="DeleteService",
        parts=(
            Part(
                "UpdateService",
                ("description", "dnsConfig"),
                build=lambda scope: [{"Id": scope["id"], "Service": _service(scope)}],
                update_only=True,
            ),
        ),
        local=("forceDestroy",),
        outputs={"arn": "@Arn"},
        tags=_TAGS,
        note="no task is registered",
        samples=(
            Sample(
                "peers",
                {
                    "name": "gateway-peers",
                    "dnsConfig": {
                        "namespaceId": "$namespace.id",
                        "dnsRecords": [{"type": "A", "ttl": 5}],
                        "routingPolicy": "MULTIVALUE",
                    },
                    "forceDestroy": True,
                    "tags": OWNED,
                },
                change={"description": "new"},
            ),
        ),
    ),
)


def _patch(_: QueueCall) -> None:
    """Cloud Map refuses a name that the VPC has already, where moto refuses a second namespace of any name; and moto
    leaves the namespace's hosted zone behind."""
    from moto.servicediscovery import exceptions, models

    backends: Any = models.ServiceDiscoveryBackend

    def create_private_dns_namespace(
        backend: Any,
        name: str,
        creator_request_id: str,
        description: str,
        vpc: str,
        tags: list[dict[str, str]],
        properties: dict[str, Any],
    ) -> str:
        if any((other.name, other.vpc) == (name, vpc) for other in backend.namespaces.values()):
            raise exceptions.ConflictingDomainExists(vpc)
        made: Any = models.Namespace(
            backend.account_id,
            backend.region_name,
            name,
            "DNS_PRIVATE",
            creator_request_id,
            description,
            (properties or {}).get("DnsProperties", {}),
            {},
            vpc,
        )
        backend.namespaces[made.id] = made
        backend.tag_resource(made.arn, tags or [])
        return backend._create_operation("CREATE_NAMESPACE", targets={"NAMESPACE": made.id})

    backends.create_private_dns_namespace = create_private_dns_namespace


SERVICE = Service("servicediscovery", _ROWS, patch=_patch)
