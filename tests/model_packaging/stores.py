"""Real stores for the registry's tests: a folder, moto's S3 on loopback, and Azurite where it is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

AZURITE = "azurite-blob"
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's account and key are the same everywhere and published: learn.microsoft.com, storage-use-azurite."""


@contextlib.contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """The environment that leads an AWS SDK to it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.stop()


def new_bucket() -> str:
    """The address of an empty bucket of the server that the environment names."""
    import boto3

    bucket = f"packages-{uuid.uuid4().hex[:8]}"
    boto3.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return f"s3://{bucket}/models"


@contextlib.contextmanager
def azure_server(folder: Path) -> Iterator[dict[str, str]]:
    """The environment that leads adlfs to it."""
    if shutil.which(AZURITE) is None:
        pytest.skip(f"{AZURITE} is not on PATH: `npm install -g azurite` gives it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    quiet = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    process = subprocess.Popen([AZURITE, *quiet, *listen], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
    account = f"AccountName={_ACCOUNT};AccountKey={_KEY}"
    try:
        _await_port(port)
        yield {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={endpoint};"}
    finally:
        process.kill()
        process.wait()


def new_container() -> str:
    """The address of an empty container of the server that the environment names."""
    from azure.storage.blob import BlobServiceClient

    container = f"packages-{uuid.uuid4().hex[:8]}"
    with BlobServiceClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"]) as client:
        client.create_container(container)
    return f"az://{container}/models"


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on port {port}")
        time.sleep(0.05)
