"""What holds data: S3, ECR, ElastiCache."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.archives import asset_bytes
from spillway.twin.aws.row import Part, Row, Scope, Tags

_BUCKET_KEY = {"Bucket": "{bucket}"}


def _bucket(scope: Scope) -> list[dict[str, Any]]:
    params: dict[str, Any] = {"Bucket": scope["bucket"]}
    if scope["region"] != "us-east-1":
        params["CreateBucketConfiguration"] = {"LocationConstraint": scope["region"]}
    if scope.get("objectLockEnabled"):
        params["ObjectLockEnabledForBucket"] = True
    return [params]


def _empty_bucket(call: Any, scope: Scope) -> None:
    """Only with ``forceDestroy``: else S3 refuses to delete a bucket that holds something."""
    if not scope.get("forceDestroy"):
        return
    versions = call("ListObjectVersions", {"Bucket": scope["bucket"]})
    for item in [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]:
        call("DeleteObject", {"Bucket": scope["bucket"], "Key": item["Key"], "VersionId": item["VersionId"]})


def _object(scope: Scope) -> list[dict[str, Any]]:
    params: dict[str, Any] = {"Bucket": scope["bucket"], "Key": scope["key"], "Body": _body(scope)}
    for name, member in (
        ("contentType", "ContentType"),
        ("cacheControl", "CacheControl"),
        ("contentEncoding", "ContentEncoding"),
        ("contentDisposition", "ContentDisposition"),
        ("contentLanguage", "ContentLanguage"),
        ("storageClass", "StorageClass"),
        ("serverSideEncryption", "ServerSideEncryption"),
        ("kmsKeyId", "SSEKMSKeyId"),
        ("bucketKeyEnabled", "BucketKeyEnabled"),
        ("metadata", "Metadata"),
        ("acl", "ACL"),
        ("websiteRedirect", "WebsiteRedirectLocation"),
        ("checksumAlgorithm", "ChecksumAlgorithm"),
    ):
        if scope.get(name) is not None:
            params[member] = scope[name]
    return [params]


def _body(scope: Scope) -> bytes:
    if scope.get("source") is not None:
        return asset_bytes(scope["source"])
    if scope.get("contentBase64") is not None:
        import base64

        return base64.b64decode(scope["contentBase64"])
    return str(scope.get("content", "")).encode()


_OBJECT = [
    "source",
    "content",
    "contentBase64",
    "contentType",
    "cacheControl",
    "contentEncoding",
    "contentDisposition",
    "contentLanguage",
    "storageClass",
    "serverSideEncryption",
    "kmsKeyId",
    "bucketKeyEnabled",
    "metadata",
    "acl",
    "websiteRedirect",
    "etag",
    "sourceHash",
]


def _setting(
    token: str,
    what: str,
    member: str,
    *,
    delete: str = "",
    live: str = "",
    rename: dict[str, str] | None = None,
    **more: Any,
) -> Row:
    """A part of a bucket that the provider has as a resource of its own."""
    put = f"PutBucket{what}" if not what.startswith("!") else what[1:]
    get = put.replace("Put", "Get", 1)
    key = "{bucket}"
    takes = more.pop("takes")
    names = {name: f"{member}.{api}" if member else api for name, api in takes.items()}
    return Row(
        token=f"aws:s3/{token[0].lower()}{token[1:]}:{token}",
        service="s3",
        create=put,
        id=key,
        rename=names | {"expectedBucketOwner": "ExpectedBucketOwner"} | (rename or {}),
        key=_BUCKET_KEY,
        read=more.pop("read", get),
        live=live,
        delete=delete,
        parts=(Part(put, tuple(takes), update_only=True),),
        name="",
        **more,
    )


def _lifecycle(scope: Scope) -> list[dict[str, Any]]:
    rules = [_rule(rule) for rule in scope["rules"]]
    return [{"Bucket": scope["bucket"], "LifecycleConfiguration": {"Rules": rules}}]


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"ID": rule["id"], "Status": rule["status"], "Filter": _filter(rule)}
    if rule.get("expiration"):
        names = {"days": "Days", "date": "Date", "expiredObjectDeleteMarker": "ExpiredObjectDeleteMarker"}
        out["Expiration"] = {names[k]: v for k, v in rule["expiration"].items() if v is not None}
    if rule.get("noncurrentVersionExpiration"):
        names = {"noncurrentDays": "NoncurrentDays", "newerNoncurrentVersions": "NewerNoncurrentVersions"}
        given = rule["noncurrentVersionExpiration"]
        out["NoncurrentVersionExpiration"] = {names[k]: v for k, v in given.items() if v is not None}
    if rule.get("abortIncompleteMultipartUpload"):
        days = rule["abortIncompleteMultipartUpload"].get("daysAfterInitiation")
        out["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": days}
    if rule.get("transitions"):
        out["Transitions"] = [
            {k[0].upper() + k[1:]: v for k, v in item.items() if v is not None} for item in rule["transitions"]
        ]
    if rule.get("noncurrentVersionTransitions"):
        out["NoncurrentVersionTransitions"] = [
            {k[0].upper() + k[1:]: v for k, v in item.items() if v is not None}
            for item in rule["noncurrentVersionTransitions"]
        ]
    return out


def _filter(rule: dict[str, Any]) -> dict[str, Any]:
    given = rule.get("filter") or {}
    if given.get("tag"):
        return {"Tag": {"Key": given["tag"]["key"], "Value": given["tag"]["value"]}}
    if given.get("and"):
        pairs = [{"Key": k, "Value": v} for k, v in sorted((given["and"].get("tags") or {}).items())]
        return {"And": {"Prefix": given["and"].get("prefix", ""), "Tags": pairs}}
    return {"Prefix": given.get("prefix") or rule.get("prefix") or ""}


def _notification(scope: Scope) -> list[dict[str, Any]]:
    config: dict[str, Any] = {}
    for name, member, target in (
        ("queues", "QueueConfigurations", "queueArn"),
        ("topics", "TopicConfigurations", "topicArn"),
        ("lambdaFunctions", "LambdaFunctionConfigurations", "lambdaFunctionArn"),
    ):
        items = [_destination(item, target) for item in scope.get(name) or []]
        if items:
            config[member] = items
    if scope.get("eventbridge"):
        config["EventBridgeConfiguration"] = {}
    return [
        {"Bucket": scope["bucket"], "NotificationConfiguration": config, "SkipDestinationValidation": True},
    ]


def _destination(item: dict[str, Any], target: str) -> dict[str, Any]:
    out: dict[str, Any] = {target[0].upper() + target[1:]: item[target], "Events": item["events"]}
    rules = [
        {"Name": name, "Value": item[key]}
        for key, name in (("filterPrefix", "prefix"), ("filterSuffix", "suffix"))
        if item.get(key)
    ]
    if rules:
        out["Filter"] = {"Key": {"FilterRules": rules}}
    return out | ({"Id": item["id"]} if item.get("id") else {})


ROWS = (
    Row(
        token="aws:s3/bucket:Bucket",
        service="s3",
        create="CreateBucket",
        build=_bucket,
        id="{bucket}",
        key=_BUCKET_KEY,
        read="HeadBucket",
        delete="DeleteBucket",
        before_delete=_empty_bucket,
        name="bucket",
        name_limit=63,
        local=("forceDestroy",),
        outputs={
            "arn": "arn:{partition}:s3:::{bucket}",
            "bucketDomainName": "{bucket}.s3.amazonaws.com",
            "bucketRegionalDomainName": "{bucket}.s3.{region}.amazonaws.com",
            "hostedZoneId": "Z1BKCTXD74EZPE",
        },
        tags=Tags("PutBucketTagging", "", {"Bucket": "{bucket}"}, tags="Tagging.TagSet"),
    ),
    _setting(
        "BucketVersioning",
        "Versioning",
        "VersioningConfiguration",
        takes={"versioningConfiguration": ""},
        rename={
            "versioningConfiguration": "VersioningConfiguration",
            "versioningConfiguration.mfaDelete": "MFADelete",
            "mfa": "MFA",
        },
    ),
    _setting(
        "BucketServerSideEncryptionConfiguration",
        "Encryption",
        "ServerSideEncryptionConfiguration",
        takes={"rules": "Rules"},
        delete="DeleteBucketEncryption",
        rename={
            "rules.applyServerSideEncryptionByDefault.sseAlgorithm": "SSEAlgorithm",
            "rules.applyServerSideEncryptionByDefault.kmsMasterKeyId": "KMSMasterKeyID",
            "rules.blockedEncryptionTypes": "BlockedEncryptionTypes.EncryptionType",
        },
    ),
    _setting("BucketPolicy", "Policy", "", takes={"policy": "Policy"}, delete="DeleteBucketPolicy"),
    _setting(
        "BucketPublicAccessBlock",
        "!PutPublicAccessBlock",
        "PublicAccessBlockConfiguration",
        takes={
            "blockPublicAcls": "BlockPublicAcls",
            "blockPublicPolicy": "BlockPublicPolicy",
            "ignorePublicAcls": "IgnorePublicAcls",
            "restrictPublicBuckets": "RestrictPublicBuckets",
        },
        delete="DeletePublicAccessBlock",
        local=("skipDestroy",),
    ),
    _setting(
        "BucketOwnershipControls",
        "OwnershipControls",
        "OwnershipControls",
        takes={"rule": "Rules"},
        delete="DeleteBucketOwnershipControls",
    ),
    Row(
        token="aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        service="s3",
        create="PutBucketLifecycleConfiguration",
        build=_lifecycle,
        id="{bucket}",
        key=_BUCKET_KEY,
        read="GetBucketLifecycleConfiguration",
        delete="DeleteBucketLifecycle",
        parts=(Part("PutBucketLifecycleConfiguration", ("rules",), build=_lifecycle, update_only=True),),
        local=("transitionDefaultMinimumObjectSize",),
        name="",
    ),
    _setting(
        "BucketLogging",
        "Logging",
        "BucketLoggingStatus.LoggingEnabled",
        takes={
            "targetBucket": "TargetBucket",
            "targetPrefix": "TargetPrefix",
            "targetGrants": "TargetGrants",
            "targetObjectKeyFormat": "TargetObjectKeyFormat",
        },
    ),
    Row(
        token="aws:s3/bucketNotification:BucketNotification",
        service="s3",
        create="PutBucketNotificationConfiguration",
        build=_notification,
        id="{bucket}",
        key=_BUCKET_KEY,
        read="GetBucketNotificationConfiguration",
        parts=(
            Part(
                "PutBucketNotificationConfiguration",
                ("queues", "topics", "lambdaFunctions", "eventbridge"),
                build=_notification,
                update_only=True,
            ),
        ),
        name="",
    ),
    _setting(
        "BucketAcl",
        "Acl",
        "",
        takes={"acl": "ACL", "accessControlPolicy": "AccessControlPolicy"},
    ),
    Row(
        token="aws:s3/bucketObjectv2:BucketObjectv2",
        service="s3",
        create="PutObject",
        build=_object,
        id="{key}",
        key={"Bucket": "{bucket}", "Key": "{key}"},
        read="HeadObject",
        delete="DeleteObject",
        parts=(Part("PutObject", tuple(_OBJECT), build=_object, update_only=True),),
        local=("forceDestroy", "overrideProvider"),
        name="",
        outputs={"arn": "arn:{partition}:s3:::{bucket}/{key}", "etag": "@ETag", "versionId": "@VersionId"},
        tags=Tags("PutObjectTagging", "", {"Bucket": "{bucket}", "Key": "{key}"}, tags="Tagging.TagSet"),
    ),
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
    ),
    Row(
        token="aws:elasticache/subnetGroup:SubnetGroup",
        service="elasticache",
        create="CreateCacheSubnetGroup",
        id="{name}",
        noun="CacheSubnetGroup",
        defaults={"description": "Managed by Pulumi"},
        key={"CacheSubnetGroupName": "{name}"},
        read="DescribeCacheSubnetGroups",
        live="CacheSubnetGroups[0]",
        delete="DeleteCacheSubnetGroup",
        parts=(Part("ModifyCacheSubnetGroup", ("description", "subnetIds"), update_only=True),),
        outputs={"arn": "@ARN"},
        tags=Tags("AddTagsToResource", "RemoveTagsFromResource", {"ResourceName": "{arn}"}),
        coverage="filled",
    ),
    Row(
        token="aws:elasticache/parameterGroup:ParameterGroup",
        service="elasticache",
        create="CreateCacheParameterGroup",
        id="{name}",
        noun="CacheParameterGroup",
        rename={"family": "CacheParameterGroupFamily"},
        defaults={"description": "Managed by Pulumi"},
        key={"CacheParameterGroupName": "{name}"},
        read="DescribeCacheParameterGroups",
        live="CacheParameterGroups[0]",
        delete="DeleteCacheParameterGroup",
        parts=(
            Part(
                "ModifyCacheParameterGroup",
                ("parameters",),
                rename={
                    "parameters": "ParameterNameValues",
                    "parameters.name": "ParameterName",
                    "parameters.value": "ParameterValue",
                },
            ),
        ),
        outputs={"arn": "@ARN"},
        tags=Tags("AddTagsToResource", "RemoveTagsFromResource", {"ResourceName": "{arn}"}),
        coverage="recorded",
    ),
    Row(
        token="aws:elasticache/replicationGroup:ReplicationGroup",
        service="elasticache",
        create="CreateReplicationGroup",
        id="{replicationGroupId}",
        rename={
            "description": "ReplicationGroupDescription",
            "nodeType": "CacheNodeType",
            "parameterGroupName": "CacheParameterGroupName",
            "subnetGroupName": "CacheSubnetGroupName",
            "preferredCacheClusterAzs": "PreferredCacheClusterAZs",
            "maintenanceWindow": "PreferredMaintenanceWindow",
            "logDeliveryConfigurations.destination": "",
            "numCacheClusters": "NumCacheClusters",
            "multiAzEnabled": "MultiAZEnabled",
        },
        key={"ReplicationGroupId": "{replicationGroupId}"},
        read="DescribeReplicationGroups",
        live="ReplicationGroups[0]",
        gone="Status=='deleting'",
        delete="DeleteReplicationGroup",
        parts=(
            Part(
                "ModifyReplicationGroup",
                (
                    "description",
                    "nodeType",
                    "engineVersion",
                    "automaticFailoverEnabled",
                    "multiAzEnabled",
                    "parameterGroupName",
                    "snapshotRetentionLimit",
                    "snapshotWindow",
                    "maintenanceWindow",
                    "notificationTopicArn",
                    "securityGroupIds",
                ),
                update_only=True,
            ),
        ),
        local=("applyImmediately", "finalSnapshotIdentifier", "authTokenUpdateStrategy", "logDeliveryConfigurations"),
        outputs={
            "arn": "@ARN",
            "primaryEndpointAddress": "@NodeGroups[0].PrimaryEndpoint.Address",
            "readerEndpointAddress": "@NodeGroups[0].ReaderEndpoint.Address",
            "configurationEndpointAddress": "@ConfigurationEndpoint.Address",
        },
        tags=Tags("AddTagsToResource", "RemoveTagsFromResource", {"ResourceName": "{arn}"}),
        name="replicationGroupId",
        name_limit=40,
        note="no Redis starts; log delivery is only recorded",
    ),
)
