"""IAM and key policy documents as JSON, from plain statements. No provider SDK, no look-ups."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Statement = dict[str, Any]


def partition(region: str) -> str:
    """The ARN partition of a region: ``aws``, ``aws-cn`` or ``aws-us-gov``."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def allow(
    sid: str, actions: list[str], resource: str | list[str], condition: dict[str, Any] | None = None
) -> Statement:
    """One statement that allows."""
    statement: Statement = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


def tls_only(bucket_arn: str) -> Statement:
    """Refuses every request to the bucket that is not over TLS."""
    return {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket_arn, f"{bucket_arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def policy(*statements: Statement) -> str:
    """A policy document of these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def assumed_by(service: str, account_id: str | None = None) -> str:
    """Trust for one AWS service; with ``account_id``, only on behalf of that account (no confused deputy)."""
    trust: dict[str, Any] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if account_id:
        trust["Condition"] = {"StringEquals": {"aws:SourceAccount": account_id}}
    return policy(trust)


def assumed_by_service_account(provider_arn: str, issuer_url: str, namespace: str, service_account: str) -> str:
    """Trust for one Kubernetes service account, by its token (audience ``sts.amazonaws.com``)."""
    subject = f"system:serviceaccount:{namespace}:{service_account}"
    return assumed_by_token(provider_arn, issuer_url, subject=subject, audience="sts.amazonaws.com")


def assumed_by_token(provider_arn: str, issuer_url: str, *, subject: str, audience: str) -> str:
    """Trust for whoever an issuer's tokens name as ``subject``, if they are meant for ``audience``."""
    issuer = issuer_url.removeprefix("https://")
    return policy(
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider_arn},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {f"{issuer}:sub": subject, f"{issuer}:aud": audience}},
        }
    )


def assumed_by_pod() -> str:
    """Trust for EKS Pod Identity; an association says which service account."""
    return policy(
        {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        }
    )


def key_policy(region: str, account_id: str, *uses: Statement) -> str:
    """A KMS key policy: the account's IAM policies decide who administers it, ``uses`` say which services encrypt."""
    owner = {
        "Sid": "AccountPolicies",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition(region)}:iam::{account_id}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return policy(owner, *uses)


def key_for_log_groups(region: str, account_id: str, names: Sequence[str]) -> Statement:
    """Lets CloudWatch Logs encrypt with the key, for log groups of these names (``*`` allowed at the end)."""
    arns = [f"arn:{partition(region)}:logs:{region}:{account_id}:log-group:{name}" for name in names]
    return {
        "Sid": "LogGroups",
        "Effect": "Allow",
        "Principal": {"Service": f"logs.{region}.amazonaws.com"},
        "Action": ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
        "Resource": "*",
        "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": arns}},
    }


def key_for_alarms(account_id: str) -> Statement:
    """Lets the account's alarms publish to topics that the key encrypts."""
    return {
        "Sid": "AlarmsToEncryptedTopics",
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
    }


def key_via_service(region: str, account_id: str, service: str) -> Statement:
    """Lets the account's principals, service-linked roles included, use the key through one service (``ec2``)."""
    return {
        "Sid": f"Via{service.capitalize()}",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:ReEncrypt*",
            "kms:GenerateDataKey*",
            "kms:CreateGrant",
            "kms:DescribeKey",
        ],
        "Resource": "*",
        "Condition": {
            "StringEquals": {"kms:CallerAccount": account_id, "kms:ViaService": f"{service}.{region}.amazonaws.com"}
        },
    }
