"""Who calls: log-ins with another's token, and whether whoever logged in may do what it asks.

The exchange: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow (with a federated
credential); its refusals: https://learn.microsoft.com/entra/identity-platform/reference-error-codes and
https://azure.github.io/azure-workload-identity/docs/troubleshooting.html. Read on 2026-11-30.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from spillway.contracts.azure_calls import ACTIONS, SCORING_AUDIENCE
from spillway.contracts.azure_roles import ROLES
from spillway.contracts.names import AZURE_MANAGER_URL
from spillway.twin.azure.account import TENANT_ID
from spillway.twin.azure.manager import ResourceManager
from spillway.twin.azure.refusals import ArmError
from spillway.twin.tokens import Signer, TokenError, check, claims_of

_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OF_AWS: Final = re.compile(r"https://[0-9a-z-]+\.tokens\.sts\.global\.api\.aws")
_LIFETIME_S: Final = 3599
_AUDIENCES: Final = (AZURE_MANAGER_URL, SCORING_AUDIENCE)
_DEFAULT: Final = "/.default"
_CHANGES: Final = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_BUILT_IN: Final = {ROLES["Owner"]: ["*"], ROLES["Contributor"]: ["*"], ROLES["Reader"]: ["*/read"]}
"""Those that somebody may give in the place of a custom one, by ID."""


class LoginError(Exception):
    """Entra refuses to log somebody in. ``status``: of HTTP."""

    def __init__(self, status: int, error: str, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": error, "error_description": f"AADSTS{code}: {message}", "error_codes": [int(code)]}


class Entra:
    """``aws``: base URL of the emulated AWS, which stands at the address of its issuers; empty where there is none."""

    def __init__(self, manager: ResourceManager, aws: str = "") -> None:
        self._manager = manager
        self._aws = aws

    async def log_in(self, form: Mapping[str, Any]) -> dict[str, Any]:
        """A bearer token for a managed identity that trusts the token which the caller shows."""
        wanted = ("client_id", "client_assertion", "scope")
        known = form.get("grant_type") == "client_credentials" and form.get("client_assertion_type") == _ASSERTION
        if not known or any(not form.get(key) for key in wanted):
            message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
            raise LoginError(401, "invalid_client", "7000218", message)
        identity = self._manager.identity(str(form["client_id"]))
        if identity is None:
            message = f"Application with identifier '{form['client_id']}' was not found in the directory."
            raise LoginError(400, "unauthorized_client", "700016", message)
        audience, default, _ = str(form["scope"]).rpartition(_DEFAULT)
        if not default:
            message = f"The provided request must include a 'scope' input parameter that ends in '{_DEFAULT}'."
            raise LoginError(400, "invalid_scope", "70011", message)
        if audience not in _AUDIENCES:
            message = f"The resource principal named {audience} was not found in the tenant."
            raise LoginError(400, "invalid_resource", "500011", message)
        await self._trusted(identity, str(form["client_assertion"]))
        bearer = self._signer.sign(self._claims(identity["properties"], audience))
        return {"token_type": "Bearer", "expires_in": _LIFETIME_S, "access_token": bearer}

    @cached_property
    def _signer(self) -> Signer:
        return Signer(str(uuid.uuid4()))

    @property
    def keys(self) -> dict[str, Any]:
        """What its tokens are checked with."""
        return self._signer.keys

    @staticmethod
    def _claims(identity: Mapping[str, Any], audience: str) -> dict[str, Any]:
        """Of a token in version 1.0, which both services get (learn.microsoft.com/entra/identity-platform/
        access-token-claims-reference)."""
        now = int(time.time())
        who = {"appid": identity["clientId"], "oid": identity["principalId"], "sub": identity["principalId"]}
        times = {"iat": now, "nbf": now, "exp": now + _LIFETIME_S}
        return {"aud": audience, "iss": f"https://sts.windows.net/{TENANT_ID}/", "tid": TENANT_ID, **who, **times}

    async def _trusted(self, identity: Mapping[str, Any], assertion: str) -> None:
        try:
            claims = claims_of(assertion)
            issuer, subject = str(claims.get("iss")), str(claims.get("sub"))
            audiences = claims.get("aud")
            shown = set(audiences if isinstance(audiences, list) else [audiences])
            said = f"Assertion Issuer: '{issuer}'. Assertion Subject: '{subject}'. Assertion Audience: '{audiences}'."
            trusted = [
                one["properties"] for one in self._manager.list(f"{identity['id']}/federatedIdentityCredentials")
            ]
            if not any((one["issuer"], one["subject"]) == (issuer, subject) for one in trusted):
                message = f"No matching federated identity record found for presented assertion. {said}"
                raise LoginError(400, "invalid_request", "70021", message)
            if not any(shown & set(one["audiences"]) for one in trusted):
                message = f"No matching federated identity record found for presented assertion audience. {said}"
                raise LoginError(400, "invalid_client", "700212", message)
            check(assertion, await asyncio.to_thread(self._keys, issuer))
        except TokenError as error:
            raise LoginError(400, "invalid_client", "50027", f"JWT token is invalid or malformed: {error}.") from None
        if float(claims.get("exp", 0)) < time.time():
            message = "Client assertion is not within its valid time range."
            raise LoginError(401, "invalid_client", "700024", message)

    @cached_property
    def _cluster(self) -> Signer:
        return Signer(str(uuid.uuid4()))

    def token_of_cluster(self, subject: str, audience: str) -> str | None:
        """What a cluster of AKS gives a pod with this service account, ``None`` where there is no cluster."""
        issuer = next(iter(self._issuers()), None)
        now = int(time.time())
        claims = {"iss": issuer, "sub": subject, "aud": [audience], "iat": now, "exp": now + _LIFETIME_S}
        return issuer and self._cluster.sign(claims)

    def _issuers(self) -> list[str]:
        clusters = self._manager.below("/providers/microsoft.containerservice/managedclusters/")
        profiles = (one["properties"].get("oidcIssuerProfile") or {} for one in clusters)
        return [one["issuerURL"] for one in profiles if one.get("enabled")]

    def _keys(self, issuer: str) -> dict[str, Any]:
        """What Entra fetches from ``<issuer>/.well-known``."""
        if issuer in self._issuers():
            return self._cluster.keys
        if not self._aws or _OF_AWS.fullmatch(issuer) is None:
            raise LoginError(400, "invalid_request", "50166", f"Request to External OIDC endpoint failed: {issuer}")
        with urllib.request.urlopen(f"{self._aws}/_spillway/issuer/.well-known/jwks.json", timeout=10) as answer:
            return json.load(answer)

    def allow(self, method: str, path: str, authorization: str) -> None:
        """Raises :class:`ArmError` where whoever logged in may not. The deployer shows no token, and may everything."""
        bearer = authorization.removeprefix("Bearer").strip()
        if not bearer:
            return
        principal = self._principal(bearer)
        action = f"{self._manager.type_of(path)}/{_CHANGES.get(method, 'action')}"
        if not any(_fits(action, pattern) for pattern in self._given(principal, path)):
            message = (
                f"The client '{principal}' with object id '{principal}' does not have authorization to perform action"
                f" '{action}' over scope '{path}' or the scope is invalid. If access was recently granted, please"
                " refresh your credentials."
            )
            raise ArmError(403, "AuthorizationFailed", message)

    def _principal(self, bearer: str) -> str:
        try:
            claims = claims_of(bearer)
            check(bearer, self.keys)
        except TokenError:
            raise ArmError(401, "InvalidAuthenticationToken", "The access token is invalid.") from None
        if claims["aud"] != AZURE_MANAGER_URL:
            message = f"The access token has been obtained for wrong audience or resource '{claims['aud']}'."
            raise ArmError(401, "InvalidAuthenticationTokenAudience", message)
        if claims["exp"] < time.time():
            raise ArmError(401, "ExpiredAuthenticationToken", "The access token expiry is earlier than current time.")
        return claims["oid"]

    def may_score(self, path: str) -> list[str]:
        """Who may call the online endpoint at this path, by object id."""
        (score,) = ACTIONS["gateway"]
        principals = {one["properties"]["principalId"] for one in self._manager.below("/roleassignments/")}
        return sorted(one for one in principals if any(_fits(score, given) for given in self._given(one, path)))

    def _given(self, principal: str, path: str) -> Iterator[str]:
        """Actions of every role that somebody has on the path or above it, once the assignment is in force."""
        for one in self._manager.below("/roleassignments/"):
            given = one["properties"]
            scope = str(given["scope"]).rstrip("/").lower()
            above = path.lower() == scope or path.lower().startswith(f"{scope}/")
            old_enough = datetime.fromisoformat(given["createdOn"]) <= self._manager.in_force
            if given["principalId"] == principal and above and old_enough:
                yield from self._actions(str(given["roleDefinitionId"]))

    def _actions(self, role: str) -> Iterator[str]:
        yield from _BUILT_IN.get(role.rpartition("/")[2].lower(), ())
        for one in self._manager.below("/roledefinitions/"):
            if one["id"].lower() == role.lower():
                for permission in one["properties"].get("permissions") or ():
                    yield from permission.get("actions") or ()


def _fits(action: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), action, re.IGNORECASE) is not None
