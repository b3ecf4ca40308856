"""Clients that bring tokens of an issuer (RFC 7519), verified by a real Envoy with keys that it fetches."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from spillway.contracts.classes import Site
from spillway.contracts.routing import Client, RoutingTable
from spillway.contracts.web_tokens import TokenIssuer
from spillway.twin.data_plane.processes.child import free_port
from tests.support.gateway_rig import ALPHA, Answer, Rig
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy

ISSUER, AUDIENCE = "https://issuer.example.com/", "spillway"


@cache
def key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwks(*names: str) -> dict[str, Any]:
    """RFC 7517, appendix A."""

    def number(value: int) -> str:
        return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))

    numbers = {name: key(name).public_key().public_numbers() for name in names}
    return {
        "keys": [
            {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": name, "n": number(each.n), "e": number(each.e)}
            for name, each in numbers.items()
        ]
    }


def token(signed_with: str = "now", algorithm: str = "RS256", **changes: Any) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "phone", "exp": int(time.time()) + 600, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    header = {"alg": algorithm, "typ": "JWT", "kid": signed_with}
    said = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    signature = key(signed_with).sign(said.encode(), padding.PKCS1v15(), SHA256()) if algorithm == "RS256" else b""
    return f"{said}.{encoded(signature)}"


class TokenRig(Rig):
    """With an issuer that says its keys, or fails."""

    def __init__(self, *args: Any) -> None:
        self.issuer_port = free_port()
        self.issuer_is_well = True
        self.asked = 0
        # Before the issuer's thread needs them: asked for by two threads at once, a key would be made twice.
        self.keys = jwks("now", "next")
        super().__init__(*args, change=self._with_tokens)

    def _with_tokens(self, table: RoutingTable) -> RoutingTable:
        issuer = TokenIssuer(
            issuer=ISSUER,
            audiences=(AUDIENCE, "other"),
            jwks_url=f"http://127.0.0.1:{self.issuer_port}/keys",
            class_claim="spillway_class",
        )
        phone = Client.model_validate({"name": "phone", "max_class": "P0"})
        return table.model_copy(update={"token_issuer": issuer, "clients": (*table.clients, phone)})

    async def _start_servers(self) -> None:
        await super()._start_servers()
        app = web.Application()
        app.router.add_get("/keys", self._keys)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.issuer_port).start()
        self._runners.append(runner)

    async def _keys(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(self.keys) if self.issuer_is_well else web.Response(status=503)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenRig]:
    with TokenRig(tmp_path_factory.mktemp("tokens")) as rig:
        eventually(lambda: rig.asked, within_s=15, what="Envoy has the issuer's keys")
        eventually(lambda: send(rig, token()).status == 200, within_s=15, what="a token is taken")
        yield rig


@pytest.fixture
def rig(tokens: TokenRig) -> TokenRig:
    for server in tokens.servers.values():
        server.seen.clear()
    return tokens


def send(rig: Rig, text: str, class_: str | None = "P0", scheme: str = "Bearer", **headers: str) -> Answer:
    return rig.post(class_=class_, headers={"authorization": f"{scheme} {text}", **headers})


def priority(rig: Rig) -> int:
    return json.loads(rig.servers[Site.PRIVATE].seen[-1].body)["parameters"]["priority"]


@pytest.mark.parametrize(
    ("changes", "class_", "expected"),
    [
        ({}, "P0", 1),
        ({}, None, 2),
        ({"signed_with": "next"}, "P0", 1),
        ({"aud": ["somebody", "other"]}, "P0", 1),
        ({"sub": "alpha"}, "P0", 1),
        ({"sub": "beta"}, "P0", 2),
        ({"spillway_class": "P1"}, "P0", 2),
        ({"spillway_class": "P2"}, None, 3),
        ({"spillway_class": "P0", "sub": "beta"}, "P0", 2),
    ],
)
def test_a_token_names_its_client_and_may_lower_its_class(
    rig: TokenRig, changes: dict[str, Any], class_: str | None, expected: int
) -> None:
    assert send(rig, token(**changes), class_).status == 200
    assert priority(rig) == expected
    assert "Authorization" not in rig.servers[Site.PRIVATE].seen[-1].headers


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"nbf": 1 << 33},
        {"iss": "https://issuer.example.com"},
        {"aud": "somebody"},
        {"aud": None},
        {"sub": ["phone"]},
        {"signed_with": "a key of somebody else"},
        {"algorithm": "none"},
        {"algorithm": "HS256"},
    ],
)
def test_a_token_that_is_not_verified_is_refused(rig: TokenRig, changes: dict[str, Any]) -> None:
    """RFC 6750, section 3.1: invalid_token, with what is wrong."""
    answer = send(rig, token(**changes))
    assert answer.status == 401
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="spillway", error="invalid_token", error_description="')
    assert json.loads(answer.body)["error"].startswith("the token is refused: ")
    assert not rig.servers[Site.PRIVATE].seen


def test_a_changed_token_is_refused(rig: TokenRig) -> None:
    head, claims, signature = token().split(".")
    more = json.loads(base64.urlsafe_b64decode(claims + "=="))
    forged = encoded(json.dumps({**more, "sub": "alpha"}).encode())
    for text in (f"{head}.{forged}.{signature}", f"{head}.{claims}.", f"{head}.{claims}", f"{head}..{signature}"):
        assert send(rig, text).status == 401
    assert not rig.servers[Site.PRIVATE].seen


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sub": "nobody"}, "the token's sub is no client of this gateway"),
        ({"sub": None}, "the token's sub is no client of this gateway"),
        ({"spillway_class": "P9"}, "the token's spillway_class must be P0, P1 or P2"),
        ({"spillway_class": 0}, "the token's spillway_class must be P0, P1 or P2"),
    ],
)
def test_a_token_that_means_nothing_here_is_refused(rig: TokenRig, changes: dict[str, Any], says: str) -> None:
    answer = send(rig, token(**changes))
    assert (answer.status, json.loads(answer.body)["error"]) == (403, says)
    assert not rig.servers[Site.PRIVATE].seen


def test_data_of_a_tokens_client_stays_where_it_must(rig: TokenRig) -> None:
    rig.servers[Site.PRIVATE].status = 503
    try:
        assert send(rig, token(sub="beta")).status == 503
        assert send(rig, token()).site == Site.SAGEMAKER.value
    finally:
        rig.servers[Site.PRIVATE].status = 200


def test_keys_go_on_beside_tokens(rig: TokenRig) -> None:
    for headers in ({"x-spillway-key": ALPHA}, {"authorization": f"Bearer {ALPHA}"}):
        assert rig.post(class_="P0", headers=headers).status == 200
        assert priority(rig) == 1
    assert send(rig, "no-such-key").status == 401
    assert send(rig, token(), scheme="bearer").status == 200
    # A key of its own header goes first, whatever stands beside it.
    assert send(rig, token(), **{"x-spillway-key": "no-such-key"}).status == 401
    assert rig.post().status == 200
    assert priority(rig) == 3


def test_no_token_is_in_the_log(rig: TokenRig) -> None:
    good, bad = token(), token(exp=1)
    send(rig, good)
    send(rig, bad)
    eventually(lambda: '"phone"' in (rig.folder / "envoy.log").read_text())
    log = (rig.folder / "envoy.log").read_text()
    assert not [part for text in (good, bad) for part in text.split(".")[1:] if part in log]


def test_without_the_issuers_keys_tokens_wait_and_keys_do_not(tmp_path_factory: pytest.TempPathFactory) -> None:
    with_none = TokenRig(tmp_path_factory.mktemp("no-keys"))
    with_none.issuer_is_well = False
    with with_none as rig:
        answer = send(rig, token())
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert rig.post(headers={"x-spillway-key": ALPHA}).status == 200
        rig.issuer_is_well = True
        eventually(lambda: send(rig, token()).status == 200, within_s=15, what="the keys are fetched again")
