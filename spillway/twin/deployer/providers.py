"""Which stand-in serves a resource, and the provider resources that configure it."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from spillway.twin.deployer.api import DeployerError
from spillway.twin.deployer.checkpoint import State, provider_urn
from spillway.twin.deployer.goal import PROVIDER_PREFIX
from spillway.twin.provider import UNKNOWN, Properties, StandIn, UnknownTypeError
from spillway.twin.provider_values import unwrap


class StandIns:
    """The stand-ins by package. Each further provider of a package, such as one for another subscription, gets a copy
    with its own settings."""

    def __init__(self, stand_ins: Iterable[StandIn]) -> None:
        self._by_package = {stand_in.package: stand_in for stand_in in stand_ins}
        self._by_provider: dict[str, StandIn] = {}
        self._types: dict[str, frozenset[str]] = {}
        self._configured: dict[str, Properties] = {}
        self._lock = threading.Lock()

    @property
    def environment(self) -> dict[str, str]:
        """Of all stand-ins together."""
        return {name: value for one in self._by_package.values() for name, value in one.environment.items()}

    @contextmanager
    def reached_by_the_program(self) -> Iterator[None]:
        """While the program runs in this process, its own calls of an SDK go to the stand-ins, too."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

    def of(self, package: str) -> StandIn:
        try:
            return self._by_package[package]
        except KeyError:
            known = ", ".join(sorted(self._by_package)) or "none"
            raise DeployerError(f"No stand-in for the package {package!r}; there are: {known}.") from None

    def for_type(self, type_: str, provider: str) -> StandIn:
        """The stand-in of a resource type, as the provider of this reference was configured. Raises
        :class:`UnknownTypeError` when it has no row for it."""
        package = type_.split(":", 1)[0]
        stand_in = self._by_provider.get(provider_urn(provider)) or self.of(package)
        with self._lock:
            if package not in self._types:
                self._types[package] = stand_in.types()
            known = type_ in self._types[package]
        if not known:
            raise UnknownTypeError(f"the {package} stand-in has no row for the type {type_}")
        return stand_in

    def configure(self, urn: str, package: str, inputs: Properties) -> None:
        """Hand a provider's settings over; what is not known yet is left out."""
        config = {k: v for k, v in unwrap(inputs).items() if v is not UNKNOWN and k not in ("version", "__internal")}
        own = self.of(package)
        with self._lock:
            if self._configured.get(urn) == config:
                return
            taken = any(one is own and other != urn for other, one in self._by_provider.items())
            stand_in = self._by_provider.setdefault(urn, copy.copy(own) if taken else own)
            self._configured[urn] = config
            stand_in.configure(config)

    def configure_from(self, states: Iterable[State]) -> None:
        """Configure from the provider resources of a checkpoint."""
        for state in states:
            package = state.type.removeprefix(PROVIDER_PREFIX)
            if state.type.startswith(PROVIDER_PREFIX) and package in self._by_package:
                self.configure(state.urn, package, state.inputs)
