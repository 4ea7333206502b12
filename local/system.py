"""One running system: everything is checked, started in order, kept running, and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import ConfigurationError
from jobs.settings import Settings
from local.api_address import ApiAddress, check_free
from local.checks import check_installed, check_queues, check_storage, check_store
from local.data_folder import DataFolder, opened
from local.environment import base_environ
from local.errors import CannotStart
from local.log_files import keep_small
from local.nudges import Nudges
from local.pauses import GrowingPause
from local.plan import STOP_ORDER, Plan, make_plan
from local.processes import Program
from local.supervisor import Supervisor
from local.warden import Warden

__all__ = ["System", "Wanted", "running"]


@dataclass(frozen=True)
class Wanted:
    """What the user asks for."""

    address: ApiAddress
    data_dir: Path
    environ: Mapping[str, str]
    purpose: str  # what another who wants the same data folder is told
    changed: Callable[[Plan], Plan] = lambda plan: plan  # has the last word on what is started


@dataclass(frozen=True)
class System:
    """A system that is ready."""

    url: str
    programs: tuple[Program, ...]
    folder: DataFolder


@asynccontextmanager
async def running(
    wanted: Wanted,
    tell: Callable[[str], None],
    starting: Callable[[str], None],
    pause: Callable[[], GrowingPause] = GrowingPause,
) -> AsyncIterator[System]:
    """Start a system, and stop it at the end of the block, however that ends.

    `tell` takes a line about what happens while it runs; `starting` is told what is being started;
    `pause` makes, for each program, what it waits before it is started again.
    Raises CannotStart, when nothing of it is left running.
    """
    check_installed()
    settings = _settings(wanted.environ)
    check_queues(settings, wanted.environ)
    if not wanted.data_dir.exists():
        check_free(wanted.address)  # before a folder is made; where there is one, whose it is says more
    async with opened(wanted.data_dir, wanted.purpose) as folder:
        check_free(wanted.address)
        plan = _plan(wanted, settings, folder)
        held = (folder.descriptor,)
        litter = [path for program in plan.programs for path in program.litter]
        log, environ = folder.log("guardian"), base_environ(wanted.environ, folder)
        nudges = Nudges(plan.reaper, plan.lease_seconds)

        def again(name: str) -> None:
            if name == "predictor":
                nudges.begin()

        async with Warden(log, environ, held, litter) as warden, nudges:
            supervisor = Supervisor(warden, tell, held, pause, again)
            small = asyncio.create_task(keep_small([program.log for program in plan.programs]))
            try:
                await _start(supervisor, plan, settings, wanted.environ, starting)
                nudges.begin()
                yield System(wanted.address.url, plan.programs, folder)
            finally:
                small.cancel()
                await supervisor.stop(STOP_ORDER)


def _settings(environ: Mapping[str, str]) -> Settings:
    ours = ("PORT", "K_SINK", "MOCHI_HOST", "SCRATCH_DIR")  # whatever they are, `mochi up` sets them itself
    try:
        return Settings.from_environ({name: value for name, value in environ.items() if name not in ours})
    except ConfigurationError as error:
        raise CannotStart(str(error)) from None


def _plan(wanted: Wanted, settings: Settings, folder: DataFolder) -> Plan:
    try:
        return wanted.changed(make_plan(settings, wanted.environ, folder, wanted.address))
    except ConfigurationError as error:
        raise CannotStart(str(error)) from None
    except OSError as error:
        raise CannotStart.without(folder.path, error) from None


async def _start(
    supervisor: Supervisor,
    plan: Plan,
    settings: Settings,
    environ: Mapping[str, str],
    starting: Callable[[str], None],
) -> None:
    if environ.get("REDIS_URL"):
        starting("looking at REDIS_URL")
        await check_store(settings)
    if settings.aws_s3_endpoint is not None:
        starting("looking at AWS_S3_ENDPOINT")
        await check_storage(settings)
    for programs in (plan.servers, plan.workers, plan.doors):
        if programs:
            starting("starting " + ", ".join(program.name for program in programs))
            await supervisor.start(programs)
