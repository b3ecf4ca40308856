"""Turns what was deployed into processes: model servers, the fronts before them, gateways, Redis, DNS, functions.

A process's name is ``<group>/<part>``. Each site's chain is Triton, a fault proxy before it, and for the burst sites
the cloud's front before that.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from spillway.contracts.classes import Site
from spillway.contracts.routing import Cutoff, RoutingTable, SiteRoute, canary_name
from spillway.contracts.traces import PATH
from spillway.twin import tools
from spillway.twin.aws.services.sagemaker_runtime import FILE as RUNTIME_FILE
from spillway.twin.aws.services.sagemaker_runtime import Front
from spillway.twin.certificates import ensure_authority, ensure_certificate
from spillway.twin.data_plane.deployed import DeployedReader, Gateway, Served, aws_client
from spillway.twin.data_plane.gateway_files import GatewayPlace, place
from spillway.twin.data_plane.gateway_view import GatewayView
from spillway.twin.data_plane.language import check_package, server_of
from spillway.twin.data_plane.packages import PackageFetchError, PackageFolder
from spillway.twin.data_plane.processes.backends.fixed_time import fixed_time_repository
from spillway.twin.data_plane.processes.child import ProcessSpec
from spillway.twin.data_plane.processes.triton import TritonMissingError, TritonPorts, triton_command
from spillway.twin.ports import GATEWAY, Ports
from spillway.twin.private_files import write_private

DRILL_PROCESSES: Final = 4
"""Most requests at once of the drill's model, each of which is a process of its own."""
TRACES: Final = "traces/collector"
"""Its process, and so its log: a line of JSON for each span."""
ADDRESSES: Final = {"private": "127.0.0.1", "standby": "127.0.0.2"}
"""Loopback address of each gateway: one port for both, so that a name that moves is a failover here, too."""


@dataclass(frozen=True)
class Layout:
    """Where a twin keeps things."""

    state_dir: Path
    endpoints: dict[str, str]
    ports: Ports


