"""Which programs make the system, with which settings, in which order. Starts nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import functions
from jobs.settings import Settings
from local.api_address import ApiAddress
from local.data_folder import DataFolder
from local.embedded import SEAWEED_PORTS, Command, free_range, seaweed, valkey
from local.environment import accelerator_environ, base_environ, python_environ, user_settings
from local.probes import Probe, http_answers, redis_answers
from local.processes import Program
from local.secrets import kept_secret

__all__ = ["STOP_ORDER", "Plan", "make_plan"]

#: No new jobs, and the one at work stops; then what it replied is taken; then what all of them use.
STOP_ORDER = (("submit", "predictor"), ("broker",), ("completion", "reaper"), ("seaweed", "valkey"))
#: Seconds that each has to end. The longest of each group together are the longest time that all takes.
_STOP_SECONDS = {"submit": 4.0, "predictor": 4.0, "completion": 1.0, "reaper": 1.0, "seaweed": 3.0}

_LOOPBACK = "127.0.0.1"
_PACKAGES = Path(functions.__file__).parents[1]

#: What suits one machine better than the defaults, which are a cluster's. The user's own settings win.
_DEFAULTS = {
    "MOCHI_LEASE_SECONDS": "30",  # a job that a stop cut off goes on this long after the next start
    "MOCHI_POOL_GRACE_SECONDS": "60",  # the predictor is up before the Broker is: no cold start
}


@dataclass(frozen=True)
class Plan:
    """The programs, in groups that are started one after the other."""

    servers: tuple[Program, ...]  # none where the user has both of their own
    workers: tuple[Program, ...]  # those that events are sent to: all are ready before an event is
    doors: tuple[Program, ...]  # those through which jobs and events come in
    reaper: str  # where it is asked for a round
    lease_seconds: float  # a lease that a process took into the grave lasts so long

    @property
    def programs(self) -> tuple[Program, ...]:
        """All of them."""
        return (*self.servers, *self.workers, *self.doors)


def make_plan(
    settings: Settings, environ: Mapping[str, str], folder: DataFolder, address: ApiAddress
) -> Plan:
    """The plan for a data folder; writes the secrets and the servers' configuration into it.

    The user's own servers are used where REDIS_URL and AWS_S3_ENDPOINT name them. Raises OSError, and
    ConfigurationError where a server is not installed.
    """
    return _Planner(settings, environ, folder, address).plan()


class _Planner:
    def __init__(
        self, settings: Settings, environ: Mapping[str, str], folder: DataFolder, address: ApiAddress
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._folder = folder
        self._address = address
        self._base = base_environ(environ, folder)
        first = free_range(SEAWEED_PORTS + 5, spared=(address.port,))
        self._s3_port = first
        names = ("valkey", "completion", "reaper", "broker", "predictor")
        self._ports = {name: first + SEAWEED_PORTS + index for index, name in enumerate(names)}

    def plan(self) -> Plan:
        servers: list[Program] = []
        # The settings' has the password that REDIS_PASSWORD names.
        redis_url = self._settings.redis_url if self._environ.get("REDIS_URL") else self._valkey(servers)
        s3 = {name: value for name, value in self._environ.items() if name.startswith("AWS_") and value}
        if self._settings.aws_s3_endpoint is None:
            s3 = self._seaweed(servers)
        self._common = {
            **_DEFAULTS,
            **user_settings(self._environ),
            "REDIS_URL": redis_url,
            "K_SINK": f"{self._url('broker')}/video/default",
        }
        inner = [self._function(n, _LOOPBACK, self._ports[n], s3) for n in ("completion", "reaper")]
        submit = self._function("submit", self._address.host, self._address.port, s3)
        return Plan(
            servers=tuple(servers),
            workers=(*inner, self._predictor(s3)),
            doors=(self._broker(), submit),
            reaper=f"{self._url('reaper')}/",
            lease_seconds=Settings.from_environ({**_DEFAULTS, **user_settings(self._environ)}).lease_seconds,
        )

    def _valkey(self, servers: list[Program]) -> str:
        port, password = self._ports["valkey"], kept_secret(self._folder.secret("redis-password"))
        command = valkey(self._folder.path / "valkey", port, password)
        ready = redis_answers(_LOOPBACK, port, password)
        servers.append(self._server("valkey", command, f"redis://{_LOOPBACK}:{port}", ready))
        return f"redis://:{password}@{_LOOPBACK}:{port}/0"

    def _seaweed(self, servers: list[Program]) -> dict[str, str]:
        port, bucket = self._s3_port, self._settings.aws_s3_bucket
        access = kept_secret(self._folder.secret("s3-access-key"))
        secret = kept_secret(self._folder.secret("s3-secret-key"))
        endpoint = f"http://{_LOOPBACK}:{port}"
        command = seaweed(self._folder.path / "seaweed", port, access, secret, bucket)
        # It is up once it refuses who does not sign.
        ready = http_answers(_LOOPBACK, port, f"/{bucket}/", statuses=(403,))
        servers.append(self._server("seaweed", command, endpoint, ready))
        return {
            "AWS_S3_ENDPOINT": endpoint,
            "AWS_S3_BUCKET": bucket,
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": self._settings.aws_region,
        }

    def _function(self, name: str, host: str, port: int, s3: Mapping[str, str]) -> Program:
        argv = ["functions.serve", "--host", host, "--port", str(port)]
        environ = {
            **s3,
            "FUNCTION_TARGET": "main",
            "FUNCTION_SOURCE": str(_PACKAGES / "functions" / name / "main.py"),
        }
        reachable = ApiAddress(host, port)
        ready = http_answers(reachable.reachable, port, "/livez", "/healthz")
        return self._python(name, argv, environ, reachable.url, ready)

    def _predictor(self, s3: Mapping[str, str]) -> Program:
        port = self._ports["predictor"]
        environ = {
            **accelerator_environ(self._environ),
            **s3,
            "PORT": str(port),
            "MOCHI_HOST": _LOOPBACK,
            "SCRATCH_DIR": str(self._folder.scratch),
            # The job at work stops at its next step, with a checkpoint. A phase without steps has so long.
            "MOCHI_GRACE_SECONDS": "1",
        }
        ready = http_answers(_LOOPBACK, port, f"/v2/models/{self._settings.pool}/ready")
        # No limit for its start: a model may have to be fetched first.
        return self._python(
            "predictor", ["inference_service"], environ, self._url("predictor"), ready, ready_seconds=None
        )

    def _broker(self) -> Program:
        port = self._ports["broker"]
        addresses = {
            "Service/submit": self._address.url,
            "Service/completion": self._url("completion"),
            "Service/reaper": self._url("reaper"),
            "InferenceService/mochi-1": self._url("predictor"),
        }
        environ = {
            "PORT": str(port),
            "MOCHI_HOST": _LOOPBACK,
            "MOCHI_ADDRESSES": ",".join(f"{name}={url}" for name, url in addresses.items()),
        }
        ready = http_answers(_LOOPBACK, port, "/healthz")
        return self._python("broker", ["local.broker"], environ, self._url("broker"), ready)

    def _url(self, name: str) -> str:
        return f"http://{_LOOPBACK}:{self._ports[name]}"

    def _server(self, name: str, command: Command, address: str, ready: Probe) -> Program:
        return Program(
            name=name,
            argv=tuple(command.argv),
            environ={**self._base, **command.environ},
            address=address,
            log=self._folder.log(name),
            folder=self._folder.path,
            ready=ready,
            stop_seconds=_STOP_SECONDS.get(name, 1.5),
            litter=tuple(command.litter),
        )

    def _python(
        self,
        name: str,
        module: list[str],
        environ: Mapping[str, str],
        address: str,
        ready: Probe,
        ready_seconds: float | None = 60.0,
    ) -> Program:
        return Program(
            name=name,
            argv=(sys.executable, "-m", *module),
            environ={**self._base, **python_environ(_PACKAGES), **self._common, **environ},
            address=address,
            log=self._folder.log(name),
            folder=self._folder.path,
            ready=ready,
            ready_seconds=ready_seconds,
            stop_seconds=_STOP_SECONDS.get(name, 1.5),
        )
