"""What a client of the running system sees: jobs in order, their phases live, and a video that plays."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from mochi import Client, Job, JobCancelled
from tests.e2e.system import MOCHI, System

SMALL: dict[str, Any] = {"width": 32, "height": 32, "num_frames": 7, "num_inference_steps": 2}
OPTIONS = ["--seed", "7", "--width", "32", "--height", "32", "--num-frames", "7", "--steps", "2"]
PHASES = ["waiting", "starting", "encoding_prompt", "denoising", "decoding", "encoding", "uploading"]


def submit(client: Client, prompt: str = "a red circle moving right", **fields: object) -> Job:
    return client.submit(prompt, **{**SMALL, **fields})


def decoded(video: bytes) -> tuple[str, float, tuple[int, int], int]:
    """Codec, frames a second, size and number of decoded frames."""
    with av.open(io.BytesIO(video), "r") as container:
        (stream,) = container.streams.video
        count = len(list(container.decode(stream)))
        assert stream.average_rate is not None
        return stream.codec_context.name, float(stream.average_rate), (stream.width, stream.height), count


def events(url: str, job_id: str, last: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Id, name and data of each server-sent event, to the end of the stream."""
    headers = {"last-event-id": last} if last else {}
    with httpx.stream("GET", f"{url}/jobs/{job_id}/events", headers=headers, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(":")
                fields[name] = value.strip()
            elif fields:
                yield fields["id"], fields["event"], json.loads(fields["data"])
                fields = {}


def test_ten_jobs_in_both_queues_complete_in_order_while_pages_stay_stable(client: Client) -> None:
    queues = ["short-low", "long-high"]
    jobs = [submit(client, f"job {n}", queue=queues[n % 2]) for n in range(10)]
    first = client.page(limit=4)
    seen = [job.id for job in first.jobs]
    cursor = first.next_cursor
    while cursor and len(seen) < 10:
        submit(client, "a newcomer")  # appears before the first page, and on none of the later ones
        page = client.page(limit=4, cursor=cursor)
        seen += [job.id for job in page.jobs]
        cursor = page.next_cursor
    assert seen[:10] == [job.id for job in reversed(jobs)]
    ended = [client.wait(job.id, timeout=90) for job in jobs]
    for queue in queues:
        started = [job.started_at for job in ended if job.queue == queue]
        assert started == sorted(started, key=lambda moment: moment.timestamp() if moment else 0)


def test_every_status_and_phase_is_seen_live_and_again_after_a_resume(client: Client, system: System) -> None:
    blocker = submit(client, num_frames=61, num_inference_steps=8)  # so that the job under test waits
    job = submit(client, num_inference_steps=4)
    heard = list(events(system.url, job.id))
    changes = [(data["status"], data["phase"]) for _, name, data in heard if name == "status"]
    phases = [phase for _, phase in changes if phase]
    assert phases == PHASES
    statuses = list(dict.fromkeys(status for status, _ in changes))
    assert statuses == ["pending", "processing"]
    last_id, last_name, last = heard[-1]
    assert (last_name, last["status"]) == ("completed", "completed")
    steps = [data["step"] for _, name, data in heard if data["phase"] == "denoising" and name == "progress"]
    assert steps == sorted(steps)
    ids = [int(event_id) for event_id, _, _ in heard]
    assert ids == sorted(set(ids))

    middle = next(event_id for event_id, name, data in heard if data["phase"] == "decoding")
    resumed = [(i, n) for i, n, _ in events(system.url, job.id, middle)]
    expected = [(i, n) for i, n, _ in heard if int(i) > int(middle) and n != "progress"]
    assert [(i, n) for i, n in resumed if n != "progress"] == expected
    over = httpx.get(f"{system.url}/jobs/{job.id}/events", headers={"last-event-id": last_id})
    assert (over.status_code, over.content) == (204, b"")  # an EventSource does not come back
    polled = client.get(job.id)
    assert [m.phase for m in polled.milestones if m.phase] == PHASES
    assert str(polled.version) == last_id
    client.wait(blocker.id, timeout=60)


def test_the_result_is_an_mp4_that_plays_with_ranges(client: Client, system: System) -> None:
    job = submit(client, width=64, height=48, num_frames=13)
    early = httpx.get(f"{system.url}/jobs/{job.id}/result")
    if client.get(job.id).status == "completed":  # too fast for the question
        early = httpx.get(f"{system.url}/jobs/{'0' * 32}/result")
        assert early.status_code == 404
    else:
        assert early.status_code == 409
        assert early.json()["job_status"] in ("pending", "processing")
    assert early.headers["content-type"] == "application/problem+json"
    done = client.wait(job.id, timeout=60)
    redirect = httpx.get(f"{system.url}/jobs/{job.id}/result")
    assert redirect.status_code == 307
    url = redirect.headers["location"]
    whole = httpx.get(url)
    assert whole.headers["content-type"] == "video/mp4"
    assert done.video is not None
    assert len(whole.content) == done.video.bytes
    part = httpx.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert decoded(whole.content) == ("h264", 30.0, (64, 48), 13)
    assert whole.content.find(b"moov") < whole.content.find(b"mdat")  # faststart
    assert httpx.get(url.split("?")[0]).status_code == 403
    assert httpx.get(f"{system.url}/jobs/{job.id}/result?redirect=false").content == whole.content


def test_a_job_is_cancelled_while_it_waits_and_while_it_works(client: Client) -> None:
    at_work = submit(client, num_frames=61, num_inference_steps=200)
    waiting = submit(client)
    assert client.cancel(waiting.id).status == "cancelled"
    for event in client.watch(at_work.id):
        if event.phase == "denoising":
            client.cancel(at_work.id)
    ended = client.get(at_work.id)
    assert ended.status == "cancelled"
    assert ended.step < 200
    with pytest.raises(JobCancelled):
        client.wait(at_work.id)


def test_same_seed_same_video_and_the_command_line_does_it_all(
    client: Client, system: System, tmp_path: Path
) -> None:
    videos = []
    for name in ("one.mp4", "two.mp4"):
        done = subprocess.run(
            [
                *MOCHI,
                "--url",
                system.url,
                "submit",
                "-",
                *OPTIONS,
                "--wait",
                "-o",
                str(tmp_path / name),
                "--json",
            ],
            input="a blue square\n",
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["status"] == "completed"
        videos.append((tmp_path / name).read_bytes())
    assert videos[0] == videos[1]
    other = submit(client, "a blue square", seed=8)
    client.wait(other.id, timeout=60)
    client.download(other.id, tmp_path / "other.mp4")
    assert (tmp_path / "other.mp4").read_bytes() != videos[0]
