"""What is checked before anything is started, so that a wrong setting is said in one line."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec

from jobs.errors import ConfigurationError, StorageUnavailable, StoreUnavailable
from jobs.settings import Settings
from local.errors import CannotStart

__all__ = ["check_installed", "check_queues", "check_storage", "check_store"]

#: One module of each thing that the extras of `local` bring.
_MODULES = ("av", "boto3", "diffusers", "functions_framework", "kserve", "redis", "torch", "uvicorn", "yaml")


def check_installed(modules: tuple[str, ...] = _MODULES) -> None:
    """Raise CannotStart if a part of the system is not installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise CannotStart(
            f"not installed: {', '.join(missing)}: run `pip install 'mochi-functions[local]'` first"
        )


def check_queues(settings: Settings, environ: Mapping[str, str]) -> None:
    """Raise CannotStart where no Trigger takes the events of a queue: its jobs would wait for ever."""
    from eventing.events import Requested
    from local.broker.settings import manifests_folder
    from local.manifests import load

    folder = manifests_folder(environ)
    try:
        triggers = load(folder).triggers
    except ConfigurationError as error:
        raise CannotStart(f"MOCHI_MANIFESTS: {error}") from None
    for queue in settings.queues:
        event = {"type": Requested.type, "queue": queue}
        if not any(trigger.filter.matches(event) for trigger in triggers):
            raise CannotStart(
                f"MOCHI_QUEUES: no Trigger in {folder} takes the events of {queue!r}: leave that queue out, "
                "or set MOCHI_MANIFESTS to a folder with a Trigger for it"
            )


async def check_store(settings: Settings) -> None:
    """Raise CannotStart unless the user's own Redis answers and takes writes."""
    from jobs.store import JobStore

    store = JobStore.connect(settings)
    try:
        await store.ping()
    except (ConfigurationError, StoreUnavailable) as error:
        raise CannotStart(
            f"REDIS_URL: {error}: correct it or its password, or unset it for the Redis that comes along"
        ) from None
    finally:
        await store.close()


async def check_storage(settings: Settings) -> None:
    """Raise CannotStart unless the user's own object store takes our credentials and has our bucket."""
    from jobs.storage import S3VideoStorage

    try:
        await _in_thread(S3VideoStorage(settings).check)
    except (ConfigurationError, StorageUnavailable) as error:
        raise CannotStart(
            f"AWS_S3_ENDPOINT: {error}: correct it, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_S3_BUCKET"
        ) from None


async def _in_thread(call: Callable[[], None]) -> None:
    """Like asyncio.to_thread, in a daemon thread: a Ctrl-C need not wait for a server that is silent."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            call()
        except Exception as raised:  # noqa: BLE001  # handed over
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, daemon=True).start()
    await done
