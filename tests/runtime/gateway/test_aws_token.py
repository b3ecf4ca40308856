"""The agent's tokens are AWS's own, and the twin's front refuses every other."""

from __future__ import annotations

import base64
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from spillway.contracts.classes import Site
from spillway.contracts.credentials import AwsToken
from spillway.contracts.routing import RoutingTable
from spillway.runtime.gateway.aws_token import AwsTokenMaker
from spillway.runtime.gateway.tokens import NOT_YET, write_missing_tokens, write_token
from spillway.twin.data_plane.processes.aws_signatures import RefusalError, Verifier

REGION = "eu-west-1"
OF_AWS = {
    "": (
        "sagemaker-api-key-c2FnZW1ha2VyLmFtYXpvbmF3cy5jb20vP0FjdGlvbj1DYWxsV2l0aEJlYXJlclRva2VuJlgtQW16LUFsZ29yaXRobT1BV1"
        "M0LUhNQUMtU0hBMjU2JlgtQW16LUNyZWRlbnRpYWw9QUtJQVRFU1QlMkYyMDI2MTEzMCUyRmV1LXdlc3QtMSUyRnNhZ2VtYWtlciUyRmF3czRfcm"
        "VxdWVzdCZYLUFtei1EYXRlPTIwMjYxMTMwVDAzMDAwMFomWC1BbXotRXhwaXJlcz00MzIwMCZYLUFtei1TaWduZWRIZWFkZXJzPWhvc3QmWC1BbX"
        "otU2lnbmF0dXJlPTk1ZjFlOTZiYjI2MWMyZTA1MmM4NDAyZWI2ZjQzNWM4ZDQxZDg5MjljZmRlMDgxMjMwOWUyMjU3YmI2MzQ1YzcmVmVyc2lvbj"
        "0x"
    ),
    "session/token==": (
        "sagemaker-api-key-c2FnZW1ha2VyLmFtYXpvbmF3cy5jb20vP0FjdGlvbj1DYWxsV2l0aEJlYXJlclRva2VuJlgtQW16LUFsZ29yaXRobT1BV1"
        "M0LUhNQUMtU0hBMjU2JlgtQW16LUNyZWRlbnRpYWw9QVNJQVRFU1QlMkYyMDI2MTEzMCUyRmV1LXdlc3QtMSUyRnNhZ2VtYWtlciUyRmF3czRfcm"
        "VxdWVzdCZYLUFtei1EYXRlPTIwMjYxMTMwVDAzMDAwMFomWC1BbXotRXhwaXJlcz00MzIwMCZYLUFtei1TaWduZWRIZWFkZXJzPWhvc3QmWC1BbX"
        "otU2VjdXJpdHktVG9rZW49c2Vzc2lvbiUyRnRva2VuJTNEJTNEJlgtQW16LVNpZ25hdHVyZT05YTQwNDk4OTM5OTcxNmI5ZGFhNGFkOGEzMDdlMm"
        "QzZjFlY2ViZTZiMTVjY2RlYTFlZGFjYWJiYjhhODIyYWQwJlZlcnNpb249MQ=="
    ),
}
"""By session token: what ``sagemaker.core.token_generator`` of sagemaker-core 2.27.0 makes of the same credentials for
eu-west-1 at 2026-11-30 03:00 UTC."""


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: moment.replace(tzinfo=None))


def maker(
    monkeypatch: pytest.MonkeyPatch, key: str = "AKIATEST", session: str = "", region: str = REGION
) -> AwsTokenMaker:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", session)
    return AwsTokenMaker(AwsToken(region=region))


@pytest.mark.parametrize("session", OF_AWS)
def test_a_token_is_the_one_that_awss_own_library_makes(monkeypatch: pytest.MonkeyPatch, session: str) -> None:
    at(monkeypatch, datetime(2026, 11, 30, 3, tzinfo=UTC))
    assert maker(monkeypatch, "ASIATEST" if session else "AKIATEST", session).make() == OF_AWS[session]


VERIFIER = Verifier(REGION, "sagemaker", {"AKIATEST": "secret-key"})


def verify(authorization: str) -> None:
    VERIFIER.verify_token(make_mocked_request("POST", "/", headers={"Authorization": authorization}))


def test_the_front_takes_a_fresh_token(monkeypatch: pytest.MonkeyPatch) -> None:
    verify(f"Bearer {maker(monkeypatch).make()}")


def flipped(token: str) -> str:
    """Another signature."""
    signed = base64.b64decode(token.removeprefix("sagemaker-api-key-")).decode()
    head, mark, rest = signed.partition("X-Amz-Signature=")
    changed = head + mark + ("0" if rest[0] != "0" else "1") + rest[1:]
    return "sagemaker-api-key-" + base64.b64encode(changed.encode()).decode()


BAD: dict[str, tuple[dict[str, Any], Any, str]] = {
    "none": ({}, lambda token: "", "Missing Authentication Token"),
    "a signature": ({}, lambda token: "AWS4-HMAC-SHA256 Credential=x", "Missing Authentication Token"),
    "a key of somebody's": ({}, lambda token: "Bearer sk-1", "invalid"),
    "not base64": ({}, lambda token: "Bearer sagemaker-api-key-%%%", "invalid"),
    "for Bedrock": ({}, lambda token: "Bearer " + token.replace("sagemaker-api-key-", "bedrock-api-key-"), "invalid"),
    "of nobody": ({"key": "AKIAOTHER"}, lambda token: f"Bearer {token}", "invalid"),
    "of another region": ({"region": "us-east-1"}, lambda token: f"Bearer {token}", "scoped to eu-west-1/sagemaker"),
    "changed": ({}, lambda token: f"Bearer {flipped(token)}", "does not match"),
    "the placeholder": ({}, lambda token: f"Bearer {NOT_YET}", "invalid"),
}


@pytest.mark.parametrize("name", BAD)
def test_the_front_refuses_every_other(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    changes, made, words = BAD[name]
    with pytest.raises(RefusalError, match=words) as caught:
        verify(made(maker(monkeypatch, **changes).make()))
    assert caught.value.status == 403


def test_a_token_ends_after_twelve_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, datetime.now(UTC) - timedelta(hours=12, minutes=1))
    with pytest.raises(RefusalError, match="expired"):
        verify(f"Bearer {maker(monkeypatch).make()}")


def table(folder: Path) -> RoutingTable:
    site = {"host": "h", "port": 1, "region": REGION, "slots": 1}
    return RoutingTable.model_validate(
        {
            "model": "m",
            "server": "vllm",
            "runtime_dir": str(folder),
            "probe": {"path": "/v1/chat/completions", "body": "{}"},
            "sites": [
                {"site": "private", "health": {"kind": "active"}, **site},
                {
                    "site": "sagemaker",
                    "health": {"kind": "agent"},
                    "auth": {"kind": "aws_token", "region": REGION},
                    **site,
                },
            ],
        }
    )


def test_files_are_there_for_envoy_to_start_with_and_readable_by_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_missing_tokens(table(tmp_path))
    (file,) = (tmp_path / "secrets").iterdir()
    assert NOT_YET in file.read_text()
    maker(monkeypatch)
    write_token(table(tmp_path), table(tmp_path).site(Site.SAGEMAKER))
    assert "sagemaker-api-key-" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first = file.read_text()
    write_missing_tokens(table(tmp_path))
    assert file.read_text() == first
