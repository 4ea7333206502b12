"""`python -m inference_service`: the predictor's process. It takes settings from the environment only."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Mapping

import structlog

from jobs.errors import MochiError
from jobs.job import Phase
from jobs.logs import configure_logs
from jobs.settings import Settings


def main(phase_limits: Mapping[Phase, float] | None = None) -> int:
    """Serve until SIGTERM; the exit code. `phase_limits`: seconds, instead of the lease keeper's."""
    if len(sys.argv) > 1:
        # KServe parses argv when it is imported, and would take what it knows and pass over the rest.
        print("python -m inference_service takes no arguments, only settings", file=sys.stderr)  # noqa: T201
        return 2
    try:
        settings = Settings.from_environ(os.environ)
    except MochiError as error:
        print(f"inference_service: {error}", file=sys.stderr)  # noqa: T201  # before there is a log
        return 1
    configure_logs("predictor", settings.log_format, settings.log_level)
    _quieten()
    # Idle OpenMP threads would spin otherwise, on cores that others need. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from inference_service.lease_keeper import PHASE_LIMITS
    from inference_service.pipeline import DeviceLost
    from inference_service.server import PredictorServer  # imports kserve: after argv and the logs

    log = structlog.get_logger(__name__)
    try:
        server = PredictorServer(settings, phase_limits or PHASE_LIMITS)
    except MochiError as error:
        log.error("cannot_start", reason=str(error))
        return 1
    server.start([])
    code = 0
    if server.failure is not None:
        lost = isinstance(server.failure, DeviceLost)
        log.error("device_lost" if lost else "cannot_start", reason=str(server.failure), exit_code=1)
        code = 1
    if server.stuck:
        logging.shutdown()
        os._exit(code)  # the interpreter would wait for the thread that is still at work
    return code


class _ExpectedKServeErrors(logging.Filter):
    """Drops the stack traces that KServe logs for its ordinary answers, such as a probe's 404."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        return kind is None or kind.__name__ not in ("ModelNotFound", "ModelNotReady", "InvalidInput")


def _quieten() -> None:
    """Leave out what KServe and its libraries say at every start or request and nobody can act on."""
    logging.getLogger("kserve").setLevel(logging.WARNING)
    logging.getLogger("kserve").addFilter(_ExpectedKServeErrors())
    logging.getLogger("kserve.trace").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")


if __name__ == "__main__":
    sys.exit(main())
