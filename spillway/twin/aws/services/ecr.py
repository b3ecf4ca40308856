"""Image repositories."""

from __future__ import annotations

import json

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
)

SERVICE = Service("ecr", _ROWS)
