"""A DNS server for a twin: answers from its Route 53, so that ``dig`` sees a failover.

It holds no zone of its own: records come from the emulated Route 53 at most :data:`CACHE_S` ago, health checks from
its ``/_spillway/route53/health``. A failover record's own address (an on-premises address, a load balancer) does not
exist on this machine, so the loopback address of the gateway that it stands for is answered: ``--primary``,
``--secondary``.
"""

from __future__ import annotations

import argparse
import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from dnslib import AAAA, CNAME, MX, NS, PTR, QTYPE, RCODE, SOA, TXT, A, DNSRecord
from dnslib.dns import RD, RR
from dnslib.server import BaseResolver, DNSLogger, DNSServer

CACHE_S: Final = 0.5
"""Seconds for which what Route 53 said is kept; far below any record's TTL."""

ALIAS_TTL_S: Final = 60
"""TTL of an alias to a load balancer (Route 53 developer guide, "Choosing between alias and non-alias records")."""

_MAX_HOPS: Final = 8
_RDATA: Final[dict[str, Callable[[str], RD]]] = {
    "A": A,
    "AAAA": AAAA,
    "CNAME": CNAME,
    "NS": NS,
    "PTR": PTR,
    "TXT": lambda value: TXT(value.strip('"').split('" "')),
    "MX": lambda value: MX(value.split()[1], int(value.split()[0])),
    "SOA": lambda value: _soa(value),
}


@dataclass(frozen=True)
class Record:
    """One record set. ``failover``: PRIMARY, SECONDARY or empty. ``alias``: the name it follows, or empty."""

    name: str
    type: str
    ttl: int
    values: tuple[str, ...] = ()
    alias: str = ""
    failover: str = ""
    health_check: str = ""


@dataclass(frozen=True)
class ZoneData:
    """All records by (name, type), the zones' names, and which health checks are good."""

    records: dict[tuple[str, str], tuple[Record, ...]] = field(default_factory=dict)
    zones: tuple[str, ...] = ()
    healthy: dict[str, bool] = field(default_factory=dict)

    def zone_of(self, name: str) -> str:
        """The longest zone that ``name`` is in, or an empty string."""
        inside = [zone for zone in self.zones if name == zone or name.endswith("." + zone)]
        return max(inside, key=len, default="")

    def has_name(self, name: str) -> bool:
        return any(known == name for known, _ in self.records)


Source = Callable[[], ZoneData]


def choose(records: Iterable[Record], healthy: dict[str, bool]) -> Record | None:
    """The record that Route 53 answers with.

    A failover pair answers with the primary while its check is good, else the secondary while that one's is good, else
    the primary: when nothing is healthy, Route 53 answers as if all were.
    """
    records = list(records)
    order = sorted((r for r in records if r.failover), key=lambda r: r.failover != "PRIMARY")
    if not order:
        return records[0] if records else None
    return next((r for r in order if not r.health_check or healthy.get(r.health_check, False)), order[0])


class Resolver(BaseResolver):
    """Answers from ``source``; ``gateways``: loopback address by PRIMARY and SECONDARY."""

    def __init__(self, source: Source, gateways: dict[str, str]) -> None:
        self._source = source
        self._gateways = gateways

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply = request.reply()
        name = _plain(str(request.q.qname))
        try:
            data = self._source()
        except OSError:
            reply.header.rcode = RCODE.SERVFAIL
            return reply
        if not data.zone_of(name):
            reply.header.rcode = RCODE.REFUSED
            return reply
        reply.header.aa = 1
        for answer in self._answers(name, QTYPE[request.q.qtype], data):
            reply.add_answer(answer)
        if not reply.rr and not data.has_name(name):
            reply.header.rcode = RCODE.NXDOMAIN
        return reply

    def _answers(self, name: str, type_: str, data: ZoneData) -> list[RR]:
        """The chain from ``name`` to addresses. An alias is followed silently, a CNAME is shown."""
        found: list[RR] = []
        owner, ttl = name, 0
        for _ in range(_MAX_HOPS):
            record = choose(data.records.get((name, type_), ()), data.healthy)
            if record is None and type_ != "CNAME":
                record = choose(data.records.get((name, "CNAME"), ()), data.healthy)
            if record is None:
                break
            ttl = ttl or record.ttl
            if type_ == "A" and record.failover in self._gateways:
                found.append(_rr(owner, "A", self._gateways[record.failover], ttl))
                break
            if record.alias:
                name = record.alias
                continue
            found += [_rr(owner, record.type, value, ttl) for value in record.values]
            if record.type != "CNAME" or type_ == "CNAME":
                break
            owner = name = _plain(record.values[0])
            ttl = 0
        return found


