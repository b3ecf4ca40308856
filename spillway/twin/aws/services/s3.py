"""Buckets, their settings, and objects."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import ALLOW, OWNED, Sample, TextFile
from spillway.twin.aws.service import Service

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
        # As in lambda_.py: the server does without Pulumi.
        from spillway.twin.aws.archives import asset_bytes

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


_ROWS = (
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
        samples=(
            Sample("bucket", {"forceDestroy": True, "tags": OWNED}, change={"tags": {"owner": "x"}}),
            Sample("logs", {"bucket": "spillway-test-logs", "forceDestroy": True}),
        ),
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
        samples=(Sample("versioning", {"bucket": "$bucket.bucket", "versioningConfiguration": {"status": "Enabled"}}),),
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
        samples=(
            Sample(
                "encryption",
                {
                    "bucket": "$bucket.id",
                    "rules": [
                        {
                            "applyServerSideEncryptionByDefault": {
                                "sseAlgorithm": "aws:kms",
                                "kmsMasterKeyId": "$key.arn",
                            },
                            "bucketKeyEnabled": True,
                        }
                    ],
                },
            ),
        ),
    ),
    _setting(
        "BucketPolicy",
        "Policy",
        "",
        takes={"policy": "Policy"},
        delete="DeleteBucketPolicy",
        samples=(Sample("bucket-policy", {"bucket": "$bucket.id", "policy": ALLOW}),),
    ),
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
        samples=(
            Sample(
                "public-access",
                {
                    "bucket": "$bucket.id",
                    "blockPublicAcls": True,
                    "blockPublicPolicy": True,
                    "ignorePublicAcls": True,
                    "restrictPublicBuckets": True,
                },
            ),
        ),
    ),
    _setting(
        "BucketOwnershipControls",
        "OwnershipControls",
        "OwnershipControls",
        takes={"rule": "Rules"},
        delete="DeleteBucketOwnershipControls",
        samples=(Sample("ownership", {"bucket": "$bucket.id", "rule": {"objectOwnership": "BucketOwnerEnforced"}}),),
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
        samples=(
            Sample(
                "lifecycle",
                {
                    "bucket": "$bucket.id",
                    "rules": [
                        {
                            "id": "old",
                            "status": "Enabled",
                            "filter": {"prefix": ""},
                            "noncurrentVersionExpiration": {"noncurrentDays": 30},
                            "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
                        }
                    ],
                },
            ),
        ),
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
        samples=(
            Sample(
                "logging",
                {"bucket": "$bucket.id", "targetBucket": "$logs.id", "targetPrefix": "s3/"},
                after=("bucket-acl",),
            ),
        ),
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
        samples=(
            Sample(
                "notification",
                {
                    "bucket": "$bucket.id",
                    "queues": [{"queueArn": "$queue.arn", "events": ["s3:ObjectCreated:*"], "filterPrefix": "in/"}],
                },
            ),
        ),
    ),
    _setting(
        "BucketAcl",
        "Acl",
        "",
        takes={"acl": "ACL", "accessControlPolicy": "AccessControlPolicy"},
        samples=(Sample("bucket-acl", {"bucket": "$logs.id", "acl": "log-delivery-write"}),),
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
        samples=(
            Sample(
                "object",
                {
                    "bucket": "$bucket.id",
                    "key": "a/b.txt",
                    "source": TextFile("hello"),
                    "contentType": "text/plain",
                    "tags": OWNED,
                },
                change={"source": TextFile("goodbye")},
            ),
        ),
    ),
)

SERVICE = Service("s3", _ROWS)
