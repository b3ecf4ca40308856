"""A function's way from its role in AWS into Azure: the runtime's own code against both stand-ins."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.error import HTTPError

import boto3
import pytest
from botocore.exceptions import ClientError

from components.aws_documents import allow, assumed_by, policy
from components.azure_caller import MAY_ASK_FOR_TOKENS
from spillway.contracts.azure_calls import ACTIONS, TOKEN_AUDIENCE
from spillway.contracts.function_config import AzureIdentity
from spillway.runtime.functions import aws as aws_api
from spillway.runtime.functions import azure as azure_api
from spillway.twin.azure.account import SUBSCRIPTION_ID
from spillway.twin.azure.client import ArmClient
from spillway.twin.data_plane.deployed import aws_client
from spillway.twin.tokens import Signer, claims_of
from tests.support.twin_server import serve

GROUP = f"/subscriptions/{SUBSCRIPTION_ID}/resourceGroups/rg"
PROFILE = f"{GROUP}/providers/Microsoft.Network/trafficManagerProfiles/p"
ENDPOINT = f"{PROFILE}/externalEndpoints/private"
VERSION = "2022-04-01"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/switch"
MANAGED = "2024-11-30"
DISABLE = {"properties": {"endpointStatus": "Disabled"}}


@dataclass
class Clouds:
    """Both stand-ins. ``role``: ARN of the function's; ``identity``: whom it is in Azure."""

    aws: str
    azure: str
    arm: ArmClient
    issuer: str
    role: str
    identity: AzureIdentity
    principal: str

    def client(self, service: str) -> Any:
        return _client(service, self.aws)

    def trust(self, **changes: Any) -> None:
        trusted = {"issuer": self.issuer, "subject": self.role, "audiences": [TOKEN_AUDIENCE], **changes}
        self.arm.put(f"{IDENTITY}/federatedIdentityCredentials/switch", MANAGED, {"properties": trusted})

    def permit(self, actions: tuple[str, ...], scope: str = PROFILE) -> None:
        """A custom role with these actions, given on ``scope``."""
        definition = f"{GROUP}/providers/Microsoft.Authorization/roleDefinitions/11111111-1111-1111-1111-111111111111"
        properties = {"roleName": "calls", "type": "CustomRole", "assignableScopes": [GROUP]}
        permissions = [{"actions": list(actions)}]
        self.arm.put(definition, VERSION, {"properties": {**properties, "permissions": permissions}})
        given = {"principalId": self.principal, "principalType": "ServicePrincipal", "roleDefinitionId": definition}
        name = "22222222-2222-2222-2222-222222222222"
        self.arm.put(
            f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}", VERSION, {"properties": given}
        )

    def url(self, path: str) -> str:
        return f"https://management.azure.com{path}?api-version={VERSION}"


@cache
def _client(service: str, aws: str) -> Any:
    return aws_client(service, aws, "eu-west-1")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with ExitStack() as stack:
        aws = stack.enter_context(serve("aws", tmp_path_factory.mktemp("aws")))
        yield aws, stack.enter_context(serve("azure", tmp_path_factory.mktemp("azure"), "--aws", aws))


@pytest.fixture
def clouds(servers: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Clouds]:
    """A role that may ask for tokens, an identity that trusts it and may flip a Traffic Manager endpoint."""
    aws, azure = servers
    arm = ArmClient(azure)
    arm.put(GROUP, "2025-04-01", {"location": "eastus"})
    made = arm.put(IDENTITY, MANAGED, {"location": "eastus"})["properties"]
    monitor = {"protocol": "HTTPS", "port": 443, "path": "/"}
    profile = {"trafficRoutingMethod": "Priority", "dnsConfig": {"relativeName": "p", "ttl": 30}}
    arm.put(PROFILE, VERSION, {"location": "global", "properties": {**profile, "monitorConfig": monitor}})
    arm.put(ENDPOINT, VERSION, {"properties": {"target": "gw", "priority": 1, "endpointStatus": "Enabled"}})
    iam = _client("iam", aws)
    issuer = iam.get_outbound_web_identity_federation_info()["IssuerIdentifier"]
    role = iam.create_role(RoleName="switch", AssumeRolePolicyDocument=assumed_by("lambda.amazonaws.com"))["Role"][
        "Arn"
    ]
    iam.put_role_policy(RoleName="switch", PolicyName="rights", PolicyDocument=policy(MAY_ASK_FOR_TOKENS))
    identity = AzureIdentity("tenant", made["clientId"])
    found = Clouds(aws, azure, arm, issuer, role, identity, made["principalId"])
    found.trust()
    found.permit(ACTIONS["traffic switch"])
    _be(found, monkeypatch)
    yield found
    iam.delete_role_policy(RoleName="switch", PolicyName="rights")
    iam.delete_role(RoleName="switch")


