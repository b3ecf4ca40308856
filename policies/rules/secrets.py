"""Secrets: none stands in clear in the plan or in a checkpoint.

Runs where the deployer tells what is marked secret: in the embedded deployer and in `spillway check`. The Pulumi CLI
hands secrets to policies unmarked, so this rule finds nothing there; `spillway check --checkpoint` reads what
`pulumi stack export` wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, paths_of_texts
from spillway.contracts.resources import Resource

_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS access key ID
    r"|AccountKey=[A-Za-z0-9+/=]{40,}"  # Azure storage
    r"|\b(ghp|gho|ghs)_[A-Za-z0-9]{36}\b"  # GitHub
    r"|\bhf_[A-Za-z0-9]{30,}\b"  # Hugging Face
    r"|\bxox[bp]-[A-Za-z0-9-]{20,}"  # Slack
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."  # JSON Web Token
    r"|\bclient-key-data:"  # kubeconfig
    r'|"client_secret"\s*:\s*"[^"]+"'
)
_NAMES = re.compile(
    r"(^|\.)(password|adminPassword|masterPassword|secretString|sharedKey|(tunnel\d)?presharedKey|clientSecret"
    r"|secretAccessKey|secretKey|apiKey|authToken|kubeconfig)$",
    re.IGNORECASE,
)
_SHORTEST = 8
"""Characters; a shorter secret would be found in everything."""


def _plain_text(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    known = [secret for secret in stack.context.secrets if len(secret) >= _SHORTEST]
    for resource in stack.resources:
        if resource.clear is None:
            continue
        for path, text in paths_of_texts(resource.clear):
            if _is_secret(resource, path, text) or any(secret in text for secret in known):
                yield Finding(resource, f"{path} holds a secret in clear")


def _is_secret(resource: Resource, path: str, text: str) -> bool:
    if resource.type == "kubernetes:core/v1:Secret" and re.search(r"(^|\.)(data|stringData)\.", path):
        return bool(text)
    return bool(text) and (_NAMES.search(path) is not None or _SHAPES.search(text) is not None)


POLICIES = (
    Policy(
        "no-plain-secrets",
        "No secret stands in clear in the plan or in the checkpoint.",
        "Wrap the value with `pulumi.Output.secret`, or take it from `spillway-secrets:`; then rotate the secret.",
        _plain_text,
        severity="critical",
    ),
)
