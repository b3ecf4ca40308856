"""Where moto judges otherwise than AWS does."""

from __future__ import annotations

from typing import Any

LOOPBACK_IS_TLS = {"aws:SecureTransport": "true"}
"""The twin's AWS is plain HTTP on loopback, which stands for the TLS that the cloud always has."""


def patch_policies() -> None:
    """A policy statement whose condition does not hold says nothing; moto takes it for a denial."""
    from moto.iam.access_control import IAMPolicyStatement, PermissionResult

    permitted = IAMPolicyStatement.is_action_permitted

    def is_action_permitted(
        statement: Any,
        action: str,
        resource: str = "*",
        principal: str | None = None,
        incoming_condition_values: dict[str, str] | None = None,
    ) -> Any:
        values = {**LOOPBACK_IS_TLS, **(incoming_condition_values or {})}
        if not _holds(statement._statement.get("Condition") or {}, values):
            return PermissionResult.NEUTRAL
        plain = IAMPolicyStatement({key: value for key, value in statement._statement.items() if key != "Condition"})
        return permitted(plain, action, resource, principal, incoming_condition_values)

    patched: Any = IAMPolicyStatement
    patched.is_action_permitted = is_action_permitted


def _holds(condition: dict[str, dict[str, Any]], values: dict[str, str]) -> bool:
    """Whether every ``Bool`` part holds; other operators compare what no caller in the twin has, so they do not."""
    return all(
        operator == "Bool" and values.get(key, "").lower() == str(wanted).lower()
        for operator, wants in condition.items()
        for key, wanted in wants.items()
    )


def patch_certificates() -> None:
    """A listener may name a certificate that was there before the stack: it is taken to exist."""
    from moto.acm.models import CertBundle, acm_backends
    from moto.elbv2.models import ELBv2Backend

    create = ELBv2Backend.create_listener

    def create_listener(backend: Any, **given: Any) -> Any:
        arn = given.get("certificate")
        if arn:
            region = arn.split(":")[3]
            known = acm_backends[backend.account_id][region]._certificates
            if arn not in known:
                bundle = CertBundle.generate_cert("spillway.test", backend.account_id, region, sans=[])
                bundle.arn = arn
                known[arn] = bundle
        return create(backend, **given)

    patched: Any = ELBv2Backend
    patched.create_listener = create_listener
