"""cert-manager's work in the emulated cluster: a Secret for each Certificate whose issuer is there.

Nobody is asked for a certificate: it is signed with its own key. Names and keys of the Secret are those of
https://cert-manager.io/docs/usage/certificate/ (read 2026-11-30). That the issuer may prove the name is a conformance
rule's to say, and not seen here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

CHART: Final = "cert-manager"
GROUP: Final = "cert-manager.io"
API: Final = f"{GROUP}/v1"
KINDS: Final = ("Certificate", "Issuer", "ClusterIssuer")
LASTS: Final = timedelta(days=90)
"""Let's Encrypt's."""

Object = dict[str, Any]
Table = Mapping[tuple[str, str], Object]


def concerns(group: str, kind: str) -> bool:
    """Whether such an object may be what a Certificate waits for: Helm's record of the chart is a Secret."""
    return (group, kind) == ("", "Secret") or (group == GROUP and kind in KINDS)


def waiting(tables: Mapping[str, Table], there: Callable[[str, str, str], bool]) -> Iterator[Object]:
    """Certificates without a Secret whose issuer is there. ``tables``: of :data:`KINDS`, by kind."""
    for (namespace, _), certificate in list(tables["Certificate"].items()):
        spec = certificate["spec"]
        issuer = spec["issuerRef"]
        kind = issuer.get("kind", "Issuer")
        home = "" if kind == "ClusterIssuer" else namespace
        has_issuer = (home, issuer["name"]) in tables.get(kind, {})
        if has_issuer and not there("Secret", namespace, spec["secretName"]):
            yield certificate


def secret(certificate: Object) -> Object:
    """The Secret that a Certificate asks for."""
    spec, metadata = certificate["spec"], certificate["metadata"]
    chain, key = _signed(spec["dnsNames"])
    data = {"tls.crt": chain, "tls.key": key, "ca.crt": chain}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {
            "name": spec["secretName"],
            "namespace": metadata["namespace"],
            "annotations": {f"{GROUP}/certificate-name": metadata["name"]},
        },
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }


def ready(now: str) -> Object:
    """A Certificate's status."""
    message = "Certificate is up to date and has not expired"
    condition = {"type": "Ready", "status": "True", "reason": "Ready", "message": message, "lastTransitionTime": now}
    return {"conditions": [condition]}


def _signed(names: list[str]) -> tuple[bytes, bytes]:
    """Certificate and key, PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LASTS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = serialization.PrivateFormat.PKCS8
    return (
        made.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()),
    )
