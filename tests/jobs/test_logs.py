"""One line per fact, in JSON where nobody looks on, with who says it and about which job."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from jobs.logs import configure_logs, trace_id

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_of_json_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    configure_logs("submit", "auto", "info", stream)
    structlog.get_logger().info("claimed", job="job-1", attempt=2, queue="short-low", trace=TRACE)
    [line] = logged(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "claimed",
        "level": "info",
        "service": "submit",
        "job": "job-1",
        "attempt": 2,
        "queue": "short-low",
        "trace": TRACE,
    }


def test_a_readable_line_on_a_terminal() -> None:
    stream = Terminal()
    configure_logs("submit", "auto", "info", stream)
    structlog.get_logger().info("claimed", job="job-1")
    assert "claimed" in stream.getvalue()
    assert "job-1" in stream.getvalue()
    with pytest.raises(json.JSONDecodeError):
        logged(stream)


@pytest.mark.parametrize(("log_format", "stream"), [("json", Terminal()), ("console", io.StringIO())])
def test_the_setting_wins_over_the_terminal(log_format: str, stream: io.StringIO) -> None:
    configure_logs("submit", log_format, "info", stream)
    structlog.get_logger().info("claimed")
    assert stream.getvalue().startswith("{") == (log_format == "json")


def test_lines_of_libraries_look_the_same() -> None:
    stream = io.StringIO()
    configure_logs("reaper", "json", "info", stream)
    logging.getLogger("a.library").warning("said %s", "this", extra={"ignored": 1})
    [line] = logged(stream)
    assert (line["event"], line["level"], line["service"]) == ("said this", "warning", "reaper")


@pytest.mark.parametrize("by", ["structlog", "logging"])
def test_an_exception_is_one_line(by: str) -> None:
    stream = io.StringIO()
    configure_logs("reaper", "json", "info", stream)
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        if by == "structlog":
            structlog.get_logger().exception("failed", job="job-1")
        else:
            logging.getLogger("a.library").exception("failed")
    [line] = logged(stream)
    assert (line["event"], line["level"]) == ("failed", "error")
    assert "RuntimeError: first\nsecond" in line["exception"]


@pytest.mark.parametrize("by", ["structlog", "logging"])
def test_a_traceback_on_a_terminal_shows_no_local_variable(by: str) -> None:
    stream = Terminal()
    configure_logs("submit", "auto", "info", stream)
    secret = "-".join(["hush", "hush"])  # so that no line of this source holds it
    try:
        raise RuntimeError(f"of {len(secret)} characters")
    except RuntimeError:
        if by == "structlog":
            structlog.get_logger().exception("failed", job="job-1")
        else:
            logging.getLogger("a.library").exception("failed")
    text = stream.getvalue()
    assert "RuntimeError: of 9 characters" in text
    assert "Traceback (most recent call last)" in text
    assert "hush-hush" not in text


def test_what_is_bound_to_the_context_is_in_every_line() -> None:
    stream = io.StringIO()
    configure_logs("submit", "json", "info", stream)
    with structlog.contextvars.bound_contextvars(job="job-1", trace=TRACE):
        structlog.get_logger().info("one")
        logging.getLogger("a.library").warning("two")
    structlog.get_logger().info("three")
    one, two, three = logged(stream)
    assert one["job"] == two["job"] == "job-1"
    assert "job" not in three


def test_a_service_can_be_named_by_the_line() -> None:
    stream = io.StringIO()
    configure_logs("up", "json", "info", stream)
    structlog.get_logger().info("started", service="submit")
    assert logged(stream)[0]["service"] == "submit"


def test_the_level_is_the_least_that_is_shown() -> None:
    stream = io.StringIO()
    configure_logs("submit", "json", "warning", stream)
    structlog.get_logger().info("hidden")
    structlog.get_logger().warning("seen")
    logging.getLogger("a.library").info("hidden")
    logging.getLogger("httpx").info("hidden: it would log URLs with signatures")
    assert [line["event"] for line in logged(stream)] == ["seen"]


def test_chatty_libraries_stay_quiet() -> None:
    stream = io.StringIO()
    configure_logs("submit", "json", "debug", stream)
    for name in ("httpx", "httpcore", "botocore", "urllib3", "uvicorn.access"):
        logging.getLogger(name).info("hidden: it may hold a signed URL")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", "line\nend", "\ud800"])
def test_any_value_makes_one_line(value: object) -> None:
    stream = io.StringIO()
    configure_logs("submit", "json", "info", stream)
    structlog.get_logger().info("odd", value=value)
    assert len(logged(stream)) == 1
    stream.getvalue().encode()


def test_configuring_twice_does_not_double_the_lines() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logs("submit", "json", "info", first)
    configure_logs("submit", "json", "info", second)
    structlog.get_logger().info("once")
    assert first.getvalue() == ""
    assert len(logged(second)) == 1


@pytest.mark.parametrize(
    ("traceparent", "trace"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f"cc-{TRACE}-b7ad6b7169203331-01-more", TRACE),
        ("", None),
        ("nonsense", None),
        ("00-short-b7ad6b7169203331-01", None),
        (f"00-{TRACE}", None),
    ],
)
def test_the_trace_of_a_traceparent(traceparent: str, trace: str | None) -> None:
    assert trace_id(traceparent) == trace
