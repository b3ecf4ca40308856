"""The model store: the stack file's ``model_store`` part."""

from __future__ import annotations

from pydantic import Field

from spillway.contracts.frozen import Settings


class AwsStoreSettings(Settings):
    """The bucket that holds the packages."""

    bucket_name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    """Name of the bucket; prefix, account and region when left out. Bucket names are shared by all of AWS."""
    kms_key_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:kms:.+:key/.+$")
    """Customer-managed key; one is made when left out."""
    noncurrent_days: int = Field(default=90, ge=1, le=3650)
    """Days that an overwritten or deleted version can still be brought back."""
    noncurrent_versions: int = Field(default=3, ge=1, le=100)
    """Overwritten versions that are kept however old they are."""
    access_log_bucket: str | None = None
    """Bucket for access logs, with log delivery allowed; none when left out."""

    def bucket(self, prefix: str, account_id: str, region: str) -> str:
        """The bucket's name in a stack. ``prefix``: ``<name>-<stack>``."""
        return self.bucket_name or f"{prefix}-models-{account_id}-{region}"


class AzureStoreSettings(Settings):
    """The storage container on Azure."""

    container_name: str = Field(default="models", pattern=r"^[a-z0-9](?:-?[a-z0-9]){2,62}$")
    """Name of the blob container."""
    delete_retention_days: int = Field(default=30, ge=1, le=365)
    """Days that a deleted blob or container can be brought back."""


class CourierSettings(Settings):
    """The container in Azure that carries a package from S3 to the storage account, compared by checksum."""

    image: str = "docker.io/rclone/rclone:1.71.2"
    """Image of rclone; give your mirror's address, best with a digest."""
    transfers: int = Field(default=4, ge=1, le=64)
    """Files copied at once."""
    bandwidth: str = Field(default="off", pattern=r"^(off|\d+(\.\d+)?[KMG]?)$")
    """Limit in bytes per second, e.g. 50M; off for none."""
    entra_provider_arn: str | None = Field(
        default=None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:oidc-provider/sts\.windows\.net/[0-9a-f-]{36}/$"
    )
    """The AWS account's IAM OIDC provider for the Entra tenant; made when left out. An account has one of each issuer,
    so a second stack names the first one's."""


class RedisSettings(Settings):
    """The first cache tier."""

    image: str = "docker.io/library/redis:8.2.2-alpine"
    """Image of Redis; give your mirror's address, best with a digest."""
    memory: str = Field(default="2Gi", pattern=r"^[1-9]\d*(Mi|Gi)$")
    """Memory limit of the pod; Redis keeps 80 % of it for data and evicts the least used."""


class ModelStoreSettings(Settings):
    """Where packages live, and how they travel to the other sites."""

    aws: AwsStoreSettings = AwsStoreSettings()
    """The bucket."""
    azure: AzureStoreSettings = AzureStoreSettings()
    """The storage container, used when Azure is enabled."""
    courier: CourierSettings = CourierSettings()
    """What brings packages from the one to the other."""
    redis: RedisSettings | None = RedisSettings()
    """The cache; null for none."""
    upload_package: bool = True
    """Whether `up` uploads the package; off where a pipeline uploads it to the same keys."""
