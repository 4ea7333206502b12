"""The exit codes of the `mochi` command, for scripts."""

from __future__ import annotations

from enum import IntEnum

from mochi.errors import BadRequest as _BadRequest
from mochi.errors import (
    Conflict,
    InvalidArgument,
    JobCancelled,
    JobFailed,
    NotFound,
    Timeout,
    Unavailable,
    Unreachable,
)

__all__ = ["ExitCode", "exit_code_of", "table"]


class ExitCode(IntEnum):
    """Each with its meaning, which `mochi --help` prints."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        """An integer that knows its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "done"
    JOB_FAILED = 1, "the job failed, or the system of `up` and `demo` could not start"
    BAD_REQUEST = 2, "wrong usage, or a request that the server refuses"
    UNAVAILABLE = 3, "the server cannot be reached, or cannot serve now"
    NOT_FOUND = 4, "there is no such job, or its video is gone"
    CANCELLED = 5, "the job was cancelled"
    TIMEOUT = 6, "the time given with --timeout is over; the job goes on"
    CONFLICT = 7, "the job's status does not allow it: no video yet, or too late to cancel"
    BROKEN = 8, "anything else: a wrong answer, a download that does not check out, a file error"
    INTERRUPTED = 130, "Ctrl-C; the job goes on"
    BROKEN_PIPE = 141, "the reader of the output went away"


_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (JobFailed, ExitCode.JOB_FAILED),
    (JobCancelled, ExitCode.CANCELLED),
    (InvalidArgument, ExitCode.BAD_REQUEST),
    (_BadRequest, ExitCode.BAD_REQUEST),
    (Unreachable, ExitCode.UNAVAILABLE),
    (Unavailable, ExitCode.UNAVAILABLE),
    (NotFound, ExitCode.NOT_FOUND),
    (Conflict, ExitCode.CONFLICT),
    (Timeout, ExitCode.TIMEOUT),
)


def exit_code_of(error: Exception) -> ExitCode:
    """The exit code that an error ends the command with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.BROKEN)


def table() -> str:
    """The codes and their meanings, a line each."""
    return "\n".join(f"{code.value:>5}  {code.meaning}" for code in ExitCode)
