"""What the broker does not understand in a manifest is refused, with file, resource and field."""

from __future__ import annotations

import copy
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.errors import ConfigurationError
from local.broker.pings import pings_of
from local.broker.routes import parse_addresses, routes_of
from local.manifests import ManifestError, load
from tests.local.broker.support import ROOT, LocalBroker, write_manifests

BROKER = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Broker",
    "metadata": {"name": "default", "namespace": "video"},
    "spec": {"delivery": {"retry": 2, "backoffDelay": "PT3S"}},
}
TRIGGER = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Trigger",
    "metadata": {"name": "t", "namespace": "video"},
    "spec": {
        "broker": "default",
        "filters": [{"exact": {"type": "a"}}],
        "subscriber": {
            "ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "s"},
            "uri": "/events",
        },
        "delivery": {
            "retry": 1,
            "backoffPolicy": "linear",
            "backoffDelay": "PT0.5S",
            "timeout": "PT1M30S",
            "deadLetterSink": {"uri": "http://dead/letters"},
        },
    },
}
PING = {
    "apiVersion": "sources.knative.dev/v1",
    "kind": "PingSource",
    "metadata": {"name": "p", "namespace": "video"},
    "spec": {"schedule": "*/5 * * * *", "sink": {"uri": "http://sink"}},
}
ADDRESSES = {"Service/s": "http://127.0.0.1:1"}


def written(folder: Path, *resources: dict[str, Any]) -> Path:
    (folder / "all.yaml").write_text(yaml.safe_dump_all(resources))
    return folder


def changed(resource: dict[str, Any], change: Callable[[Any], object]) -> dict[str, Any]:
    copied = copy.deepcopy(resource)
    change(copied["spec"])
    return copied


def test_a_trigger_is_read(tmp_path: Path) -> None:
    (route,) = routes_of(load(written(tmp_path, BROKER, TRIGGER)), ADDRESSES).all
    assert (route.broker, route.trigger) == ("video/default", "video/t")
    assert route.subscriber == "http://127.0.0.1:1/events"
    assert (route.policy.retry, route.policy.timeout) == (1, 90)
    assert route.policy.dead_letters == "http://dead/letters"
    assert [route.policy.backoff(n) for n in (1, 2, 3)] == [0, 0.5, 1]


def test_a_trigger_without_a_delivery_has_the_brokers(tmp_path: Path) -> None:
    trigger = changed(TRIGGER, lambda spec: spec.pop("delivery"))
    (route,) = routes_of(load(written(tmp_path, BROKER, trigger)), ADDRESSES).all
    assert route.policy.retry == 2
    assert [route.policy.backoff(n) for n in (1, 2, 3)] == [3, 6, 12]


def test_a_delivery_replaces_the_brokers_as_a_whole(tmp_path: Path) -> None:
    trigger = changed(TRIGGER, lambda spec: spec.update(delivery={"timeout": "PT1S"}))
    (route,) = routes_of(load(written(tmp_path, BROKER, trigger)), ADDRESSES).all
    assert (route.policy.retry, route.policy.dead_letters) == (0, None)


