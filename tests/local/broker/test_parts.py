"""Durations, filters and the clock of PingSources."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.broker.durations import parse_duration
from local.broker.filters import parse_attributes, parse_filters
from local.broker.pings import Ping, pings_of
from local.manifests import load
from tests.local.broker.recorder import Answer, Recorder
from tests.local.broker.support import LocalBroker, write, write_manifests


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT2S", 2),
        ("PT0.5S", 0.5),
        ("PT0.05S", 0),
        ("PT1.25S", 1.2),
        ("PT1M30S", 90),
        ("PT1H", 3600),
        ("P1DT1S", 86401),
        ("PT0S", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "2S", "PT2", "PT-1S", "pt1s", "PT1.S", "P1M", 3, None]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="is no ISO 8601 duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ([{"exact": {"type": "a"}}], True),
        ([{"exact": {"type": "b"}}], False),
        ([{"exact": {"type": "a", "queue": "q"}}], True),
        ([{"exact": {"type": "a", "other": "q"}}], False),
        ([{"exact": {"type": "a"}}, {"exact": {"queue": "r"}}], False),
        ([{"any": [{"exact": {"type": "b"}}, {"exact": {"queue": "q"}}]}], True),
        ([{"any": [{"exact": {"type": "b"}}, {"exact": {"queue": "r"}}]}], False),
        ([{"all": [{"exact": {"type": "a"}}, {"exact": {"queue": "q"}}]}], True),
        ([{"all": [{"exact": {"type": "a"}}, {"any": [{"exact": {"queue": "r"}}]}]}], False),
    ],
)
def test_filters(filters: object, matches: bool) -> None:
    assert parse_filters(filters, "filters").matches({"type": "a", "queue": "q"}) is matches


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [({"type": "a"}, True), ({"type": ""}, True), ({"other": ""}, False), ({"type": "b"}, False)],
)
def test_the_older_filter(wanted: dict[str, str], matches: bool) -> None:
    assert parse_attributes({"attributes": wanted}, "filter").matches({"type": "a"}) is matches


def ping(folder: Path, **spec: object) -> Ping:
    write_manifests(folder, [])
    path = folder / "ping.yaml"
    write(path, "sources.knative.dev/v1", "PingSource", "p", {"sink": {"uri": "http://sink"}, **spec})
    (found,) = pings_of(load(folder), {})
    return found


@pytest.mark.parametrize(
    ("schedule", "timezone", "seconds"),
    [
        ("* * * * *", "UTC", 30),
        ("*/10 * * * * *", "UTC", 10),
        ("0 13 * * *", "UTC", 3570),
        ("0 14 * * *", "Europe/Berlin", 3570),
    ],
)
def test_when_an_event_is_due(tmp_path: Path, schedule: str, timezone: str, seconds: float) -> None:
    now = datetime(2030, 1, 1, 12, 0, 30, tzinfo=UTC)
    assert ping(tmp_path, schedule=schedule, timezone=timezone).seconds_to_next(now) == seconds


def test_an_event_of_a_ping_source(tmp_path: Path) -> None:
    event = ping(tmp_path, data="{}", contentType="application/json").event(datetime(2030, 1, 1, tzinfo=UTC))
    assert event.attributes["type"] == "dev.knative.sources.ping"
    assert event.attributes["source"] == "/apis/v1/namespaces/video/pingsources/p"
    assert event.attributes["time"] == "2030-01-01T00:00:00Z"
    assert (event.attributes["datacontenttype"], event.data) == ("application/json", b"{}")


def test_a_ping_source_calls_its_sink_again_and_again(tmp_path: Path, redis_url: str) -> None:
    with Recorder() as recorder:
        recorder.answer("/ping", Answer(503), Answer(200, {}, b"any text"))
        address = recorder.url("/")
        broker = LocalBroker(tmp_path, redis_url, f"Service/reaper={address}")
        write_manifests(broker.manifests, [])
        ref = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "reaper"}
        spec = {"schedule": "* * * * * *", "sink": {"ref": ref, "uri": "/ping"}}
        write(broker.manifests / "ping.yaml", "sources.knative.dev/v1", "PingSource", "p", spec)
        try:
            broker.start()
            first, again, second = recorder.wait("/ping", 3)[:3]
        finally:
            broker.close()
    assert first.id == again.id != second.id
    assert first.headers["ce-type"] == "dev.knative.sources.ping"
