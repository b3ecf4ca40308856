"""The certificate that Envoy shows to clients: where it is read, and read again once it is renewed; when it ends."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path, PurePosixPath
from typing import Final

from spillway.contracts.routing import CERTIFICATE, RoutingTable
from spillway.runtime.gateway.eds import write_atomically
from spillway.runtime.gateway.envoy_admin import EnvoyAdmin

_ENDS: Final = re.compile(rf"\.ssl\.certificate\.{CERTIFICATE}\.expiration_unix_time_seconds: (\d+)$", re.MULTILINE)
DAY_S: Final = 24 * 3600


def write_certificate(table: RoutingTable) -> None:
    """Tell Envoy which files it is, and to look at their folder: there a cluster puts a renewed one in by a rename.

    https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/security/secret#key-rotation
    """
    tls = table.listen.tls
    if tls is None:
        return
    resource = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": CERTIFICATE,
        "tls_certificate": {
            "certificate_chain": {"filename": tls.certificate_file},
            "private_key": {"filename": tls.key_file},
            "watched_directory": {"path": str(PurePosixPath(tls.certificate_file).parent)},
        },
    }
    write_atomically(Path(table.certificate_path), json.dumps({"resources": [resource]}))


async def days_left(admin: EnvoyAdmin) -> float | None:
    """Of the certificate that Envoy shows now; ``None`` where it shows none."""
    found = _ENDS.findall(await admin.get("stats", {"filter": r"\.expiration_unix_time_seconds$"}))
    return (min(map(float, found)) - time.time()) / DAY_S if found else None
