"""Runs the deployed Lambda functions: on their schedules, and when an alarm, a topic, a queue or a caller asks.

Each call is a process of its own with the deployed archive, the function's environment and its time limit. Results and
errors go to this process's log. Schedules: EventBridge rules with ``rate(...)``, first run at once; ``cron(...)`` is
told and left out.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from spillway.twin.site import aws_client

POLL_S: Final = 1.0
SCHEDULES_S: Final = 5.0
"""Seconds between looks at the schedules."""
AT_ONCE: Final = 2
"""Calls at the same time: the twin shares its cores with three model servers."""
KEPT: Final = ("PATH", "HOME", "LANG", "SPILLWAY_TWIN")
_UNITS: Final = {"minute": 60, "hour": 3600, "day": 86400}

log = logging.getLogger("spillway.functions")


@dataclass(frozen=True)
class Function:
    """A deployed function. ``folder``: its unpacked archive."""

    name: str
    handler: str
    timeout_s: float
    memory_mb: int
    variables: dict[str, str] = field(repr=False)
    folder: Path = Path()


@dataclass(frozen=True)
class Schedule:
    """An event that is due every ``period_s`` seconds. ``payload`` makes it."""

    name: str
    function: str
    period_s: float
    payload: Callable[[], Any]


@dataclass(frozen=True)
class CallResult:
    """``error``: empty when the function returned; else the end of what it wrote."""

    function: str
    seconds: float
    value: Any = None
    error: str = ""


class Deployment:
    """The functions as the emulated AWS has them. Archives are unpacked below ``folder``, by their content."""

    def __init__(self, endpoint: str, region: str, folder: Path) -> None:
        self._endpoint = endpoint
        self._region = region
        self._folder = folder
        self._lambda = aws_client("lambda", endpoint, region)
        self._events = aws_client("events", endpoint, region)
        self._told: set[str] = set()

    def function(self, name: str) -> Function:
        """Raises botocore's ``ResourceNotFoundException`` when it is gone, ``OSError`` when its code cannot be had."""
        found = self._lambda.get_function_configuration(FunctionName=name)
        return Function(
            name=name,
            handler=found["Handler"],
            timeout_s=float(found["Timeout"]),
            memory_mb=found["MemorySize"],
            variables=found.get("Environment", {}).get("Variables", {}),
            folder=self._unpacked(name),
        )

    def schedules(self) -> Iterator[Schedule]:
        for rule in self._events.list_rules()["Rules"]:
            expression = rule.get("ScheduleExpression", "")
            if rule.get("State") != "ENABLED" or not expression:
                continue
            period = period_of(expression)
            if period is None:
                self._tell(f"rule {rule['Name']}: {expression} is recorded and not run")
                continue
            for target in self._events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
                function = _function_name(target["Arn"])
                if function:
                    yield Schedule(f"{rule['Name']}/{target['Id']}", function, period, _event(rule["Arn"], target))

    def invocations(self, after: int) -> list[dict[str, Any]]:
        """What somebody asked for since call number ``after``."""
        with urllib.request.urlopen(f"{self._endpoint}/_spillway/invocations?after={after}", timeout=10) as answer:
            return json.load(answer)["invocations"]

    def _unpacked(self, name: str) -> Path:
        with urllib.request.urlopen(f"{self._endpoint}/_spillway/code/{self._region}/{name}", timeout=30) as answer:
            archive = answer.read()
        folder = self._folder / hashlib.sha256(archive).hexdigest()
        if not folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=".fetch-", dir=self._folder))
            with zipfile.ZipFile(io.BytesIO(archive)) as content:
                content.extractall(fresh)
            try:
                fresh.rename(folder)
            except OSError:
                shutil.rmtree(fresh)
        return folder

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            log.warning(message)


def call(function: Function, payload: Any, environment: dict[str, str]) -> CallResult:
    """Run it to its end or its time limit. ``environment``: credentials and the address of the emulated AWS."""
    started = time.monotonic()
    # The function's own variables never win over where its calls go.
    variables = {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        **function.variables,
        **environment,
        "PYTHONPATH": str(function.folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "SPILLWAY_FUNCTION_TIMEOUT": str(function.timeout_s),
    }
    script = Path(__file__).with_name("function_call.py")
    command = [sys.executable, "-P", str(script), function.handler]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(payload),
            capture_output=True,
            text=True,
            env=variables,
            cwd=function.folder,
            timeout=function.timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        message = f"Task timed out after {function.timeout_s:.2f} seconds"
        return CallResult(function.name, time.monotonic() - started, error=message)
    seconds = time.monotonic() - started
    if done.returncode:
        return CallResult(function.name, seconds, error=done.stderr.strip()[-2000:] or f"exit {done.returncode}")
    return CallResult(function.name, seconds, json.loads(done.stdout.strip().splitlines()[-1]))


class Runner:
    """Looks for what is due and has it called. One function is never called twice at once."""

    def __init__(self, deployment: Deployment, environment: dict[str, str]) -> None:
        self._deployment = deployment
        self._environment = environment
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._last_run: dict[str, float] = {}
        self._busy: set[str] = set()
        self._after = 0
        self._schedules: list[Schedule] = []
        self._looked = float("-inf")

    def step(self, now: float) -> None:
        """``now``: on a monotonic clock."""
        if now - self._looked >= SCHEDULES_S:
            self._schedules = list(self._deployment.schedules())
            self._looked = now
        for schedule in self._schedules:
            due = self._last_run.get(schedule.name, float("-inf")) + schedule.period_s
            if now >= due and schedule.function not in self._busy:
                self._last_run[schedule.name] = now
                self._submit(schedule.function, schedule.payload(), "schedule")
        for asked in self._deployment.invocations(self._after):
            self._after = asked["number"]
            self._submit(asked["function"], asked["payload"], asked["source"])

    def _submit(self, name: str, payload: Any, source: str) -> None:
        self._busy.add(name)
        self._pool.submit(self._call, name, payload, source)

    def _call(self, name: str, payload: Any, source: str) -> None:
        try:
            result = call(self._deployment.function(name), payload, self._environment)
            if result.error:
                log.error("%s (%s) failed after %.1f s: %s", name, source, result.seconds, result.error)
            else:
                log.info("%s (%s) %.1f s: %s", name, source, result.seconds, json.dumps(result.value))
        except Exception:
            log.exception("%s (%s) could not be called", name, source)
        finally:
            self._busy.discard(name)


def period_of(expression: str) -> float | None:
    """Seconds of ``rate(1 minute)``; ``None`` for ``cron(...)``."""
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    return int(found[1]) * _UNITS[found[2]] if found else None


def _function_name(arn: str) -> str:
    parts = arn.split(":")
    return parts[6] if len(parts) > 6 and parts[2] == "lambda" else ""


def _event(rule_arn: str, target: dict[str, Any]) -> Callable[[], Any]:
    if "Input" in target:
        return lambda: json.loads(target["Input"])
    return lambda: {
        "version": "0",
        "source": "aws.events",
        "detail-type": "Scheduled Event",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resources": [rule_arn],
        "detail": {},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aws", required=True, help="base URL of the emulated AWS")
    parser.add_argument("--region", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    runner = Runner(Deployment(args.aws, args.region, args.state_dir), environment)
    while True:
        try:
            runner.step(time.monotonic())
        except Exception:
            log.exception("the emulated AWS could not be read")
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
