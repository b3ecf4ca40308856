"""The twin's own certificate authority: the burst sites are reached over TLS, as in the cloud."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFETIME: Final = datetime.timedelta(days=365)
_PEM: Final = serialization.Encoding.PEM


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


def ensure_authority(folder: Path) -> KeyPair:
    """The twin's authority, made at the first call. Nobody but this twin's gateways trusts it."""
    pair = KeyPair(folder / "ca.crt", folder / "ca.key")
    if not _usable(pair):
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Spillway twin")
        builder = _builder(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        _write(pair, builder.sign(key, hashes.SHA256()), key)
    return pair


def ensure_certificate(folder: Path, host: str) -> KeyPair:
    """A server certificate for ``host``, signed by :func:`ensure_authority` of the same folder."""
    authority = ensure_authority(folder)
    pair = KeyPair(folder / f"{host}.crt", folder / f"{host}.key")
    if _usable(pair) and pair.certificate.stat().st_mtime >= authority.certificate.stat().st_mtime:
        return pair
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    issuer_key = serialization.load_pem_private_key(authority.key.read_bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    builder = _builder(_name(host[:64]), issuer.subject, key).add_extension(names, critical=False)
    _write(pair, builder.sign(issuer_key, hashes.SHA256()), key)
    return pair


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usable(pair: KeyPair) -> bool:
    if not (pair.certificate.is_file() and pair.key.is_file()):
        return False
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    return certificate.not_valid_after_utc > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)


def _write(pair: KeyPair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(pair.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(pem)
    pair.certificate.write_bytes(certificate.public_bytes(_PEM))
