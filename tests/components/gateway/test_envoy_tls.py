"""TLS on both sides of a real Envoy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from spillway.contracts.classes import Site
from spillway.contracts.routing import RoutingTable, ServerTls, UpstreamTls
from tests.support.gateway_rig import ALPHA, AZURE_HOST, INFER, SAGEMAKER_HOST, Rig

pytestmark = pytest.mark.heavy


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """A self-signed certificate for both clouds' names (Azure's by a wildcard, as it has them) and the gateway's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    names = [x509.DNSName(n) for n in (SAGEMAKER_HOST, "*." + AZURE_HOST.partition(".")[2], "gateway.test")]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")
    Path(files[0]).write_bytes(made.public_bytes(serialization.Encoding.PEM))
    Path(files[1]).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def encrypted(table: RoutingTable, certificate: tuple[str, str], wrong_name: bool = False) -> RoutingTable:
    def with_tls(site):
        if site.site == Site.PRIVATE:
            return site
        sni = "other.test" if wrong_name and site.site == Site.SAGEMAKER else site.host_header
        return site.model_copy(update={"tls": UpstreamTls(sni=sni, ca_file=certificate[0])})

    listen = table.listen.model_copy(
        update={"tls": ServerTls(certificate_file=certificate[0], key_file=certificate[1])}
    )
    return table.model_copy(update={"sites": tuple(map(with_tls, table.sites)), "listen": listen})


def ask(rig: Rig, certificate: tuple[str, str]) -> str | None:
    pool = urllib3.HTTPSConnectionPool(
        "127.0.0.1",
        rig.table.listen.port,
        ca_certs=certificate[0],
        server_hostname="gateway.test",
        assert_hostname="gateway.test",
    )
    headers = {"x-spillway-key": ALPHA, "x-spillway-class": "P0"}
    answer = pool.request("POST", INFER, body=b'{"inputs":[]}', headers=headers, retries=False)
    assert answer.status == 200
    return answer.headers["x-spillway-site"]


def test_clients_and_clouds_over_tls(tmp_path: Path, certificate: tuple[str, str]) -> None:
    with Rig(tmp_path, lambda table: encrypted(table, certificate), certificate) as rig:
        assert ask(rig, certificate) == "private"
        rig.servers[Site.PRIVATE].status = 503
        assert ask(rig, certificate) == "sagemaker"
        rig.servers[Site.SAGEMAKER].status = 500
        assert ask(rig, certificate) == "azure_ml"


def test_site_with_another_name_in_its_certificate_gets_nothing(tmp_path: Path, certificate: tuple[str, str]) -> None:
    with Rig(tmp_path, lambda table: encrypted(table, certificate, wrong_name=True), certificate) as rig:
        rig.servers[Site.PRIVATE].status = 503
        assert ask(rig, certificate) == "azure_ml"
        assert rig.servers[Site.SAGEMAKER].seen == []