def _be(clouds: Clouds, monkeypatch: pytest.MonkeyPatch, lifetime_s: int = 3600) -> None:
    """Have this process be the function: keys of its role, and both clouds' addresses."""
    keys = clouds.client("sts").assume_role(RoleArn=clouds.role, RoleSessionName="switch", DurationSeconds=lifetime_s)
    for name, value in {
        "AWS_ACCESS_KEY_ID": keys["Credentials"]["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["Credentials"]["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["Credentials"]["SessionToken"],
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": clouds.aws,
        "SPILLWAY_AZURE_LOGIN_URL": clouds.azure,
        "SPILLWAY_AZURE_ENDPOINT_URL": clouds.azure,
    }.items():
        monkeypatch.setenv(name, value)
    boto3.setup_default_session()
    aws_api.client.cache_clear()


def refusal(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(HTTPError) as refused:
        call()
    return refused.value.code, refused.value.read().decode()


def test_a_function_makes_its_calls_without_a_secret(clouds: Clouds) -> None:
    bearer = azure_api.token(clouds.identity)
    assert azure_api.call(clouds.url(ENDPOINT), bearer)["properties"]["endpointStatus"] == "Enabled"
    azure_api.call(clouds.url(ENDPOINT), bearer, DISABLE)
    assert azure_api.call(clouds.url(ENDPOINT), bearer)["properties"]["endpointStatus"] == "Disabled"


def test_the_token_names_the_role_and_lives_for_five_minutes(clouds: Clouds) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html."""
    claims = claims_of(aws_api.web_identity_token(TOKEN_AUDIENCE, "RS256", 300))
    assert (claims["iss"], claims["sub"], claims["aud"]) == (clouds.issuer, clouds.role, TOKEN_AUDIENCE)
    assert claims["exp"] - claims["iat"] == 300


@pytest.mark.parametrize(
    ("trusted", "code"),
    [
        ({"subject": "arn:aws:iam::123456789012:role/somebody"}, "AADSTS70021"),
        ({"issuer": "https://0.tokens.sts.global.api.aws"}, "AADSTS70021"),
        ({"audiences": ["sts.amazonaws.com"]}, "AADSTS700212"),
    ],
)
def test_an_identity_that_trusts_somebody_else_lets_nobody_in(
    clouds: Clouds, trusted: dict[str, Any], code: str
) -> None:
    clouds.trust(**trusted)
    status, told = refusal(lambda: azure_api.token(clouds.identity))
    assert status == 400
    assert code in told


def test_an_unknown_identity_lets_nobody_in(clouds: Clouds) -> None:
    assert "AADSTS700016" in refusal(lambda: azure_api.token(replace(clouds.identity, client_id="other")))[1]


@pytest.mark.parametrize(
    ("changed", "code"),
    [({}, "AADSTS50027"), ({"iss": "https://a.example"}, "AADSTS70021")],
)
def test_a_token_of_somebody_elses_making_lets_nobody_in(
    clouds: Clouds, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], code: str
) -> None:
    claims = {"iss": clouds.issuer, "sub": clouds.role, "aud": TOKEN_AUDIENCE, "exp": time.time() + 60, **changed}
    monkeypatch.setattr(azure_api, "web_identity_token", lambda *_: Signer("forged").sign(claims))
    assert code in refusal(lambda: azure_api.token(clouds.identity))[1]


def test_a_secret_is_no_way_in(clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_api, "ASSERTION", "something else")
    assert "AADSTS7000218" in refusal(lambda: azure_api.token(clouds.identity))[1]


def test_a_call_that_no_role_allows_is_refused(clouds: Clouds) -> None:
    """Of all roles, the action and the scope count: read alone, and the same on another resource."""
    bearer = azure_api.token(clouds.identity)
    status, told = refusal(lambda: azure_api.call(clouds.url(PROFILE), bearer))
    assert (status, json.loads(told)["error"]["code"]) == (403, "AuthorizationFailed")
    clouds.permit(ACTIONS["traffic switch"][:1])
    azure_api.call(clouds.url(ENDPOINT), bearer)
    assert refusal(lambda: azure_api.call(clouds.url(ENDPOINT), bearer, DISABLE))[0] == 403
    assert refusal(lambda: azure_api.call(clouds.url(ENDPOINT), "no-token"))[0] == 401


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"Audience": ["https://elsewhere.example"]}, "AccessDenied"),
        ({"DurationSeconds": 301}, "AccessDenied"),
        ({"SigningAlgorithm": "HS256"}, "ValidationError"),
        ({"DurationSeconds": 3601}, "ValidationError"),
        ({"Audience": [TOKEN_AUDIENCE] * 11}, "ValidationError"),
    ],
)
def test_aws_signs_what_the_role_may_ask_for(clouds: Clouds, asked: dict[str, Any], code: str) -> None:
    """Limits: botocore's model of the operation; conditions:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_policies.html."""
    whole = {"Audience": [TOKEN_AUDIENCE], "SigningAlgorithm": "RS256", "DurationSeconds": 300, **asked}
    with pytest.raises(ClientError) as refused:
        aws_api.client("sts").get_web_identity_token(**whole)
    assert refused.value.response["Error"]["Code"] == code


def test_a_role_without_the_right_gets_no_token(clouds: Clouds) -> None:
    others = policy(allow("Others", ["sqs:SendMessage"], "*"))
    clouds.client("iam").put_role_policy(RoleName="switch", PolicyName="rights", PolicyDocument=others)
    with pytest.raises(ClientError, match="not authorized to perform: sts:GetWebIdentityToken"):
        azure_api.token(clouds.identity)
    iam = clouds.client("iam")
    arn = iam.create_policy(PolicyName="tokens", PolicyDocument=policy(MAY_ASK_FOR_TOKENS))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="switch", PolicyArn=arn)
    assert azure_api.token(clouds.identity)
    iam.detach_role_policy(RoleName="switch", PolicyArn=arn)


def test_a_token_does_not_outlive_the_session(clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> None:
    whatever = policy(allow("Whatever", ["sts:GetWebIdentityToken"], "*"))
    clouds.client("iam").put_role_policy(RoleName="switch", PolicyName="rights", PolicyDocument=whatever)
    _be(clouds, monkeypatch, lifetime_s=900)
    aws_api.web_identity_token(TOKEN_AUDIENCE, "RS256", 800)
    with pytest.raises(ClientError, match="SessionDurationEscalationException"):
        aws_api.web_identity_token(TOKEN_AUDIENCE, "RS256", 1000)


def test_an_account_that_signs_nothing_says_so(clouds: Clouds) -> None:
    iam = clouds.client("iam")
    iam.disable_outbound_web_identity_federation()
    with pytest.raises(ClientError, match="FeatureDisabled"):
        iam.get_outbound_web_identity_federation_info()
    with pytest.raises(ClientError, match="OutboundWebIdentityFederationDisabledException"):
        azure_api.token(clouds.identity)
    assert iam.enable_outbound_web_identity_federation()["IssuerIdentifier"] == clouds.issuer
    with pytest.raises(ClientError, match="FeatureEnabled"):
        iam.enable_outbound_web_identity_federation()
