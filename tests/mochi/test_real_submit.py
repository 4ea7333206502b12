"""The client and the command against the real submit function, its Redis and its object store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner, Result

from jobs.job import Phase
from jobs.settings import Settings
from jobs.storage import S3VideoStorage
from jobs.store import JobStore
from mochi import (
    BadRequest,
    CannotCancel,
    Client,
    Event,
    JobCancelled,
    JobFailed,
    NotFound,
    NotReady,
    Status,
    Unavailable,
)
from mochi.cli import app
from tests.functions.lives import VIDEO, claimed, failed, finish, outcome_with_video, step
from tests.functions.support import function, recording_broker
from tests.mochi.clients import Make

BACKLOG_LIMIT = 3

#: Does with the store what a predictor would.
Act = Callable[[Callable[[JobStore], Awaitable[object]]], None]


@pytest.fixture(scope="module")
def settings(redis_url: str, s3_settings: Settings) -> Iterator[Settings]:
    with recording_broker() as broker:
        yield replace(
            s3_settings,
            redis_url=redis_url.removesuffix("/0") + "/6",  # no other test's database
            k_sink=broker.url,
            model_name="mochi-1-preview",
            backlog_limit=BACKLOG_LIMIT,
        )


@pytest.fixture(scope="module")
def url(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    environ = {
        "REDIS_URL": settings.redis_url,
        "K_SINK": str(settings.k_sink),
        "AWS_S3_ENDPOINT": str(settings.aws_s3_endpoint),
        "AWS_S3_BUCKET": settings.aws_s3_bucket,
        "AWS_ACCESS_KEY_ID": settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.aws_secret_access_key,
        "MODEL_NAME": settings.model_name,
        "MOCHI_BACKLOG_LIMIT": str(settings.backlog_limit),
    }
    with function("submit", environ, tmp_path_factory.mktemp("submit")) as running:
        yield running.url


@pytest.fixture(autouse=True)
def _no_jobs(settings: Settings) -> None:
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushdb()


@pytest.fixture
def client(make: Make, url: str) -> Client:
    return make(url)


@pytest.fixture
def act(settings: Settings) -> Act:
    def run(deed: Callable[[JobStore], Awaitable[object]]) -> None:
        async def with_store() -> None:
            store = JobStore.connect(settings)
            try:
                await deed(store)
            finally:
                await store.close()

        asyncio.run(with_store())

    return run


@pytest.fixture
def mochi(url: str) -> Callable[..., Result]:
    def run(*args: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(args), input=stdin, env={"MOCHI_URL": url})

    return run


def to_completion(job_id: str, settings: Settings) -> Callable[[JobStore], Awaitable[object]]:
    async def deed(store: JobStore) -> None:
        lease = await claimed(store, job_id)
        await step(store, lease, 12)
        await store.renew(lease, Phase.UPLOADING, 24)
        await finish(store, lease, outcome_with_video(lease, settings, S3VideoStorage(settings)))

    return deed


def test_a_job_is_recorded_read_and_listed(client: Client) -> None:
    job = client.submit("a red circle — moving right", quality="low", num_frames=7, seed=5)
    assert job.status is Status.PENDING
    assert (job.request.num_inference_steps, job.request.num_frames, job.request.seed) == (24, 7, 5)
    assert job.created_at is not None
    assert client.get(job.id).id == job.id
    others = [client.submit(f"number {n}").id for n in range(2)]
    assert [j.id for j in client.list()] == [*reversed(others), job.id]
    assert [j.id for j in client.list(limit=2)] == [*reversed(others)]
    page = client.page(limit=1)
    assert page.next_cursor is not None
    assert client.page(limit=1, cursor=page.next_cursor).jobs[0].id == others[0]


def test_one_key_makes_one_job(client: Client) -> None:
    first = client.submit("a red circle", idempotency_key="order-1")
    assert client.submit("a red circle", idempotency_key="order-1").id == first.id
    with pytest.raises(BadRequest, match="new key"):
        client.submit("a blue circle", idempotency_key="order-1")
    assert len(list(client.list())) == 1


def test_every_wrong_field_is_named(client: Client) -> None:
    with pytest.raises(BadRequest) as caught:
        client.submit(" ", width=850, num_frames=8, quality="best")
    assert {e.field for e in caught.value.errors} == {"prompt", "width", "num_frames", "quality"}
    with pytest.raises(BadRequest, match="cursor"):
        client.page(cursor="made-up")
    assert not list(client.list())


def test_a_job_is_watched_to_its_video(client: Client, act: Act, settings: Settings, tmp_path: Path) -> None:
    job = client.submit("a red circle", quality="low")
    seen: list[Event] = []
    for event in client.watch(job.id):
        if not seen:
            act(to_completion(job.id, settings))
        seen.append(event)
    assert [e.status for e in seen][:1] == ["pending"]
    assert "processing" in {e.status for e in seen}
    assert (seen[-1].status, seen[-1].progress) == ("completed", 1.0)
    assert [int(e.id) for e in seen] == sorted({int(e.id) for e in seen})
    assert [e.id for e in client.watch(job.id, last_event_id=seen[0].id)] == [e.id for e in seen[1:]]
    assert client.wait(job.id).video == client.download(job.id, tmp_path / "a.mp4").video
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert client.result_url(job.id).startswith(str(settings.aws_s3_endpoint))


def test_a_download_goes_on_where_it_stopped(
    client: Client, act: Act, settings: Settings, tmp_path: Path
) -> None:
    job = client.submit("a red circle", quality="low")
    act(to_completion(job.id, settings))
    (tmp_path / "a.mp4.part").write_bytes(VIDEO[:500_000])
    fetched: list[int] = []
    client.download(job.id, tmp_path / "a.mp4", progress=lambda done, _total: fetched.append(done))
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    assert fetched[0] > 500_000


def test_cancelling_while_watched(client: Client, act: Act) -> None:
    job = client.submit("a red circle")
    statuses: list[Status] = []
    for event in client.watch(job.id):
        if not statuses:
            assert client.cancel(job.id).status is Status.CANCELLED
        statuses.append(event.status)
    assert statuses[-1] is Status.CANCELLED
    assert client.cancel(job.id).status is Status.CANCELLED
    with pytest.raises(JobCancelled):
        client.wait(job.id)
    working = client.submit("a blue circle")
    act(lambda store: claimed(store, working.id))
    assert client.cancel(working.id).cancel_requested


def test_a_job_that_failed_says_why(client: Client, act: Act, tmp_path: Path) -> None:
    job = client.submit("a red circle")
    with pytest.raises(NotReady, match="is pending"):
        client.download(job.id, tmp_path / "a.mp4")
    with pytest.raises(NotReady):
        client.result_url(job.id)

    async def fail(store: JobStore) -> None:
        lease = await claimed(store, job.id)
        await finish(store, lease, failed(lease))

    act(fail)
    with pytest.raises(JobFailed, match="too large for this GPU"):
        client.wait(job.id)
    with pytest.raises(CannotCancel):
        client.cancel(job.id)


@pytest.mark.parametrize("job_id", ["0" * 32, "nobody"])
def test_an_unknown_job(client: Client, job_id: str) -> None:
    for call in (client.get, client.cancel, client.wait):
        with pytest.raises(NotFound):
            call(job_id)


def test_a_full_backlog_says_when_to_come_back(client: Client) -> None:
    for _ in range(BACKLOG_LIMIT + 1):  # one more: it is admitted at once
        client.submit("a red circle", quality="low", num_frames=7)
    with pytest.raises(Unavailable) as caught:
        client.submit("a red circle", quality="low", num_frames=7)
    assert caught.value.status == 429
    assert caught.value.retry_after is not None


def test_the_command_does_the_same(
    mochi: Callable[..., Result], act: Act, settings: Settings, tmp_path: Path
) -> None:
    job = json.loads(mochi("submit", "-", "--quality", "low", "--json", stdin="a red circle\n").stdout)
    assert job["request"]["prompt"] == "a red circle"
    assert mochi("download", job["job_id"], "-o", str(tmp_path / "a.mp4")).exit_code == 7
    act(to_completion(job["job_id"], settings))
    events = [json.loads(line) for line in mochi("watch", job["job_id"], "--json").stdout.splitlines()]
    assert events[-1] == json.loads(mochi("show", job["job_id"], "--json").stdout)
    assert mochi("download", job["job_id"], "-o", str(tmp_path / "a.mp4")).exit_code == 0
    assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    other = mochi("submit", "a blue circle").stdout.strip()
    assert mochi("cancel", other).stdout == f"job {other} is cancelled\n"
    listed = json.loads(mochi("list", "--json").stdout)
    assert [(j["job_id"], j["status"]) for j in listed] == [
        (other, "cancelled"),
        (job["job_id"], "completed"),
    ]
    assert mochi("watch", other).exit_code == 5
    assert mochi("cancel", job["job_id"]).exit_code == 7
    refused = mochi("submit", "x", "--width", "850", "--steps", "1")
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) == 2
