from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from policies.checkpoint import resources_of
from policies.resources import Context
from spillway.contracts.resources import UNKNOWN, Resource
from tests.policies.support import Case, check_case, found, resource

HELD = "the-stack's-own-secret"
PARAMETER = "aws:ssm/parameter:Parameter"
_MARK = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:abc"}


def hidden(type_: str, **props: Any) -> Resource:
    """A resource whose properties are all marked secret."""
    return dataclasses.replace(resource(type_, **props), clear=dict.fromkeys(props, UNKNOWN))


CASE = Case(
    [hidden(PARAMETER, value=HELD), resource(PARAMETER, value="{}")],
    [resource(PARAMETER, value=f"key={HELD}")],
    passing_context=Context(secrets=frozenset({HELD})),
    failing_context=Context(secrets=frozenset({HELD})),
)


def test_policy() -> None:
    check_case("no-plain-secrets", CASE)


@pytest.mark.parametrize(
    "props",
    [
        {"value": "-----BEGIN RSA PRIVATE KEY-----\nMIIE"},
        {"value": "AKIA" + "A" * 16},
        {"value": "AccountKey=" + "a" * 64},
        {"value": "hf_" + "a" * 34},
        {"value": '{"client_secret": "abcdefgh"}'},
        {"settings": {"adminPassword": "letmein"}},
        {"tunnel1PresharedKey": "abcdefgh"},
        {"secretString": "abcdefgh"},
    ],
)
def test_what_looks_like_a_secret_is_one(props: dict[str, Any]) -> None:
    check_case("no-plain-secrets", Case([hidden(PARAMETER, **props)], [resource(PARAMETER, **props)]))


def test_a_secret_of_kubernetes_is_never_in_clear() -> None:
    kind = "kubernetes:core/v1:Secret"
    check_case(
        "no-plain-secrets", Case([hidden(kind, stringData={"a": "b"})], [resource(kind, stringData={"a": "bcde"})])
    )


def test_nothing_is_said_where_the_engine_does_not_tell_secrets_apart() -> None:
    unmarked = dataclasses.replace(resource(PARAMETER, secretString="abcdefgh"), clear=None)
    assert found("no-plain-secrets", [unmarked]).violations == ()


def test_a_checkpoint_is_read_with_its_outputs() -> None:
    state = {
        "urn": f"urn:pulumi:test::spillway::{PARAMETER}::parameter",
        "type": PARAMETER,
        "custom": True,
        "id": "p",
        "provider": "urn:pulumi:test::spillway::pulumi:providers:aws::default::id-1",
        "inputs": {"value": _MARK},
        "outputs": {"value": HELD},
    }
    provider = {
        "urn": "urn:pulumi:test::spillway::pulumi:providers:aws::default",
        "type": "pulumi:providers:aws",
        "custom": True,
        "inputs": {"region": "eu-west-1"},
    }
    read = resources_of({"version": 3, "deployment": {"resources": [provider, state]}})
    parameter = next(item for item in read if item.type == PARAMETER)
    assert parameter.region == "eu-west-1"
    assert parameter.props == {"value": UNKNOWN}
    context = Context(secrets=frozenset({HELD}))
    assert [v.finding.message for v in found("no-plain-secrets", read, context=context).violations] == [
        "outputs.value holds a secret in clear"
    ]
    state["outputs"] = {"value": _MARK}
    assert (
        found("no-plain-secrets", resources_of({"deployment": {"resources": [state]}}), context=context).violations
        == ()
    )


def test_what_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match="no checkpoint"):
        resources_of({"resources": []})
