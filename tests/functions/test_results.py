"""The video of a job: where it is, and the bytes themselves, from a real S3 server."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from jobs.job import Job
from jobs.settings import Settings
from jobs.storage import S3VideoStorage
from jobs.store import JobStore
from tests.functions.lives import VIDEO, claimed, completed, failed, finish, given, outcome_with_video


@pytest.fixture(scope="module")
def storage(settings: Settings) -> S3VideoStorage:
    storage = S3VideoStorage(settings)
    storage.check()
    return storage


@pytest.fixture
async def job(store: JobStore, settings: Settings, storage: S3VideoStorage) -> Job:
    return await completed(store, settings, storage)


async def test_the_result_redirects_to_a_url_that_anybody_can_play(api: httpx.AsyncClient, job: Job) -> None:
    answer = await api.get(f"/jobs/{job.id}/result")
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "no-store"
    async with httpx.AsyncClient() as stranger:
        whole = await stranger.get(answer.headers["location"])
        part = await stranger.get(answer.headers["location"], headers={"range": "bytes=100-199"})
    assert (whole.status_code, whole.content) == (200, VIDEO)
    assert whole.headers["content-type"] == "video/mp4"
    assert (part.status_code, part.content) == (206, VIDEO[100:200])


async def test_the_url_is_signed_for_the_endpoint_that_clients_reach(
    api: httpx.AsyncClient, job: Job, settings: Settings
) -> None:
    location = (await api.get(f"/jobs/{job.id}/result")).headers["location"]
    assert location.startswith(str(settings.aws_s3_endpoint))
    assert settings.aws_secret_access_key not in location


async def test_the_download_is_a_url_that_saves_a_file(api: httpx.AsyncClient, job: Job) -> None:
    found = (await api.get(f"/download/{job.id}")).json()
    assert (found["job_id"], found["expires_in"]) == (job.id, 3600)
    async with httpx.AsyncClient() as stranger:
        answer = await stranger.get(found["url"])
    assert answer.content == VIDEO
    assert f"{job.id}.mp4" in answer.headers["content-disposition"]
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_the_function_sends_the_video_itself(api: httpx.AsyncClient, job: Job) -> None:
    answer = await api.get(f"/jobs/{job.id}/result?redirect=false")
    assert (answer.status_code, answer.content) == (200, VIDEO)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(VIDEO))


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=1048000-", 1_048_000, None),
        ("bytes=-5", -5, None),
    ],
)
async def test_ranges(api: httpx.AsyncClient, job: Job, asked: str, start: int, end: int | None) -> None:
    answer = await api.get(f"/jobs/{job.id}/result?redirect=false", headers={"range": asked})
    wanted = VIDEO[start:end]
    assert (answer.status_code, answer.content) == (206, wanted)
    first = start % len(VIDEO)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(wanted) - 1}/{len(VIDEO)}"
    assert answer.headers["content-length"] == str(len(wanted))


async def test_a_range_outside_is_416_and_a_range_of_another_video_is_the_whole(
    api: httpx.AsyncClient, job: Job
) -> None:
    path = f"/jobs/{job.id}/result?redirect=false"
    outside = await api.get(path, headers={"range": f"bytes={len(VIDEO)}-"})
    assert outside.status_code == 416
    assert outside.headers["content-range"] == f"bytes */{len(VIDEO)}"
    other = await api.get(path, headers={"range": "bytes=0-9", "if-range": '"another"'})
    assert (other.status_code, len(other.content)) == (200, len(VIDEO))


async def test_who_has_the_video_is_not_sent_it_again(api: httpx.AsyncClient, job: Job) -> None:
    path = f"/jobs/{job.id}/result?redirect=false"
    etag = (await api.head(path)).headers["etag"]
    answer = await api.get(path, headers={"if-none-match": f'"other", {etag}'})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == etag


async def test_head_tells_of_the_video_and_never_redirects(api: httpx.AsyncClient, job: Job) -> None:
    answer = await api.head(f"/jobs/{job.id}/result")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(VIDEO))
    assert answer.headers["content-type"] == "video/mp4"
    assert job.artifact is not None
    assert answer.headers["etag"] == f'"{job.artifact.etag}"'


async def test_without_a_video_the_problem_says_the_status(
    api: httpx.AsyncClient, store: JobStore, settings: Settings
) -> None:
    lease = await claimed(store, (await given(store)).id)
    broken = await finish(store, lease, failed(lease))
    at_work = await claimed(store, (await given(store)).id)
    waiting = await given(store)
    for job_id, status in ((broken.id, "failed"), (at_work.job.id, "processing"), (waiting.id, "pending")):
        for path in (
            f"/jobs/{job_id}/result",
            f"/jobs/{job_id}/result?redirect=false",
            f"/download/{job_id}",
        ):
            answer = await api.get(path)
            assert answer.status_code == 409
            assert answer.json()["job_status"] == status
        assert (await api.head(f"/jobs/{job_id}/result")).status_code == 409
    # Recorded but not completed yet: what is shown and what is served agree.
    await store.record(at_work, outcome_with_video(at_work, settings))
    assert (await api.get(f"/jobs/{at_work.job.id}/result")).status_code == 409


async def test_an_unknown_job(api: httpx.AsyncClient) -> None:
    for path in (f"/jobs/{'0' * 32}/result", f"/download/{'0' * 32}", "/jobs/abc/result", "/download/abc"):
        assert (await api.get(path)).status_code == 404


async def test_a_video_that_the_object_store_lost_is_gone(
    api: httpx.AsyncClient, job: Job, storage: S3VideoStorage
) -> None:
    storage.delete_prefix(f"videos/{job.id}/")
    answer = await api.get(f"/jobs/{job.id}/result?redirect=false")
    assert answer.status_code == 410
    assert answer.json()["type"] == "/problems/video-gone"


async def test_a_bad_query_names_its_parameter(api: httpx.AsyncClient, job: Job) -> None:
    answer = await api.get(f"/jobs/{job.id}/result?redirect=maybe&quality=best")
    assert answer.status_code == 422
    assert sorted(e["field"] for e in answer.json()["errors"]) == ["quality", "redirect"]


async def test_a_client_that_leaves_in_the_middle_harms_nobody(
    api: httpx.AsyncClient, store: JobStore, settings: Settings, storage: S3VideoStorage
) -> None:
    large = bytes(32 << 20)  # more than the sockets between can hold
    job = await given(store)
    lease = await claimed(store, job.id)
    outcome = outcome_with_video(lease, settings, storage)
    assert outcome.artifact is not None
    storage.put(outcome.artifact.key, large, "video/mp4")
    outcome = replace(outcome, artifact=replace(outcome.artifact, bytes=len(large)))
    await finish(store, lease, outcome)
    async with api.stream("GET", f"/jobs/{job.id}/result?redirect=false") as answer:
        assert await anext(answer.aiter_raw())
    assert (await api.get(f"/jobs/{job.id}")).status_code == 200
