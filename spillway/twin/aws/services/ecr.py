"""Image repositories."""

from __future__ import annotations

import json

from spillway.twin.aws.recorder import Call, Kind, RefusedError
from spillway.twin.aws.row import Part, Row, Tags
from spillway.twin.aws.sample import ALLOW, OWNED, Sample
from spillway.twin.aws.service import Service

_ROWS = (
    Row(
        token="aws:ecr/repository:Repository",
        service="ecr",
        create="CreateRepository",
        id="{name}",
        rename={
            "encryptionConfigurations": "encryptionConfiguration",
            "encryptionConfigurations.kmsKey": "kmsKey",
        },
        key={"repositoryName": "{name}"},
        read="DescribeRepositories",
        read_key={"repositoryNames": ["{name}"]},
        live="repositories[0]",
        delete="DeleteRepository",
        delete_key={"repositoryName": "{name}", "force": "{forceDelete}"},
        parts=(
            Part("PutImageScanningConfiguration", ("imageScanningConfiguration",), update_only=True),
            Part("PutImageTagMutability", ("imageTagMutability",), update_only=True),
        ),
        local=("forceDelete",),
        outputs={"arn": "@repositoryArn", "repositoryUrl": "@repositoryUri"},
        tags=Tags("TagResource", "UntagResource", {"resourceArn": "{arn}"}, "tags", "tagKeys"),
        samples=(
            Sample(
                "repository",
                {
                    "name": "spillway/gateway",
                    "imageTagMutability": "IMMUTABLE",
                    "imageScanningConfiguration": {"scanOnPush": True},
                    "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": "$key.arn"}],
                    "forceDelete": True,
                    "tags": OWNED,
                },
                change={"imageTagMutability": "MUTABLE"},
            ),
        ),
    ),
    Row(
        token="aws:ecr/lifecyclePolicy:LifecyclePolicy",
        service="ecr",
        create="PutLifecyclePolicy",
        id="{repository}",
        rename={"repository": "repositoryName", "policy": "lifecyclePolicyText"},
        key={"repositoryName": "{repository}"},
        read="GetLifecyclePolicy",
        delete="DeleteLifecyclePolicy",
        name="",
        samples=(
            Sample(
                "repository-lifecycle",
                {
                    "repository": "$repository.name",
                    "policy": json.dumps(
                        {
                            "rules": [
                                {
                                    "rulePriority": 1,
                                    "selection": {
                                        "tagStatus": "any",
                                        "countType": "imageCountMoreThan",
                                        "countNumber": 9,
                                    },
                                    "action": {"type": "expire"},
                                }
                            ]
                        }
                    ),
                },
            ),
        ),
    ),
    Row(
        token="aws:ecr/repositoryPolicy:RepositoryPolicy",
        service="ecr",
        create="SetRepositoryPolicy",
        id="{repository}",
        rename={"repository": "repositoryName", "policy": "policyText"},
        key={"repositoryName": "{repository}"},
        read="GetRepositoryPolicy",
        delete="DeleteRepositoryPolicy",
        parts=(Part("SetRepositoryPolicy", ("policy",), update_only=True),),
        name="",
        samples=(Sample("repository-policy", {"repository": "$repository.name", "policy": ALLOW}),),
    ),
    Row(
        token="aws:ecr/pullThroughCacheRule:PullThroughCacheRule",
        service="ecr",
        create="CreatePullThroughCacheRule",
        id="{ecrRepositoryPrefix}",
        key={"ecrRepositoryPrefix": "{ecrRepositoryPrefix}"},
        read="DescribePullThroughCacheRules",
        read_key={"ecrRepositoryPrefixes": ["{ecrRepositoryPrefix}"]},
        live="pullThroughCacheRules[0]",
        delete="DeletePullThroughCacheRule",
        parts=(Part("UpdatePullThroughCacheRule", ("credentialArn",), update_only=True),),
        name="",
        outputs={"registryId": "{account}"},
        coverage="recorded",
        samples=(
            Sample(
                "image-cache",
                {"ecrRepositoryPrefix": "spillway/quay", "upstreamRegistryUrl": "quay.io"},
                replace={"ecrRepositoryPrefix": "spillway/red-hat"},
            ),
        ),
    ),
)

_RECORDED = (
    Kind(
        "ecr",
        ("ecrRepositoryPrefix",),
        "CreatePullThroughCacheRule",
        update="UpdatePullThroughCacheRule",
        delete="DeletePullThroughCacheRule",
        list="DescribePullThroughCacheRules",
        many="pullThroughCacheRules",
        by="ecrRepositoryPrefixes",
        missing="PullThroughCacheRuleNotFoundException",
        exists="PullThroughCacheRuleAlreadyExistsException",
    ),
)
_LOGIN = ("docker.io", "ghcr.io", "gitlab.com", "azurecr.io", "chainguard.dev", "cgr.dev")
"""Ends of registries that ECR asks for with somebody's log-in only
(https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-creating-rule.html)."""
_UPSTREAMS = ("public.ecr.aws", "registry.k8s.io", "quay.io", *_LOGIN)


def _refuse_unknown_upstream(call: Call) -> None:
    upstream = call.params["upstreamRegistryUrl"]
    if not upstream.endswith(_UPSTREAMS):
        raise RefusedError("UnsupportedUpstreamRegistryException", f"The upstream registry {upstream} is not supported")
    if upstream.endswith(_LOGIN) and not call.params.get("credentialArn"):
        raise RefusedError("InvalidParameterException", f"{upstream} needs a credentialArn")


SERVICE = Service("ecr", _ROWS, recorded=_RECORDED, refuses={"CreatePullThroughCacheRule": _refuse_unknown_upstream})
