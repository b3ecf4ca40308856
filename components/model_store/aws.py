"""The model store on AWS: a bucket with the packages, and the group that SageMaker lists them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

from components.aws_documents import key_policy
from components.aws_parts import SecureBucket, own_key, secure_bucket
from components.base import Component, StackContext
from components.model_store.content import SiteContent, package_prefix
from components.model_store.settings import ModelStoreSettings
from spillway.contracts.classes import SiteName
from spillway.contracts.manifest import MANIFEST_NAME, Manifest


@dataclass(frozen=True)
class TrialPackage:
    """A release that is tried in the private site: its folder, already verified, and what the site fetches of it."""

    folder: Path
    manifest: Manifest
    content: SiteContent


@dataclass(frozen=True)
class AwsModelStoreArgs:
    """``contents``: what each site fetches from here; what two of them share is uploaded once. ``package_dir``: the
    package folder on the deployer's disk, already verified; ``manifest``: its manifest."""

    settings: ModelStoreSettings
    region: str
    account_id: str
    package_dir: Path
    manifest: Manifest
    contents: Mapping[SiteName, SiteContent]
    trial: TrialPackage | None = None


@dataclass(frozen=True)
class StoredContent:
    """What one site fetches from the bucket: an archive, or a folder that ends in ``/``; ``uri`` is its ``s3://``."""

    key: str
    uri: pulumi.Output[str]
    sha256: str


class AwsModelStore(Component):
    """Bucket, key, package objects and model package group.

    Outputs: ``bucket_name``, ``bucket_arn``, ``kms_key_arn``, ``package_prefix`` (``packages/<name>/<version>/``),
    ``stored`` (for each site of ``contents``: key, address and digest), ``stored_trial``, ``manifest_key``,
    ``manifest_uri`` (``s3://…``), ``objects`` (to depend on), ``model_package_group_name``.
    """

    def __init__(
        self, context: StackContext, args: AwsModelStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("model-store-aws", context, opts)
        self.args = args
        self.name = f"{context.prefix}-models"
        manifest = args.manifest
        self.package_prefix = package_prefix(manifest.name, manifest.version)
        self.manifest_key = f"{self.package_prefix}{MANIFEST_NAME}"

        self.kms_key_arn = self._key()
        secure = self._bucket()
        self.bucket = secure.bucket
        self.bucket_name, self.bucket_arn = self.bucket.bucket, self.bucket.arn
        versioning = self._keep_versions()
        self.objects: list[pulumi.Resource] = []
        if args.settings.upload_package:
            ready = [secure.encryption, versioning]
            self.objects += self._upload(args.package_dir, manifest, list(args.contents.values()), ready)
            if args.trial:
                self.objects += self._upload(args.trial.folder, args.trial.manifest, [args.trial.content], ready)
        self.stored = {site: self._stored(manifest, content) for site, content in args.contents.items()}
        self.stored_trial = self._stored(args.trial.manifest, args.trial.content) if args.trial else None
        self.manifest_uri = pulumi.Output.concat("s3://", self.bucket_name, "/", self.manifest_key)

        group = aws.sagemaker.ModelPackageGroup(
            f"{self.name}-group",
            model_package_group_name=f"{context.prefix}-{manifest.name.replace('_', '-')}",
            model_package_group_description=f"Versions of {manifest.name} that {context.prefix} serves",
            tags=context.tags,
            opts=self.child(holds_data=True),
        )
        self.model_package_group_name = group.model_package_group_name
        self.register_outputs(
            {
                "bucketName": self.bucket_name,
                "contentUris": {site: stored.uri for site, stored in self.stored.items()},
                "manifestUri": self.manifest_uri,
                "modelPackageGroupName": self.model_package_group_name,
            }
        )

    def _key(self) -> pulumi.Input[str]:
        args = self.args
        if args.settings.aws.kms_key_arn:
            return args.settings.aws.kms_key_arn
        return own_key(
            self,
            self.name,
            f"{self.name}: model packages",
            key_policy(args.region, args.account_id),
            holds_data=True,
        ).arn

    def _bucket(self) -> SecureBucket:
        """Logged, where a log bucket is given."""
        args = self.args
        name = args.settings.aws.bucket(self.context.prefix, args.account_id, args.region)
        secure = secure_bucket(self, self.name, name, self.kms_key_arn, force_destroy=not self.context.protect_data)
        if log_bucket := args.settings.aws.access_log_bucket:
            aws.s3.BucketLogging(
                f"{self.name}-logging",
                bucket=secure.bucket.id,
                target_bucket=log_bucket,
                target_prefix=f"{self.name}/",
                opts=self.child(),
            )
        return secure

    def _keep_versions(self) -> aws.s3.BucketVersioning:
        """Versioning, and an end to what was overwritten long ago; current packages never expire."""
        store = self.args.settings.aws
        versioning = aws.s3.BucketVersioning(
            f"{self.name}-versioning",
            bucket=self.bucket.id,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=self.child(),
        )
        rule = aws.s3.BucketLifecycleConfigurationRuleArgs(
            id="old-versions",
            status="Enabled",
            filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
            noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                noncurrent_days=store.noncurrent_days, newer_noncurrent_versions=store.noncurrent_versions
            ),
            abort_incomplete_multipart_upload=(
                aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(days_after_initiation=7)
            ),
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{self.name}-lifecycle", bucket=self.bucket.id, rules=[rule], opts=self.child(depends_on=[versioning])
        )
        return versioning

    def _stored(self, manifest: Manifest, content: SiteContent) -> StoredContent:
        key = f"{package_prefix(manifest.name, manifest.version)}{content.key}"
        return StoredContent(key, pulumi.Output.concat("s3://", self.bucket_name, "/", key), content.sha256)

    def _upload(
        self, folder: Path, manifest: Manifest, contents: Sequence[SiteContent], after: Sequence[pulumi.Resource]
    ) -> list[pulumi.Resource]:
        """What the sites fetch, then the manifest: who sees a manifest finds everything it names."""
        uploads = {upload.key: upload for content in contents for upload in content.uploads}
        files = [
            self._object(manifest, upload.path, upload.key, {"sha256": upload.sha256}, after)
            for upload in uploads.values()
        ]
        last = self._object(manifest, folder / MANIFEST_NAME, MANIFEST_NAME, {"digest": manifest.digest}, files)
        return [*files, last]

    def _object(
        self, manifest: Manifest, path: Path, key: str, metadata: dict[str, str], after: Sequence[pulumi.Resource]
    ) -> aws.s3.BucketObjectv2:
        return aws.s3.BucketObjectv2(
            f"{self.name}-{key.replace('/', '-')}-{manifest.version}",
            bucket=self.bucket.bucket,
            key=f"{package_prefix(manifest.name, manifest.version)}{key}",
            source=pulumi.FileAsset(str(path)),
            server_side_encryption="aws:kms",
            kms_key_id=self.kms_key_arn,
            bucket_key_enabled=True,
            checksum_algorithm="SHA256",
            metadata={**metadata, "package": manifest.name, "version": manifest.version},
            tags=self.context.tags,
            # An endpoint that rolled back loads the old version: `spillway sweep` ends it another day.
            opts=self.child(depends_on=list(after), retain_on_delete=True),
        )