class Route53:
    """Reads the emulated Route 53 at ``endpoint``. Called from the server's threads."""

    def __init__(self, endpoint: str) -> None:
        import boto3

        self._endpoint = endpoint
        self._client = boto3.client(
            "route53",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="twin",
            aws_secret_access_key="twin",
        )
        self._lock = threading.Lock()
        self._data = ZoneData()
        self._read_at = float("-inf")

    def __call__(self) -> ZoneData:
        """Raises ``OSError`` when Route 53 does not answer."""
        with self._lock:
            if time.monotonic() - self._read_at > CACHE_S:
                self._data = self._read()
                self._read_at = time.monotonic()
            return self._data

    def _read(self) -> ZoneData:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            zones = list(self._client.get_paginator("list_hosted_zones").paginate().search("HostedZones[]"))
            pages = self._client.get_paginator("list_resource_record_sets")
            sets = [s for zone in zones for s in pages.paginate(HostedZoneId=zone["Id"]).search("ResourceRecordSets[]")]
        except (BotoCoreError, ClientError) as error:
            raise OSError(str(error)) from error
        records: dict[tuple[str, str], tuple[Record, ...]] = {}
        for record in map(_record, sets):
            key = (record.name, record.type)
            records[key] = (*records.get(key, ()), record)
        return ZoneData(records, tuple(_plain(zone["Name"]) for zone in zones), self._health())

    def _health(self) -> dict[str, bool]:
        with urllib.request.urlopen(f"{self._endpoint}/_spillway/route53/health", timeout=5) as answer:
            return {check: found["healthy"] for check, found in json.load(answer).items()}


def serve(endpoint: str, port: int, gateways: dict[str, str], host: str = "127.0.0.1") -> None:
    """UDP and TCP on loopback, until the process ends."""
    resolver = Resolver(Route53(endpoint), gateways)
    logger = DNSLogger("truncated,error")
    DNSServer(resolver, address=host, port=port, tcp=True, logger=logger).start_thread()
    DNSServer(resolver, address=host, port=port, logger=logger).start()


def _record(found: dict[str, Any]) -> Record:
    alias = found.get("AliasTarget", {}).get("DNSName", "")
    return Record(
        name=_plain(found["Name"]),
        type=found["Type"],
        ttl=int(found.get("TTL", ALIAS_TTL_S)),
        values=tuple(value["Value"] for value in found.get("ResourceRecords", ())),
        alias=_plain(alias),
        failover=found.get("Failover", ""),
        health_check=found.get("HealthCheckId", ""),
    )


def _rr(owner: str, type_: str, value: str, ttl: int) -> RR:
    return RR(owner, getattr(QTYPE, type_), rdata=_RDATA[type_](value), ttl=ttl)


def _soa(value: str) -> SOA:
    # moto wraps a zone's own SOA in the text of a dictionary.
    found = re.search(r"([\w.-]+) ([\w.-]+) (\d+) (\d+) (\d+) (\d+) (\d+)", value)
    if found is None:
        raise ValueError(f"not the value of a SOA record: {value}")
    serial, refresh, retry, expire, minimum = (int(number) for number in found.groups()[2:])
    return SOA(found[1], found[2], (serial, refresh, retry, expire, minimum))


def _plain(name: str) -> str:
    return name.rstrip(".").lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aws", required=True, help="base URL of the emulated AWS")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--primary", default="127.0.0.1")
    parser.add_argument("--secondary", default="127.0.0.2")
    args = parser.parse_args()
    serve(args.aws, args.port, {"PRIMARY": args.primary, "SECONDARY": args.secondary})


if __name__ == "__main__":
    main()