def test_other_kinds_and_patches_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "overlays" / "large").mkdir(parents=True)
    (tmp_path / "overlays" / "large" / "broker.yaml").write_text(yaml.safe_dump(BROKER))
    other = {"apiVersion": "example.com/v1", "kind": "Trigger", "spec": {"any": "thing"}}
    manifests = load(written(tmp_path, BROKER, other, {"kind": "Kustomization"}))
    assert (len(manifests.brokers), manifests.triggers) == (1, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(filters=[{"cesql": "true"}]), "filters[0]: the filter 'cesql' is not known here"),
        (
            lambda s: s.update(filters=[{"any": [{"prefix": {"type": "a"}}]}]),
            "the filter 'prefix' is not known",
        ),
        (lambda s: s.update(filters=[{"exact": {"a": "1"}, "any": []}]), "filters[0]: is not one filter"),
        (
            lambda s: s.update(filters=[{"exact": {"attempt": 1}}]),
            "filters[0].exact.attempt: 1 is not allowed",
        ),
        (lambda s: s.update(filters=[{"exact": {}}]), "filters[0].exact"),
        (lambda s: s.update(filters={"exact": {}}), "filters: is no list"),
        (lambda s: s.update(filters=[{"all": []}]), "filters[0].all: is no list"),
        (lambda s: s.pop("filters") and s.update(filter={"sql": ""}), "filter: only `attributes`"),
        (lambda s: s.update(broker="other"), "spec.broker: there is no Broker 'other' in video"),
        (lambda s: s.update(retries=1), "spec.retries: is not known here"),
        (lambda s: s["delivery"].update(retries=1), "spec.delivery.retries: is not known here"),
        (lambda s: s["delivery"].update(retry="3"), "spec.delivery.retry: '3' is not allowed"),
        (lambda s: s["delivery"].update(retry=True), "spec.delivery.retry: True is not allowed"),
        (lambda s: s["delivery"].update(retry=-1), "spec.delivery.retry: -1 is not allowed"),
        (lambda s: s["delivery"].update(backoffPolicy="cubic"), "spec.delivery.backoffPolicy: 'cubic'"),
        (
            lambda s: s["delivery"].update(backoffDelay="2s"),
            "spec.delivery.backoffDelay: '2s' is no ISO 8601",
        ),
        (lambda s: s["delivery"].update(timeout=30), "spec.delivery.timeout: 30 is no ISO 8601"),
        (
            lambda s: s["delivery"].update(deadLetterSink={}),
            "deadLetterSink: needs a ref, or an absolute uri",
        ),
        (lambda s: s["subscriber"]["ref"].update(name="x"), "subscriber.ref: Service/x has no address"),
        (lambda s: s["subscriber"]["ref"].pop("kind"), "subscriber.ref: needs a kind and a name"),
        (lambda s: s.update(subscriber={"uri": "/events"}), "subscriber: needs a ref, or an absolute uri"),
        (lambda s: s.pop("subscriber"), "spec.subscriber: is no mapping"),
    ],
)
def test_a_wrong_trigger_is_refused(tmp_path: Path, change: Callable[[Any], object], message: str) -> None:
    written(tmp_path, BROKER, changed(TRIGGER, change))
    with pytest.raises(ManifestError, match=re.escape(message)) as raised:
        routes_of(load(tmp_path), ADDRESSES)
    assert str(raised.value).startswith(f"{tmp_path}/all.yaml: Trigger t: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(schedule="every minute"), "spec.schedule: 'every minute' is no cron schedule"),
        (lambda s: s.update(schedule="@every 1m"), "spec.schedule: '@every 1m' is no cron schedule"),
        (lambda s: s.update(timezone="Mars/Phobos"), "spec.timezone: 'Mars/Phobos' is no time zone"),
        (lambda s: s.update(delivery={}), "spec.delivery: is not known here"),
        (lambda s: s.update(data=1), "spec.data: is no text"),
        (lambda s: s.update(sink={"ref": {"kind": "Service", "name": "x"}}), "Service/x has no address"),
    ],
)
def test_a_wrong_ping_source_is_refused(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    written(tmp_path, BROKER, changed(PING, change))
    with pytest.raises(ManifestError, match=re.escape(message)) as raised:
        pings_of(load(tmp_path), ADDRESSES)
    assert str(raised.value).startswith(f"{tmp_path}/all.yaml: PingSource p: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is no YAML"),
        (yaml.safe_dump_all([BROKER, BROKER]), "is there twice"),
        ("", "no Broker manifest is in this folder"),
        (yaml.safe_dump(BROKER | {"metadata": {}}), "metadata.name is missing"),
        (yaml.safe_dump(BROKER | {"spec": ["delivery"]}), "spec: is no mapping"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "some.yaml").write_text(text)
    with pytest.raises(ManifestError, match=message) as raised:
        load(tmp_path)
    assert str(raised.value).startswith(str(tmp_path))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is no folder of manifests"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text", ["submit=http://a", "Service/submit", "Service/submit=ftp://a", "/a=http://a"]
)
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="MOCHI_ADDRESSES"):
        parse_addresses(text)


def start(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local.broker"],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "Trigger completion: spec.subscriber.ref: Service/completion has no address"),
        ({"MOCHI_MANIFESTS": "/nowhere"}, "/nowhere: is no folder of manifests"),
        ({"PORT": "http"}, "PORT: 'http' is no"),
        ({"REDIS_URL": "http://:secret@redis"}, "REDIS_URL: not a URL"),
    ],
)
def test_a_process_that_cannot_start_says_why_in_one_line(environ: dict[str, str], message: str) -> None:
    ended = start(environ)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert ended.stderr.startswith("broker: ")
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr


def test_a_port_in_use_is_named(tmp_path: Path, redis_url: str) -> None:
    broker = LocalBroker(tmp_path, redis_url)
    try:
        url = broker.deploy([])
        port = url.split(":")[2].split("/")[0]
        write_manifests(tmp_path / "others", [])
        ended = start({**broker.environ, "MOCHI_MANIFESTS": str(tmp_path / "others"), "PORT": port})
    finally:
        broker.close()
    assert ended.returncode == 1
    assert f"PORT: cannot listen on 127.0.0.1:{port}: Address already in use" in ended.stderr


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_it_listens_on_ipv6(tmp_path: Path, redis_url: str) -> None:
    broker = LocalBroker(tmp_path, redis_url)
    broker.environ["MOCHI_HOST"] = "::1"
    try:
        assert broker.deploy([]).startswith("http://[::1]:")
        assert broker.post("test.event", "1") == 202
    finally:
        broker.close()