@dataclass(frozen=True)
class Planned:
    """The processes that should run, and how they are reached."""

    specs: tuple[ProcessSpec, ...] = ()
    gateways: dict[str, str] = field(default_factory=dict)
    dns: str = ""
    fault_ports: dict[str, int] = field(default_factory=dict)
    views: tuple[GatewayView, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Credentials:
    """An AWS key pair that this twin's burst front accepts."""

    access_key: str
    secret_key: str = field(repr=False)


class DataPlane:
    """Plans; :meth:`read` does everything that blocks, in a worker thread. ``planned`` is what it said last."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._packages = PackageFolder(layout.state_dir / "packages", layout.endpoints)
        # One for each gateway: by it the emulated AWS knows who asks.
        self._credentials = {role: _credentials(layout.state_dir / f"credentials-{role}.json") for role in ADDRESSES}
        self._model = ""
        self._traced = False
        self._cutoff: Cutoff | None = None
        self.service_time_s = 0.0
        """Of the fixed-time model that is served in place of each package; 0 where the packages are."""
        self.planned = Planned()

    def read(self) -> Planned:
        """Raises ``OSError`` when an emulated provider does not answer."""
        deployed = DeployedReader(self._layout.endpoints).read()
        problems = list(deployed.problems)
        tables = [RoutingTable.model_validate_json(gateway.routing) for gateway in deployed.gateways]
        self._model = tables[0].model if tables else ""
        self._cutoff = next((table.cutoff for table in tables if table.cutoff), None)
        routes = _routes(tables)
        self._traced = any(table.traces for table in tables)
        specs: list[ProcessSpec] = []
        for served in deployed.served:
            _gather(specs, problems, served.group, lambda served=served: self._site(served, routes.get(served.site)))
        self._tell_roles(deployed.gateways)
        for gateway in deployed.gateways:
            name = f"gateway-{gateway.role}"
            _gather(specs, problems, name, lambda gateway=gateway: self._gateway(gateway, deployed.region))
        if deployed.redis:
            _gather(specs, problems, "redis", self._redis)
        if deployed.zones:
            specs += self._dns()
        if self._traced:
            specs += self._trace_collector()
        if deployed.functions:
            specs += self._functions(deployed.region)
        names = {spec.name for spec in specs}
        self.planned = Planned(
            specs=tuple(specs),
            gateways={
                gateway.role: f"http://{ADDRESSES[gateway.role]}:{self._port(GATEWAY)}"
                for gateway in deployed.gateways
                if f"gateway-{gateway.role}/envoy" in names
            },
            dns=f"127.0.0.1:{self._port('dns/server')}" if deployed.zones else "",
            fault_ports={
                s.group: self._port(f"{s.group}/orders") for s in deployed.served if f"{s.group}/proxy" in names
            },
            views=tuple(self._view(gateway.role, names) for gateway in deployed.gateways),
            problems=tuple(problems),
        )
        return self.planned

    def close_spill(self, closed: bool) -> None:
        """As the cost guard's function would: for every class, or for none. Blocks.

        Raises ``LookupError`` where no gateway obeys a cut-off.
        """
        if self._cutoff is None:
            raise LookupError("no gateway here obeys a cut-off: the stack has no cost_guard")
        classes = list(self._cutoff.order) if closed else []
        said = {"closed": classes, "reason": "drill", "since": datetime.now(UTC).isoformat()}
        ssm = aws_client("ssm", self._layout.endpoints["aws"], self._cutoff.region)
        ssm.put_parameter(Name=self._cutoff.parameter, Value=json.dumps(said), Type="String", Overwrite=True)

    def _view(self, role: str, names: set[str]) -> GatewayView:
        group = f"gateway-{role}"
        sites = tuple(site for site in Site if f"{site}/proxy" in names)
        return GatewayView(group, self._port(f"{group}/admin"), self._port(f"{group}/agent"), sites)

    def _site(self, served: Served, route: SiteRoute | None) -> Iterator[ProcessSpec]:
        site, group = served.site, served.group
        language = served.options is not None
        server = self._chat(served) if language else self._triton(served, route)
        model_port = self._port(f"{group}/sagemaker" if site == Site.SAGEMAKER and not language else f"{group}/http")
        yield server
        yield ProcessSpec(
            name=f"{group}/proxy",
            command=_module(
                "spillway.twin.data_plane.processes.fault_proxy",
                port=self._port(f"{group}/proxy"),
                upstream_port=model_port,
                control_port=self._port(f"{group}/orders"),
            ),
            port=self._port(f"{group}/proxy"),
            restart=True,
        )
        if site != Site.PRIVATE:
            yield self._front(served, route)

    def _triton(self, served: Served, route: SiteRoute | None) -> ProcessSpec:
        site, group = served.site, served.group
        repository = self._drill_repository(served, route) if self.service_time_s else self._packages.repository(served)
        ports = TritonPorts(
            http=self._port(f"{group}/http"),
            metrics=self._port(f"{group}/metrics"),
            sagemaker=self._port(f"{group}/sagemaker") if site == Site.SAGEMAKER else None,
        )
        tools.triton_home()
        command, environment = triton_command(
            tools.TOOLS_DIR,
            repository,
            ports,
            models=(served.model or self._model or "*",),
            sagemaker_model=served.model if site == Site.SAGEMAKER else None,
            traces_url=self._traces_url if site == Site.PRIVATE else None,
        )
        return ProcessSpec(
            name=f"{group}/triton",
            command=tuple(command),
            env=environment,
            port=ports.http,
            health=f"http://127.0.0.1:{ports.http}/v2/health/ready",
            restart=True,
            shared_memory=ports.shared_memory_prefix,
        )

    @property
    def _traces_url(self) -> str | None:
        return f"http://127.0.0.1:{self._port(TRACES)}{PATH}" if self._traced else None

    def _chat(self, served: Served) -> ProcessSpec:
        """A stand-in for vLLM: its options, its refusals, fixed times, and no model."""
        check_package(served, self._layout.endpoints)
        server = server_of(served)
        folder = self._layout.state_dir / "chat"
        folder.mkdir(exist_ok=True)
        options = folder / f"{served.group}.json"
        options.write_text(server.queue.model_dump_json())
        port = self._port(f"{served.group}/http")
        return ProcessSpec(
            name=f"{served.group}/vllm",
            command=_module(
                "spillway.twin.data_plane.processes.chat_server",
                port=port,
                model=server.model,
                options=options,
                drain_s=server.drain_s,
            ),
            port=port,
            health=f"http://127.0.0.1:{port}/health",
            restart=True,
            inputs=_digest(options),
        )

    def _drill_repository(self, served: Served, route: SiteRoute | None) -> Path:
        slots = route.slots if route else 1
        model = served.model or self._model
        if not model:
            raise PackageFetchError("no gateway says which model it serves")
        working = min(slots, DRILL_PROCESSES)
        # So few do as much as there are slots for by being that much quicker.
        service_time_s = self.service_time_s * working / slots
        # The agents of both gateways probe a burst site now and then: that must not take a request's slot.
        instances = working if served.site == Site.PRIVATE else working + len(ADDRESSES)
        folder = self._layout.state_dir / "drill" / f"{served.group}-{model}-{instances}-{service_time_s:g}"
        return fixed_time_repository(folder, name=model, service_time_s=service_time_s, instances=instances)

    def _front(self, served: Served, route: SiteRoute | None) -> ProcessSpec:
        site = served.site
        config = self._layout.state_dir / "fronts" / f"{site}.json"
        host = route.authority if route else served.host
        write_private(config, json.dumps(self._front_config(served, route, host)))
        port = self._port(f"{site}/front")
        options: dict[str, object] = {"kind": site, "port": port, "config": config}
        options["upstream"] = f"http://127.0.0.1:{self._port(f'{site}/proxy')}"
        tls = route is not None and route.tls is not None
        if site == Site.SAGEMAKER:
            self._tell_runtime(served, host, port, tls=tls)
        if route and route.tls:
            pair = ensure_certificate(self._tls_folder, route.tls.sni)
            options |= {"tls_cert": pair.certificate, "tls_key": pair.key}
        return ProcessSpec(
            name=f"{site}/front",
            command=_module("spillway.twin.data_plane.processes.burst_front", **options),
            port=port,
            health=f"{'https' if tls else 'http'}://127.0.0.1:{port}/_spillway/health",
            restart=True,
            inputs=_digest(config),
        )

    def _tell_roles(self, gateways: Iterable[Gateway]) -> None:
        """So that the emulated AWS signs tokens about the roles that the gateways have."""
        roles = {self._credentials[one.role].access_key: one.arn for one in gateways}
        url = f"{self._layout.endpoints['aws']}/_spillway/roles"
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(roles).encode()), timeout=10).close()

    def _tell_runtime(self, served: Served, host: str, port: int, *, tls: bool) -> None:
        """So that the emulated AWS hands on what is asked of the endpoint there."""
        front = Front(
            endpoint=served.endpoint,
            region=served.region,
            host=host,
            port=port,
            access_key=self._credentials["private"].access_key,
            secret_key=self._credentials["private"].secret_key,
            authority=str(ensure_authority(self._tls_folder).certificate) if tls else None,
        )
        folder = self._layout.state_dir / "aws"
        folder.mkdir(exist_ok=True)
        write_private(folder / RUNTIME_FILE, front.model_dump_json())

    def _front_config(self, served: Served, route: SiteRoute | None, host: str) -> dict[str, object]:
        slots = route.slots if route else 1
        if served.site == Site.SAGEMAKER:
            keys = {one.access_key: one.secret_key for one in self._credentials.values()}
            config: dict[str, object] = {"endpoint": served.endpoint, "region": served.region, "host": host}
            return {**config, "access_keys": keys, "max_concurrent": max(8, 2 * slots)}
        return {
            "host": host,
            # A container of one's own gets every path; what it may be asked is the gateway's to say.
            "path_prefix": "/v2" if served.options is None else "/",
            "keys": list(served.keys),
            "callers": served.callers,
            "max_concurrent_per_instance": served.concurrency,
            "instances": served.instances,
            "timeout_s": served.timeout_s,
        }

    def _gateway(self, gateway: Gateway, region: str) -> Iterator[ProcessSpec]:
        group = f"gateway-{gateway.role}"
        here = GatewayPlace(
            folder=self._layout.state_dir / group,
            address=ADDRESSES[gateway.role],
            port=self._port(GATEWAY),
            admin_port=self._port(f"{group}/admin"),
            agent_port=self._port(f"{group}/agent"),
            metrics_port=self._port(f"{group}/metrics"),
            usage_port=self._port(f"{group}/usage"),
            relay_port=self._port(f"{group}/relay"),
            inner_port=self._port(f"{group}/inner"),
            traces_port=self._port(TRACES),
            cache_port=self._port(f"{group}/cache"),
            redis_port=self._port("redis/server"),
            sites={
                Site.PRIVATE: self._port("private/proxy"),
                canary_name(Site.PRIVATE): self._port(f"{canary_name(Site.PRIVATE)}/proxy"),
                Site.SAGEMAKER: self._port("sagemaker/front"),
                Site.AZURE_ML: self._port("azure_ml/front"),
            },
            authority=ensure_authority(self._tls_folder).certificate,
        )
        placed = place(gateway, here)
        environment = self._aws_environment(region, gateway.role)
        login = {"SPILLWAY_AZURE_LOGIN_URL": self._layout.endpoints["azure"]}
        envoy = (str(tools.envoy_binary()), "-c", str(placed.envoy), "--disable-hot-restart", "--concurrency", "1")
        yield ProcessSpec(
            name=f"{group}/envoy",
            command=(*envoy, "--log-level", "warning"),
            env=environment,
            port=here.port,
            health=f"http://127.0.0.1:{here.admin_port}/ready",
            restart=True,
            inputs=_digest(placed.envoy),
        )
        yield ProcessSpec(
            name=f"{group}/agent",
            command=_module("spillway.runtime.gateway.agent", routing=placed.routing),
            env={**environment, **placed.azure, **login},
            port=here.agent_port,
            health=f"http://127.0.0.1:{here.agent_port}/healthz",
            restart=True,
            inputs=_digest(placed.routing),
        )

    def _redis(self) -> Iterator[ProcessSpec]:
        folder = self._layout.state_dir / "redis"
        folder.mkdir(exist_ok=True)
        port = self._port("redis/server")
        command = (str(tools.redis_binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder))
        yield ProcessSpec("redis/server", (*command, "--save", "", "--appendonly", "no"), port=port, restart=True)

    def _dns(self) -> Iterator[ProcessSpec]:
        port = self._port("dns/server")
        command = _module(
            "spillway.twin.data_plane.processes.dns",
            aws=self._layout.endpoints["aws"],
            port=port,
            primary=ADDRESSES["private"],
            secondary=ADDRESSES["standby"],
        )
        yield ProcessSpec("dns/server", command, port=port, restart=True)

    def _trace_collector(self) -> Iterator[ProcessSpec]:
        """In place of the cluster's."""
        port = self._port(TRACES)
        command = _module("spillway.twin.data_plane.processes.trace_collector", port=port)
        yield ProcessSpec(TRACES, command, port=port, restart=True)

    def _functions(self, region: str) -> Iterator[ProcessSpec]:
        command = _module(
            "spillway.twin.data_plane.processes.functions",
            aws=self._layout.endpoints["aws"],
            region=region,
            state_dir=self._layout.state_dir / "functions",
        )
        azure = self._layout.endpoints["azure"]
        environment = {
            **self._aws_environment(region),
            "SPILLWAY_AZURE_ENDPOINT_URL": azure,
            "SPILLWAY_AZURE_LOGIN_URL": azure,
        }
        yield ProcessSpec("functions/runner", command, env=environment, restart=True)

    def _aws_environment(self, region: str, role: str = "private") -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self._credentials[role].access_key,
            "AWS_SECRET_ACCESS_KEY": self._credentials[role].secret_key,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL": self._layout.endpoints["aws"],
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def _tls_folder(self) -> Path:
        return self._layout.state_dir / "tls"

    def _port(self, name: str) -> int:
        return self._layout.ports.get(name)


def _gather(
    specs: list[ProcessSpec], problems: list[str], name: str, make: Callable[[], Iterator[ProcessSpec]]
) -> None:
    """A part that cannot be run here is a problem that is told, and no reason to run nothing."""
    try:
        specs += list(make())
    except (PackageFetchError, tools.ToolMissingError, TritonMissingError) as error:
        problems.append(f"{name}: {error}")
    except KeyError as error:
        problems.append(f"{name}: its config names {error.args[0]}, and nothing in this twin stands for it")


def _routes(tables: list[RoutingTable]) -> dict[str, SiteRoute]:
    """How the gateways reach each site; the private gateway's word goes first."""
    routes: dict[str, SiteRoute] = {}
    for table in tables:
        for route in table.sites:
            routes.setdefault(route.site, route)
    return routes


def _module(name: str, **options: object) -> tuple[str, ...]:
    flags = (part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value)))
    return (sys.executable, "-m", name, *flags)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _credentials(path: Path) -> Credentials:
    """Made once per twin, so that a restart does not change what the gateways sign with."""
    if path.is_file():
        return Credentials(**json.loads(path.read_text()))
    made = Credentials(f"AKIATWIN{secrets.token_hex(6).upper()}", secrets.token_urlsafe(30))
    write_private(path, json.dumps({"access_key": made.access_key, "secret_key": made.secret_key}))
    return made
