"""A package for vLLM as the twin runs it: the options that were deployed, held against what vLLM takes.

The weights are not loaded: a stand-in with fixed times answers in vLLM's place (``processes/chat_server``). What vLLM
would refuse at its start, it refuses, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Final

from spillway.contracts.manifest import VLLM_CHECKSUMS
from spillway.contracts.vllm_options import table
from spillway.contracts.vllm_serving import DRAIN_OPTION
from spillway.twin.data_plane.deployed import Served, aws_client
from spillway.twin.data_plane.packages import BlobFolder, PackageFetchError
from spillway.twin.data_plane.processes.chat_queue import QueueOptions

FIRST_TOKEN_S: Final = 0.2
TOKEN_S: Final = 0.02
"""Of every stand-in: a GPU's with a model of a few billion parameters, as far as an order of magnitude goes."""
SUMS: Final = PurePosixPath(VLLM_CHECKSUMS).name


@dataclass(frozen=True)
class LanguageServer:
    """How a stand-in is started."""

    model: str
    queue: QueueOptions
    drain_s: float


def server_of(served: Served) -> LanguageServer:
    """Raises :class:`PackageFetchError` for options with which vLLM does not start."""
    options = served.options or {}
    known = table()["options"]
    unknown = sorted(name for name in options if name not in known and name.removeprefix("no-") not in known)
    if unknown:
        raise PackageFetchError(f"vLLM {table()['version']} has no --{unknown[0]}, and does not start")
    if options.get("scheduling-policy") != "priority":
        # It answers, and every request with a priority other than 0 gets 400.
        raise PackageFetchError("vLLM refuses requests with a priority without --scheduling-policy priority")
    most = options.get("max-num-queued-reqs")
    queue = QueueOptions(
        max_num_seqs=int(options.get("max-num-seqs", 128)),
        max_num_queued_reqs=int(most) if most else None,
        first_token_s=FIRST_TOKEN_S,
        token_s=TOKEN_S,
    )
    return LanguageServer(options.get("served-model-name", served.model), queue, float(options.get(DRAIN_OPTION, 0)))


def check_package(served: Served, endpoints: Mapping[str, str]) -> None:
    """The folder is whole as far as its list of digests goes, and the list the one that was deployed.

    Raises :class:`PackageFetchError`.
    """
    names, sums = _azure(served, endpoints) if served.source.startswith("blob://") else _s3(served, endpoints)
    if sums is None:
        raise PackageFetchError(f"{served.source} has no {SUMS}")
    digest = sha256(sums).hexdigest()
    if served.sha256 and digest != served.sha256:
        raise PackageFetchError(f"{served.source}{SUMS} has sha256 {digest}, deployed is {served.sha256}")
    listed = {line.split("  ", 1)[1] for line in sums.decode().splitlines()}
    if missing := sorted(listed - names):
        raise PackageFetchError(f"{served.source} lacks {missing[0]}")


def _s3(served: Served, endpoints: Mapping[str, str]) -> tuple[set[str], bytes | None]:
    bucket, _, prefix = served.source.removeprefix("s3://").partition("/")
    client = aws_client("s3", endpoints["aws"])
    names: set[str] = set()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        names |= {found["Key"].removeprefix(prefix) for found in page.get("Contents", ())}
    body = client.get_object(Bucket=bucket, Key=prefix + SUMS)["Body"].read() if SUMS in names else None
    return names, body


def _azure(served: Served, endpoints: Mapping[str, str]) -> tuple[set[str], bytes | None]:
    blobs = BlobFolder(served.source, endpoints["azure"])
    names = set(blobs.names())
    return names, blobs.content(SUMS) if SUMS in names else None
