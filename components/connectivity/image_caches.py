"""ECR's pull-through caches: images of public registries, kept in the account once somebody has asked for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws_documents import partition
from components.base import Component, StackContext
from components.connectivity.settings import CACHES, MirrorSettings


@dataclass(frozen=True)
class ImageCachesArgs:
    """``mirror``: whose ``pull_through`` names the registries."""

    mirror: MirrorSettings
    region: str
    account_id: str


class ImageCaches(Component):
    """Output: ``mirror``, with the caches in the place of the registries that they keep."""

    def __init__(
        self, context: StackContext, args: ImageCachesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("connectivity-image-caches", context, opts)
        for registry, credential in args.mirror.pull_through.items():
            cache = CACHES[registry]
            aws.ecr.PullThroughCacheRule(
                f"{context.prefix}-{cache.name}",
                ecr_repository_prefix=f"{context.prefix}/{cache.name}",
                upstream_registry_url=cache.upstream,
                credential_arn=credential,
                opts=self.child(),
            )
        self.mirror = args.mirror.cached(f"{args.account_id}.dkr.ecr.{args.region}.amazonaws.com/{context.prefix}")
        self.register_outputs({})


def first_pull(context: StackContext, region: str, account_id: str) -> dict[str, Any]:
    """The right to be the first who asks for an image: ECR makes its repository with the caller's rights
    (https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-iam.html)."""
    return {
        "Effect": "Allow",
        "Action": ["ecr:CreateRepository", "ecr:BatchImportUpstreamImage"],
        "Resource": f"arn:{partition(region)}:ecr:{region}:{account_id}:repository/{context.prefix}/*",
    }
