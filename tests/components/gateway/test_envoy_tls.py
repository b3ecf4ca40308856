"""TLS on both sides of a real Envoy."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from spillway.contracts.classes import Site
from spillway.contracts.credentials import ServerTls, UpstreamTls
from spillway.contracts.routing import RoutingTable
from spillway.runtime.gateway.certificate import days_left
from spillway.runtime.gateway.envoy_admin import EnvoyAdmin
from tests.support.gateway_rig import ALPHA, AZURE_HOST, INFER, SAGEMAKER_HOST, Rig
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    return issue(tmp_path, timedelta(hours=1))


def issue(folder: Path, lasts: timedelta) -> tuple[str, str]:
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
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = str(folder / "tls.crt"), str(folder / "tls.key")
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


def test_a_renewed_certificate_is_shown_without_a_new_gateway(tmp_path: Path) -> None:
    """As a kubelet renews a Secret's files: a new folder, and one rename of the link to it."""
    shown, first, second = tmp_path / "tls", tmp_path / "first", tmp_path / "second"
    for folder, lasts in ((shown, None), (first, timedelta(days=10)), (second, timedelta(days=90))):
        folder.mkdir()
        if lasts:
            issue(folder, lasts)
    (shown / "..data").symlink_to(first)
    for name in ("tls.crt", "tls.key"):
        (shown / name).symlink_to(Path("..data") / name)
    files = str(shown / "tls.crt"), str(shown / "tls.key")
    clouds = issue(tmp_path, timedelta(hours=1))

    def with_files(table: RoutingTable) -> RoutingTable:
        own = ServerTls(certificate_file=files[0], key_file=files[1])
        made = encrypted(table, clouds)
        return made.model_copy(update={"listen": made.listen.model_copy(update={"tls": own})})

    async def left(rig: Rig) -> float:
        async with aiohttp.ClientSession() as session:
            days = await days_left(EnvoyAdmin(rig.table.listen.admin_port, session))
        assert days is not None
        return days

    with Rig(tmp_path, with_files, clouds) as rig:
        assert ask(rig, files) == "private"
        assert 9.9 < asyncio.run(left(rig)) < 10
        (shown / "..data_tmp").symlink_to(second)
        (shown / "..data_tmp").rename(shown / "..data")
        eventually(lambda: asyncio.run(left(rig)) > 89, 10, "the new certificate is read")
        assert ask(rig, files) == "private"


def test_a_gateway_without_a_certificate_has_no_days_left(tmp_path: Path) -> None:
    async def left(port: int) -> float | None:
        async with aiohttp.ClientSession() as session:
            return await days_left(EnvoyAdmin(port, session))

    with Rig(tmp_path) as rig:
        assert asyncio.run(left(rig.table.listen.admin_port)) is None
