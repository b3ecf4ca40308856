"""Who calls: log-ins with a token of AWS, and whether whoever logged in may do what it asks.

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
from typing import Any, Final

from spillway.contracts.azure_roles import ROLES
from spillway.twin.azure.manager import ResourceManager
from spillway.twin.azure.refusals import ArmError
from spillway.twin.tokens import TokenError, check, claims_of

_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OF_AWS: Final = re.compile(r"https://[0-9a-z-]+\.tokens\.sts\.global\.api\.aws")
_LIFETIME_S: Final = 3599
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
        self._principals: dict[str, str] = {}

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
        await self._trusted(identity, str(form["client_assertion"]))
        bearer = uuid.uuid4().hex
        self._principals[bearer] = identity["properties"]["principalId"]
        return {"token_type": "Bearer", "expires_in": _LIFETIME_S, "access_token": bearer}

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

    def _keys(self, issuer: str) -> dict[str, Any]:
        """What Entra fetches from ``<issuer>/.well-known``."""
        if not self._aws or _OF_AWS.fullmatch(issuer) is None:
            raise LoginError(400, "invalid_request", "50166", f"Request to External OIDC endpoint failed: {issuer}")
        with urllib.request.urlopen(f"{self._aws}/_spillway/issuer/.well-known/jwks.json", timeout=10) as answer:
            return json.load(answer)

    def allow(self, method: str, path: str, authorization: str) -> None:
        """Raises :class:`ArmError` where whoever logged in may not. The deployer shows no token, and may everything."""
        bearer = authorization.removeprefix("Bearer").strip()
        if not bearer:
            return
        principal = self._principals.get(bearer)
        if principal is None:
            raise ArmError(401, "InvalidAuthenticationToken", "The access token is invalid.")
        action = f"{self._manager.type_of(path)}/{_CHANGES.get(method, 'action')}"
        if not any(_fits(action, pattern) for pattern in self._given(principal, path)):
            message = (
                f"The client '{principal}' with object id '{principal}' does not have authorization to perform action"
                f" '{action}' over scope '{path}' or the scope is invalid. If access was recently granted, please"
                " refresh your credentials."
            )
            raise ArmError(403, "AuthorizationFailed", message)

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
