"""Where Route 53's health checkers call from: they stand in the Internet."""

from __future__ import annotations

from typing import Final

RANGES: Final = (
    "15.177.0.0/18",
    "54.183.255.128/26",
    "54.228.16.0/26",
    "54.232.40.64/26",
    "54.241.32.64/26",
    "54.243.31.192/26",
    "54.244.52.192/26",
    "54.245.168.0/26",
    "54.248.220.0/26",
    "54.250.253.192/26",
    "54.251.31.128/26",
    "54.252.79.128/26",
    "54.252.254.192/26",
    "54.255.254.192/26",
    "107.23.255.0/26",
    "176.34.159.192/26",
    "177.71.207.128/26",
)
"""As published outside China (``ROUTE53_HEALTHCHECKS`` in https://ip-ranges.amazonaws.com/ip-ranges.json; the same in
the AWS Tools for PowerShell's example of Get-R53CheckerIpRanges, read 2026-11-30). A deployment asks AWS
instead: this is for what asks nobody."""


def prefix_list(region: str) -> str:
    """Name of the prefix list in which AWS keeps them
    (https://docs.aws.amazon.com/vpc/latest/userguide/working-with-aws-managed-prefix-lists.html)."""
    return f"com.amazonaws.{region}.route53-healthchecks"
