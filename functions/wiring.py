"""What each function process is made of. Nothing else builds clients.

Making a client connects to nothing. That of the object store is made on first use: a process that never
touches it never loads boto3.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from eventing.publisher import HttpPublisher, Publisher
from jobs.errors import ConfigurationError
from jobs.logs import configure_logs
from jobs.settings import Settings
from jobs.store import JobStore

if TYPE_CHECKING:
    from jobs.storage import VideoStorage

__all__ = ["Wiring", "wire"]

#: uvicorn and gunicorn both take it for "the worker could not start", and gunicorn stops for good.
_EXIT_CANNOT_START = 3


class Wiring:
    """The settings of a function process, and its clients."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError where a setting is missing or no client can be made of it."""
        if settings.k_sink is None:
            raise ConfigurationError("K_SINK: is missing; the URL of the Broker is needed")
        self.settings = settings
        self.store = JobStore.connect(settings)
        self.publisher: Publisher = HttpPublisher(settings.k_sink)

    @cached_property
    def storage(self) -> VideoStorage:
        """Where videos are kept. The first use takes some 0.3 s: call it in a thread."""
        from jobs.storage import S3VideoStorage

        return S3VideoStorage(self.settings)


def wire(service: str, environ: Mapping[str, str] = os.environ) -> Wiring:
    """The wiring of this process, its logs configured.

    A wrong setting ends the process with one line on standard error. It cannot be raised: functions load
    while uvicorn starts, and uvicorn takes an error of that time for an app without a lifespan.
    """
    try:
        wiring = Wiring(Settings.from_environ(environ))
    except ConfigurationError as error:
        _exit(service, error)
    configure_logs(service, wiring.settings.log_format, wiring.settings.log_level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        # Their own handlers write another format; the root's renders them like everything else.
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    return wiring


def _exit(service: str, error: ConfigurationError) -> NoReturn:
    sys.stderr.write(f"{service}: {error}\n")
    sys.stderr.flush()
    os._exit(_EXIT_CANNOT_START)
