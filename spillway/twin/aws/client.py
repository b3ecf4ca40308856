"""boto3 clients for the stand-in: one per service and region, made once, safe to use from many threads."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from typing import Any, Final

import botocore.session
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, ParamValidationError
from botocore.model import OperationModel

from spillway.twin.provider import StandInError

URN_HEADER = "x-spillway-urn"
KEY_HEADER = "x-spillway-key"
FRESH_HEADER = "x-spillway-fresh"
FORGET_HEADER = "x-spillway-forget"
REPLAYED_HEADER = "x-spillway-replayed"

_GONE_CODE = re.compile(
    r"NotFound|Nonexistent|NoSuch|NonExistent|DoesNotExist|^404$|InvalidPermission\.NotFound|Missing$"
)
_GONE_MESSAGE = re.compile(
    r"could not find|\bno .* found|not found|does not exist|doesn't exist|unable to describe task definition",
    re.IGNORECASE,
)


class GoneError(StandInError):
    """The thing that a call names does not exist."""


class UnreachableError(StandInError):
    """No server is there: a plan is made without one."""


@functools.cache
def _loader_session() -> botocore.session.Session:
    return botocore.session.get_session()


_models_lock = threading.Lock()


@functools.cache
def _operation(service: str, operation: str) -> OperationModel:
    return _loader_session().get_service_model(service).operation_model(operation)


def input_shape(service: str, operation: str) -> Any:
    """What one operation takes, by AWS's own model: a structure shape or ``None``."""
    with _models_lock:
        return _operation(service, operation).input_shape


def fingerprint(operation: str, params: Mapping[str, Any]) -> str:
    """What makes two calls the same: operation and parameters."""
    text = json.dumps([operation, params], sort_keys=True, default=lambda v: hashlib.sha256(bytes(v)).hexdigest())
    return hashlib.sha256(text.encode()).hexdigest()


ACCESS_KEY: Final = "AKIASPILLWAYTWIN0000"
SECRET_KEY: Final = "twin"
"""The emulated account takes any key pair; this one is the deployer's."""


class Clients:
    """Calls AWS operations by name against one endpoint."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._session = botocore.session.Session()
        # Models are megabytes of JSON: what tells the shapes has read most of them already.
        self._session.register_component("data_loader", _loader_session().get_component("data_loader"))
        self._session.set_credentials(ACCESS_KEY, SECRET_KEY)
        self._clients: dict[tuple[str, str], BaseClient] = {}
        self._lock = threading.Lock()
        self._headers = threading.local()

    def client(self, service: str, region: str) -> BaseClient:
        """The client of one service and region."""
        with self._lock:
            if (service, region) not in self._clients:
                self._clients[service, region] = self._make(service, region)
            return self._clients[service, region]

    def _make(self, service: str, region: str) -> BaseClient:
        client = self._session.create_client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            config=Config(
                retries={"max_attempts": 2, "mode": "standard"},
                s3={"addressing_style": "path"},
                inject_host_prefix=False,
                max_pool_connections=32,
                connect_timeout=5,
                read_timeout=60,
            ),
        )
        client.meta.events.register("before-call", self._add_headers)
        return client

    def _add_headers(self, params: dict[str, Any], **_: Any) -> None:
        params["headers"].update(getattr(self._headers, "current", {}))

    def call(
        self,
        service: str,
        region: str,
        operation: str,
        params: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """One call. :class:`GoneError` when what it names is not there, :class:`UnreachableError` when nobody answers,
        :class:`StandInError` for any other refusal."""
        client = self.client(service, region)
        method = getattr(client, _method_name(service, operation))
        self._headers.current = dict(headers or {})
        try:
            return method(**params)
        except ParamValidationError as error:
            raise StandInError(f"{service} {operation}: {error}") from error
        except ClientError as error:
            code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
            kind = GoneError if _GONE_CODE.search(str(code)) or _GONE_MESSAGE.search(message) else StandInError
            raise kind(f"{service} {operation}: {code}: {message}") from error
        except EndpointConnectionError as error:
            raise UnreachableError(f"{service} {operation}: {error}") from error
        except BotoCoreError as error:
            raise StandInError(f"{service} {operation}: {error}") from error
        finally:
            self._headers.current = {}


@functools.cache
def _method_name(_service: str, operation: str) -> str:
    from botocore import xform_name

    return xform_name(operation)
